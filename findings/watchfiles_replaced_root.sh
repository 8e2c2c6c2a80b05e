#!/bin/sh
# When the watched folder is replaced, watchfiles goes on naming the old one's files.
#
# One expects `watch("library")` to watch what has this name, or to raise when that is
# taken away. After the folder is renamed and a new one made in its place, as a restored
# copy is put in the place of the old one, files in the new folder are not told of. Files
# in the old folder still are, under the name that the folder had: paths that do not
# exist. The loop never ends and no error comes.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet watchfiles==1.3.0
cd "$folder"
mkdir library
"$folder/venv/bin/python" - <<'PYTHON'
import os
import threading
import time
from pathlib import Path

import watchfiles

stop = threading.Event()


def replace() -> None:
    time.sleep(1)
    os.rename("library", "old")
    os.mkdir("library")
    time.sleep(1)
    Path("library/new.mp4").touch()
    time.sleep(1)
    Path("old/late.mp4").touch()
    time.sleep(1)
    stop.set()


threading.Thread(target=replace).start()
changes = [
    (change.name, os.path.relpath(path), os.path.exists(path))
    for batch in watchfiles.watch("library", stop_event=stop)
    for change, path in sorted(batch)
]
print(f"watchfiles {watchfiles.__version__} (change, path, exists): {changes}")
assert [change[:2] for change in changes] == [
    ("deleted", "library"),
    ("added", "library/late.mp4"),
], changes
assert not changes[1][2], changes
PYTHON
