#!/bin/sh
# pyahocorasick's `iter_long` loses a name at the end of a text.
#
# `iter` finds all words with all overlaps, and `iter_long` is to give the longest ones
# without overlaps, so one expects that it finds something wherever `iter` does. But it
# gives a shorter word only when a longer one, which was begun, turns out not to fit.
# When the text ends first, the shorter word is never given: with the names
# `Anna Lee Smith` and `Lee`, nothing is found in `with Anna Lee`. A letter behind that
# fits no name brings it back, so that a name is found in a file name with its ending,
# and not in the title.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyahocorasick==2.3.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import ahocorasick

names = ahocorasick.Automaton()
for name in ("Anna Lee Smith", "Lee"):
    names.add_word(name, name)
names.make_automaton()

TEXTS = ("with Anna Lee", "with Anna Lee.mp4", "with Anna Lee Smith", "with Lee")
longest = {text: [name for _, name in names.iter_long(text)] for text in TEXTS}
found = {text: [name for _, name in names.iter(text)] for text in TEXTS}
version = importlib.metadata.version("pyahocorasick")
print(f"pyahocorasick {version}, iter_long: {longest}")
print(f"iter: {found}")
assert list(found.values()) == [["Lee"], ["Lee"], ["Lee", "Anna Lee Smith"], ["Lee"]]
assert list(longest.values()) == [[], ["Lee"], ["Anna Lee Smith"], ["Lee"]], longest
PYTHON
