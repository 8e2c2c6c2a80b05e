#!/bin/sh
# watchfiles never names a Flash film.
#
# `watch("library")` without further options is for any folder, so one expects each film
# that is added. The filter that is on by default leaves out what editors and tools for
# programming write, and knows the swap files of Vim by `.sw` and one more letter. This
# fits `film.swf` as well, so that the film is never seen, while `film.SWF` is named
# like any other. `watch_filter=None` gives all.
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

NAMES = ["film.SWF", "film.flv", "film.mp4", "film.swf"]


def named(**options: None) -> list[str]:
    """Return the names of the films that are named when they are added."""
    stop = threading.Event()

    def add() -> None:
        time.sleep(1)
        for name in NAMES:
            Path("library", name).touch()
        time.sleep(1)
        stop.set()

    threading.Thread(target=add).start()
    found = {
        os.path.basename(path)
        for batch in watchfiles.watch("library", stop_event=stop, **options)
        for change, path in batch
        if change is watchfiles.Change.added
    }
    for name in NAMES:
        Path("library", name).unlink()
    return sorted(found)


plain, every = named(), named(watch_filter=None)
print(f"watchfiles {watchfiles.__version__}: {plain}, without a filter {every}")
assert every == NAMES, every
assert plain == ["film.SWF", "film.flv", "film.mp4"], plain
PYTHON
