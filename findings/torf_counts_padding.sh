#!/bin/sh
# torf counts the padding of a torrent as files, and its bytes as part of the size.
#
# `Torrent.files` and `Torrent.size` are the files and the size of the content by torf's
# documentation. A hybrid torrent (versions 1 and 2) has each file begin with a new
# piece, and fills the gaps with pad files, which no client writes or shows. torf lists
# them like any file: `.pad/14688`. A comparison with the files on the disk finds some
# missing. Gaps of one length have one name, so that torf lists them once, and the sizes
# of the files that it lists do not even add up to the size that it gives.
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

pack = Path("pack")
pack.mkdir()
for name, size in (("a.mp4", 100_000), ("b.mp4", 100_000), ("c.mp4", 70_000)):
    (pack / name).write_bytes(name.encode() * (size // 5))

storage = libtorrent.file_storage()
libtorrent.add_files(storage, "pack")
made = libtorrent.create_torrent(storage)
libtorrent.set_piece_hashes(made, ".")
Path("pack.torrent").write_bytes(libtorrent.bencode(made.generate()))

torrent = torf.Torrent.read("pack.torrent")
names = sorted(str(file.relative_to("pack")) for file in torrent.files)
listed = sum(file.size for file in torrent.files)
info = libtorrent.torrent_info("pack.torrent")
padding = sum(
    info.files().file_size(index)
    for index in range(info.num_files())
    if info.files().file_flags(index) & libtorrent.file_flags_t.flag_pad_file
)
print(f"torf {torf.__version__}: {names}, {torrent.size} bytes, listed {listed}")
print(f"libtorrent {libtorrent.__version__}: {info.num_files()} files, padding {padding}")
assert [name for name in names if not name.startswith(".pad")] == [
    "a.mp4",
    "b.mp4",
    "c.mp4",
]
assert any(name.startswith(".pad") for name in names), names
assert torrent.size == 270_000 + padding and padding > 0, torrent.size
assert 270_000 < listed < torrent.size, (listed, torrent.size)
PYTHON
