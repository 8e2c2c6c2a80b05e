#!/bin/sh
# libtorrent makes torrents of one folder that differ with the order on the disk.
#
# The info hash stands for the content, so one expects that a folder and its copy on
# another disk give the same torrent, as torf makes it. `add_files` takes the files in
# the order in which the file system lists them, and a torrent of version 1 keeps it.
# The order has nothing to do with the names, and depends on the file system and on how
# the folder came to be: a torrent that is made anew of a download is another one.
# `add_file` for each file in the order of the names gives one hash everywhere. In
# hybrid torrents libtorrent sorts the files itself.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet libtorrent==2.0.11 torf==4.3.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
from pathlib import Path

import libtorrent
import torf

V1_ONLY = libtorrent.create_torrent.v1_only
NAMES = [f"{letter}.mp4" for letter in "abcdefghij"]
pack = Path("pack")
pack.mkdir()
# Neither the order of writing nor its reverse is the order of the names.
for name in NAMES[5:] + NAMES[:5]:
    (pack / name).write_bytes(name.encode() * 1000)
listed = os.listdir(pack)


def names(storage: libtorrent.file_storage) -> list[str]:
    pad = libtorrent.file_flags_t.flag_pad_file
    return [
        storage.file_name(index)
        for index in range(storage.num_files())
        if not storage.file_flags(index) & pad
    ]


def made(storage: libtorrent.file_storage, **options: int) -> libtorrent.torrent_info:
    torrent = libtorrent.create_torrent(storage, 16_384, **options)
    libtorrent.set_piece_hashes(torrent, ".")
    return libtorrent.torrent_info(libtorrent.bencode(torrent.generate()))


def whole() -> libtorrent.file_storage:
    storage = libtorrent.file_storage()
    libtorrent.add_files(storage, "pack")
    return storage


one_by_one = libtorrent.file_storage()
for name in NAMES:
    one_by_one.add_file(f"pack/{name}", (pack / name).stat().st_size)

torrent = torf.Torrent("pack", piece_size=16_384)
torrent.generate()
plain, hybrid = made(whole(), flags=V1_ONLY), made(whole())
in_order = made(one_by_one, flags=V1_ONLY)
print(f"libtorrent {libtorrent.__version__}, version 1: {names(plain.files())}")
print(f"the file system lists {listed}")
print(f"by name: {in_order.info_hash()}, torf {torf.__version__}: {torrent.infohash}")
assert names(plain.files()) == listed != NAMES, names(plain.files())
assert names(hybrid.files()) == names(in_order.files()) == NAMES
assert str(in_order.info_hash()) == torrent.infohash
assert plain.info_hash() != in_order.info_hash()
PYTHON
