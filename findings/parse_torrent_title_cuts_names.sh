#!/bin/sh
# parse-torrent-title takes names of people for languages and qualities.
#
# Scene names hold names of people, and one expects "Dan Smith" to be a part of the title,
# as "Anna Smith" is. PTN knows `Dan` as Danish, `Cam` as a recording in a cinema and `Nor`
# as Norwegian, wherever they stand, also with a capital in a name. The title then ends
# before the name, and what follows counts as the group or as excess. A title that is
# shorter than expected, beside a language that nobody gave, is the sign of it.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet parse-torrent-title==2.8.2
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import PTN

names = ["Anna Smith", "Dan Smith", "Cam Smith"]
found = {name: PTN.parse(f"Studio - {name}.mp4") for name in names}
print(f"parse-torrent-title {version('parse-torrent-title')}: {found}")
assert found["Anna Smith"]["title"].startswith("Studio - Anna Smith"), found
assert found["Dan Smith"]["title"] == "Studio", found
assert found["Dan Smith"]["language"] == "Danish", found
assert "Cam" not in found["Cam Smith"]["title"], found
assert "quality" in found["Cam Smith"], found
PYTHON
