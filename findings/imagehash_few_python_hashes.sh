#!/bin/sh
# Thousands of different picture hashes of ImageHash share a few hundred Python hashes.
#
# An `ImageHash` can be hashed, so one expects a set or a dictionary of the hashes of a
# library to be fast: that is how duplicates are found. `hash()` however only adds up a
# number from 1 to 128 for each bit that is set, so there are about 2,000 values at the
# most, and sums lie close together. 4,000 different hashes of 64 bits have fewer than
# 1,500 values: each look-up compares arrays with some others, and the time for a set grows
# with the square of its size. `str(found)` as the key has as many values as there are
# hashes.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ImageHash==4.3.2 numpy==2.3.5
"$folder/venv/bin/python" - <<'PYTHON'
import imagehash
import numpy

NUMBER = 4_000
bits = numpy.random.default_rng(1).integers(0, 2, (NUMBER, 8, 8)).astype(bool)
found = [imagehash.ImageHash(each) for each in bits]
texts = {str(each) for each in found}
values = {hash(each) for each in found}
as_text = {hash(text) for text in texts}
print(
    f"ImageHash {imagehash.__version__}: {len(texts)} hashes, {len(values)} values of "
    f"hash(), {len(as_text)} as text"
)
assert len(texts) == NUMBER == len(as_text)
assert len(values) < NUMBER * 3 / 8, len(values)
PYTHON
