#!/bin/sh
# watchdog never says that a linked or moved film is complete.
#
# On Linux `on_closed` is called when a file that was open for writing is closed. Whoever
# waits for complete files in a folder therefore expects one such event for each of them,
# sooner or later. A hard link, as programs for downloads make it, and a file that is
# moved in from elsewhere are complete at once, and nobody closes them: both only count as
# created, just like a file whose copy has just begun. Only the copy is closed.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet watchdog==7.1.0
cd "$folder"
mkdir library
for name in linked moved copied; do
  echo film > "$name.mp4"
done
"$folder/venv/bin/python" - <<'PYTHON'
import os
import shutil
import time
from collections import defaultdict
from importlib.metadata import version

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

seen: dict[str, set[str]] = defaultdict(set)


class Note(FileSystemEventHandler):
    def on_any_event(self, event: FileSystemEvent) -> None:
        if not event.is_directory:
            seen[os.path.basename(event.src_path)].add(event.event_type)


observer = Observer()
observer.schedule(Note(), "library")
observer.start()
time.sleep(1)
os.link("linked.mp4", "library/linked.mp4")
os.rename("moved.mp4", "library/moved.mp4")
shutil.copyfile("copied.mp4", "library/copied.mp4")
time.sleep(3)
observer.stop()
observer.join()
told = {name: sorted(kinds & {"created", "closed"}) for name, kinds in seen.items()}
print(f"watchdog {version('watchdog')}: {told}")
assert told["linked.mp4"] == told["moved.mp4"] == ["created"], told
assert told["copied.mp4"] == ["closed", "created"], told
PYTHON
