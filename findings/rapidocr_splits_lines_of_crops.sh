#!/bin/sh
# RapidOCR reads a line of a picture word by word when only that part is handed over.
#
# Who knows where a caption stands cuts this part out, and expects the same text as from
# the whole picture, and sooner. RapidOCR enlarges a picture until its shorter side has
# 736 pixels: the letters of a flat part grow sevenfold, and the gaps between the words
# become so wide that each word is a line of its own. A search for names of two words
# then finds none, while the scores are as high as before. With
# `Det.limit_type` `max`, the picture is not enlarged, and the part gives whole lines.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rapidocr==3.10.0 onnxruntime==1.31.1 \
    opencv-python-headless==5.0.0.93 numpy==2.4.6 pillow==13.0.0 matplotlib==3.11.2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import logging
from pathlib import Path

import matplotlib
import numpy as np
import rapidocr
from PIL import Image, ImageDraw, ImageFont

logging.disable()
fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
font = ImageFont.truetype(fonts / "DejaVuSans.ttf", 34)
LINES = ["Anna Garden", "with Berta Wood"]
picture = Image.new("RGB", (1280, 720), "black")
for number, line in enumerate(LINES):
    ImageDraw.Draw(picture).text((100, 600 + 50 * number), line, "white", font)
part = picture.crop((80, 590, 680, 690))


def read(shown: Image.Image, options: dict[str, object] | None = None) -> list[str]:
    return list(rapidocr.RapidOCR(params=options)(np.asarray(shown)).txts)


whole, cut = read(picture), read(part)
small = read(part, {"Det.limit_type": "max"})
version = importlib.metadata.version("rapidocr")
print(f"rapidocr {version}, the whole picture: {whole}")
print(f"its part of {part.width} x {part.height} pixels: {cut}, not enlarged: {small}")
assert whole == LINES, whole
assert cut == "Anna Garden with Berta Wood".split(), cut
assert small == LINES, small
PYTHON
