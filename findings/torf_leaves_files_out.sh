#!/bin/sh
# torf makes a torrent of a folder without its hidden and its empty files.
#
# `torf.Torrent(folder)` describes what is in a folder, so one expects all files, and
# the same torrent that other programs make of it. torf says nothing of the files that
# it leaves out, and no option takes them in. As the info hash covers the list of files,
# a torrent that is made anew of a download is not the one that others share. On a
# folder without such files torf, torrentool and libtorrent agree. Of one with a hidden
# and an empty file they make three torrents.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torf==4.3.1 torrentool==1.2.0 libtorrent==2.0.11
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import libtorrent
import torf
from torrentool.api import Torrent

pack = Path("pack")
pack.mkdir()


def names() -> dict[str, list[str]]:
    """Return the names of the files that each library puts into a torrent."""
    storage = libtorrent.file_storage()
    libtorrent.add_files(storage, "pack")
    indices = range(storage.num_files())
    return {
        "libtorrent": sorted(storage.file_name(index) for index in indices),
        "torf": sorted(file.name for file in torf.Torrent("pack").files),
        "torrentool": sorted(
            Path(file.name).name for file in Torrent.create_from("pack").files
        ),
    }


(pack / "film.mp4").write_bytes(b"film" * 1000)
plain = names()
(pack / ".film.nfo").write_text("Garden")
(pack / "film.srt").touch()
found = names()
print(f"torf {torf.__version__}, libtorrent {libtorrent.__version__}: {found}")
assert all(held == ["film.mp4"] for held in plain.values()), plain
assert found["torf"] == ["film.mp4"], found
assert found["torrentool"] == [".film.nfo", "film.mp4"], found
assert found["libtorrent"] == [".film.nfo", "film.mp4", "film.srt"], found
PYTHON
