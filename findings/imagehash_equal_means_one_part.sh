#!/bin/sh
# Two crop-resistant hashes of imagehash are `==` when a single part of them is alike.
#
# Two hashes of a kind are equal in imagehash if all their bits are, and `-` gives the
# same distance both ways. So one expects the same of `crop_resistant_hash`. There, `==`
# is true if one of the segments of a picture differs in no more than a quarter of its
# bits from any segment of the other one: pictures of noise that have nothing to do with
# each other are all equal, so that a check for doubles finds nothing but doubles.
# And `a - b` is another number than `b - a`. `phash` tells the pictures apart.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imagehash==4.3.2 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import itertools

import imagehash
import numpy as np
from PIL import Image


def picture(number: int) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 255, (8, 8)).astype("uint8")
    return Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC)


pictures = [picture(number) for number in range(6)]
parts = [imagehash.crop_resistant_hash(one) for one in pictures]
whole = [imagehash.phash(one) for one in pictures]
pairs = list(itertools.combinations(range(6), 2))
equal = [sum(hashes[a] == hashes[b] for a, b in pairs) for hashes in (parts, whole)]
there, back = parts[0] - parts[1], parts[1] - parts[0]
distance = min(whole[a] - whole[b] for a, b in pairs)
print(f"imagehash {imagehash.__version__}: of {len(pairs)} pairs, {equal[0]} are equal")
print(f"with phash {equal[1]}, at least {distance} bits apart; {there} there, {back} back")
assert len(pairs) == 15 and equal == [15, 0], equal
assert distance > 15, distance
assert abs(there - back) > 1, (there, back)
assert all(whole[a] - whole[b] == whole[b] - whole[a] for a, b in pairs)
PYTHON
