#!/bin/sh
# torf does not find a torrent by its magnet link when the hash is spelled otherwise.
#
# A magnet link may spell the info hash in hexadecimal or in base32, in capital or small
# letters, and clients take all of these for one torrent. So one expects `infohash` of
# a `Magnet` to compare with that of a `Torrent`, which is hexadecimal in small letters.
# torf keeps the spelling of the link: the check whether a torrent is known already says
# no, and four links to one torrent have four hashes. libtorrent gives one for all.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torf==4.3.1 libtorrent==2.0.11
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import base64
from pathlib import Path

import libtorrent
import torf

Path("film.mp4").write_bytes(b"film" * 1000)
torrent = torf.Torrent("film.mp4")
torrent.generate()
known = torrent.infohash
base32 = base64.b32encode(bytes.fromhex(known)).decode()

by_torf, by_libtorrent = [], set()
for spelled in (known, known.upper(), base32, base32.lower()):
    link = f"magnet:?xt=urn:btih:{spelled}&dn=film.mp4"
    by_torf.append(torf.Magnet.from_string(link).infohash)
    by_libtorrent.add(str(libtorrent.parse_magnet_uri(link).info_hashes.v1))
print(f"torf {torf.__version__}: the torrent is {known}, its links are {by_torf}")
print(f"libtorrent {libtorrent.__version__}: {by_libtorrent}")
assert by_libtorrent == {known}, by_libtorrent
assert by_torf == [known, known.upper(), base32, base32.lower()], by_torf
PYTHON
