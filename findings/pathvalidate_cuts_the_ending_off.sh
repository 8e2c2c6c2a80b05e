#!/bin/sh
# pathvalidate cuts the ending off long file names.
#
# `sanitize_filename` makes a valid name of any text, and knows the ending: it makes
# `CON.mp4` into `CON_.mp4`. So one expects that of a title that is too long a part of
# the title is left out, and the ending stays. pathvalidate keeps the first 255
# characters. The film has no ending any more, and what looks for films by their endings
# passes it by. Two parts whose number stands at the end get the same name.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pathvalidate==3.3.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import pathvalidate
from pathvalidate import sanitize_filename

TITLE = "A studio: " + ", ".join(["Anna Garden", "Eva Forest"] * 12)


def made(name: str) -> str:
    return str(sanitize_filename(name, platform="universal"))


device = made("CON.mp4")
short = made("A studio: Anna Garden part 1.mp4")
parts = [made(f"{TITLE} part {number}.mp4") for number in (1, 2)]
print(f"pathvalidate {pathvalidate.__version__}: {device}, {short}")
print(f"of {len(TITLE)} and more characters: …{parts[0][-20:]!r}, {len(parts[0])} are left")
assert device == "CON_.mp4" and short == "A studio Anna Garden part 1.mp4", (device, short)
assert parts[0] == parts[1] and len(parts[0]) == 255, parts
assert Path(parts[0]).suffix == "", parts
PYTHON
