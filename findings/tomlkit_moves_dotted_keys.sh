#!/bin/sh
# A table that is added with tomlkit takes a setting of its neighbour with it.
#
# tomlkit keeps a file as a person wrote it, and one expects that to add something leaves
# all else. Where the file has dotted keys (`a.b = 1`, `a.c = 2`), a table that is added to
# `a` is written between them. TOML counts each line below a table's head to the table, so
# `a.c` is now a setting of the new table (`a.new.a.c`), and `a` has no `c` any more.
# tomlkit's own view of the document still has `c` at its old place, and no error tells of
# the move: the loss shows when the file is read again.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tomlkit==0.15.2
"$folder/venv/bin/python" - <<'PYTHON'
import tomllib

import tomlkit

document = tomlkit.parse("a.b = 1\na.c = 2\n")
document["a"]["new"] = {"x": 3}
meant = document.unwrap()
text = tomlkit.dumps(document)
read = tomllib.loads(text)
print(f"tomlkit {tomlkit.__version__}: {text!r} is read as {read}")
assert meant == {"a": {"b": 1, "c": 2, "new": {"x": 3}}}, meant
assert read != meant and "c" not in read["a"], read
assert read["a"]["new"] == {"x": 3, "a": {"c": 2}}, read
PYTHON
