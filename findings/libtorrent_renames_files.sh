#!/bin/sh
# libtorrent saves files under other names than those that the torrent holds.
#
# On Linux, `Film.mp4` and `film.mp4` are two files, and any name without a slash is
# allowed, so one expects to find a download under the names in the torrent. libtorrent
# compares names without regard to case on all systems, and saves the second file as
# `film.1.mp4`. It also leaves out the signs that switch the direction of writing, as
# they stand in Hebrew and Arabic names. A torrent that libtorrent makes itself holds
# the true names, and its own `files()` shows the others. torf 4.3.1, which reads the
# same torrent, gives the true names: who looks for the download by them finds nothing.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet libtorrent==2.0.11 torf==4.3.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import libtorrent
import torf

MARK = "\N{RIGHT-TO-LEFT MARK}"
pack = Path("pack")
pack.mkdir()
for name in ("Film.mp4", "film.mp4", f"garden{MARK}.mp4"):
    (pack / name).write_bytes(name.encode() * 1000)

storage = libtorrent.file_storage()
libtorrent.add_files(storage, "pack")
made = libtorrent.create_torrent(storage, flags=libtorrent.create_torrent.v1_only)
libtorrent.set_piece_hashes(made, ".")
Path("pack.torrent").write_bytes(libtorrent.bencode(made.generate()))

files = libtorrent.torrent_info("pack.torrent").files()
saved = sorted(files.file_name(index) for index in range(files.num_files()))
held = sorted(file.name for file in torf.Torrent.read("pack.torrent").files)
print(f"libtorrent {libtorrent.__version__} saves {saved}")
print(f"torf {torf.__version__} reads {held}")
assert held == ["Film.mp4", "film.mp4", f"garden{MARK}.mp4"], held
assert saved == ["Film.mp4", "film.1.mp4", "garden.mp4"], saved
PYTHON
