#!/bin/sh
# watchfiles' `debounce` is the longest time to collect changes, not a quiet period.
#
# With `debounce=10_000` one expects a file that is being written to be told of once, ten
# seconds after the last change. But a batch ends as soon as `step` (50 ms) passes
# without a change: a file that gets a part every 0.3 s is told of again and again.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet watchfiles==1.3.0
cd "$folder"
mkdir watched
"$folder/venv/bin/python" - <<'PYTHON'
import threading
import time

import watchfiles

stop = threading.Event()


def write() -> None:
    time.sleep(1)
    with open("watched/film.mp4", "wb") as file:
        for _ in range(10):
            file.write(b"part")
            file.flush()
            time.sleep(0.3)
    time.sleep(1)
    stop.set()


threading.Thread(target=write).start()
batches = list(watchfiles.watch("watched", debounce=10_000, stop_event=stop))
print(
    f"watchfiles {watchfiles.__version__}: a file that was written for 3 s came in "
    f"{len(batches)} batches with debounce=10_000"
)
assert len(batches) >= 5, batches
PYTHON
