#!/bin/sh
# RapidOCR's default models read Cyrillic words as Latin ones, and are sure of it.
#
# The recognition model of PP-OCRv6 in the wheel knows more than 18,000 signs, among them
# clock faces, dental symbols and emoji, so one expects the large alphabets as well. It
# has no Cyrillic, Hangul, Arabic or Thai letter. What it has no letter for gets no low
# score: МОСКВА comes out as MOCKBA with a score like that of a Latin word, so a
# threshold keeps such readings, and names of people in these scripts are never found.
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
import collections
import importlib.metadata
import logging
import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import onnxruntime
import rapidocr
from PIL import Image, ImageDraw, ImageFont

logging.disable()
models = Path(rapidocr.__file__).parent / "models"
model = onnxruntime.InferenceSession(models / "PP-OCRv6_rec_small.onnx")
signs = model.get_modelmeta().custom_metadata_map["character"].splitlines()
scripts = collections.Counter(
    unicodedata.name(sign[0], "?").split()[0] for sign in signs if sign
)
wanted = ("CJK", "LATIN", "GREEK", "CLOCK", "CYRILLIC", "HANGUL", "ARABIC", "THAI")
known = {script: scripts[script] for script in wanted}
print(f"{len(signs)} signs: {known}")

fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
font = ImageFont.truetype(fonts / "DejaVuSans.ttf", 40)
engine = rapidocr.RapidOCR()
read = {}
for word in ("MOSCOW", "МОСКВА"):
    picture = Image.new("RGB", (300, 64), "white")
    ImageDraw.Draw(picture).text((20, 8), word, "black", font)
    found = engine(np.asarray(picture), use_det=False, use_cls=False)
    read[word] = (found.txts[0], round(float(found.scores[0]), 2))
version = importlib.metadata.version("rapidocr")
print(f"rapidocr {version}: {read}")
assert known["CJK"] > 10_000 and known["CLOCK"] > 0, known
assert not any(known[s] for s in ("CYRILLIC", "HANGUL", "ARABIC", "THAI")), known
assert read["MOSCOW"][0] == "MOSCOW", read
assert read["МОСКВА"][0].isascii() and read["МОСКВА"][1] > 0.9, read
PYTHON
