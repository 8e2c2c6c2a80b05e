#!/bin/sh
# hachoir gives films that hold no date the date 1 January 1904, or 1970.
#
# `extractMetadata` tells what is in a file: of Matroska and AVI without a date there is
# no `creation_date`. So one expects none either of MP4, in which a program that does not
# know the date writes 0, as FFmpeg does. hachoir takes 0 for a moment: in MP4 and
# QuickTime one of 1904, and in the ASF that FFmpeg writes one of 1970. A library that is
# sorted by this date has nearly all its films in 1904, and the dated ones behind them.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hachoir==3.4.0 av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import av
import numpy as np
from hachoir.metadata import extractMetadata
from hachoir.parser import createParser

FILMS = {"film.mp4": "mpeg4", "film.mov": "mpeg4", "film.wmv": "wmv2"}
FILMS |= {"film.mkv": "mpeg4", "film.avi": "mpeg4"}


def film(path: str, codec: str, **tags: str) -> str:
    with av.open(path, "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for shade in range(25):
            picture = np.full((120, 160, 3), shade * 10, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return path


def date(path: str) -> str | None:
    with createParser(path) as parser:
        found = extractMetadata(parser)
    return str(found.get("creation_date")) if found.has("creation_date") else None


dates = {path: date(film(path, codec)) for path, codec in FILMS.items()}
dated = date(film("dated.mp4", "mpeg4", creation_time="2024-01-15T10:00:00Z"))
version = importlib.metadata.version("hachoir")
print(f"hachoir {version}, PyAV {av.__version__}: {dates}; with a date {dated}")
assert dated == "2024-01-15 10:00:00", dated
assert dates == {
    "film.mp4": "1904-01-01 00:00:00",
    "film.mov": "1904-01-01 00:00:00",
    "film.wmv": "1970-01-01 00:00:00",
    "film.mkv": None,
    "film.avi": None,
}, dates
PYTHON
