#!/bin/sh
# watchfiles names a folder that is moved in, but none of the files in it.
#
# The watch is recursive, and files that are written into a new folder are told of, so
# one expects a change for each file of a folder that arrives by a rename, as a torrent
# client moves a finished download from one folder of a disk to another. There is one
# change, for the folder itself. A filter by the endings of video files drops it, and
# the download is never seen. If the folder leaves, its files are not told of either.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet watchfiles==1.3.0
cd "$folder"
mkdir -p incomplete/pack/extras complete
touch incomplete/pack/film.mp4 incomplete/pack/extras/more.mp4
"$folder/venv/bin/python" - <<'PYTHON'
import os
import threading
import time
from pathlib import Path

import watchfiles

stop = threading.Event()


def move() -> None:
    time.sleep(1)
    os.rename("incomplete/pack", "complete/pack")
    time.sleep(1)
    Path("complete/single.mp4").touch()
    time.sleep(1)
    os.rename("complete/pack", "incomplete/pack")
    time.sleep(1)
    stop.set()


threading.Thread(target=move).start()
changes = [
    (change.name, os.path.relpath(path, "complete"))
    for batch in watchfiles.watch("complete", stop_event=stop)
    for change, path in sorted(batch)
]
print(f"watchfiles {watchfiles.__version__}: {changes}")
assert changes == [
    ("added", "pack"),
    ("added", "single.mp4"),
    ("deleted", "pack"),
], changes
PYTHON
