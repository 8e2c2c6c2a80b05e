#!/bin/sh
# torrentool gives a wrong info hash for hybrid torrents, and spoils them on saving.
#
# The info hash is that of the bytes in the file, so one expects `Torrent.info_hash` to be
# the one by which clients know the torrent, and a torrent with a new comment to keep it.
# torrentool decodes every value as text, with U+FFFD for the bytes that are no UTF-8,
# and encodes the text again. It spares the piece hashes of version 1 only. The roots
# of version 2 are raw bytes as well: the hash is that of no torrent, and `to_file`
# writes the broken roots. The same goes for raw hashes of single files in old torrents.
# Nothing warns, and torrents of version 1 come out right.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet libtorrent==2.0.11 torrentool==1.2.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import hashlib
import importlib.metadata
from pathlib import Path

import libtorrent
from torrentool.api import Torrent

V1_ONLY = libtorrent.create_torrent.v1_only
Path("film.mp4").write_bytes(b"film" * 50_000)
matches = {}
for kind, options in (("version 1", {"flags": V1_ONLY}), ("hybrid", {})):
    storage = libtorrent.file_storage()
    libtorrent.add_files(storage, "film.mp4")
    made = libtorrent.create_torrent(storage, **options)
    libtorrent.set_piece_hashes(made, ".")
    content = made.generate()
    Path("film.torrent").write_bytes(libtorrent.bencode(content))
    true = hashlib.sha1(libtorrent.bencode(content[b"info"])).hexdigest()
    assert str(libtorrent.torrent_info("film.torrent").info_hashes().v1) == true

    torrent = Torrent.from_file("film.torrent")
    read = torrent.info_hash
    torrent.comment = "seen"
    torrent.to_file("saved.torrent")
    saved = libtorrent.bdecode(Path("saved.torrent").read_bytes())[b"info"]
    kept = hashlib.sha1(libtorrent.bencode(saved)).hexdigest()
    matches[kind] = (read == true, kept == true)
    version = importlib.metadata.version("torrentool")
    print(f"torrentool {version}, {kind}: {true}, read as {read}, saved with {kept}")
assert matches == {"version 1": (True, True), "hybrid": (False, False)}, matches
PYTHON
