#!/bin/sh
# A failed task that the flow has dealt with still rolls back what was done before it.
#
# A transaction rolls back when an exception leaves its block, as in a database, so one
# expects that a flow may try a task that can fail, take the error, and keep what the
# other tasks did. In Prefect, the failed task itself rolls the transaction back, at
# once: the rollback hooks of the tasks before it run while the flow goes on in the
# block. What the tasks behind it do stays. No error is raised, and the flow is
# Completed with half of its work.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.8.8 'fastapi<0.151' 'sqlalchemy<2.1'
cd "$folder"
export PREFECT_HOME="$folder/home" PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
"$folder/venv/bin/python" - <<'PYTHON'
import contextlib

import prefect
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness
from prefect.transactions import transaction

done = []


@task
def place(film):
    done.append(f"place {film}")


@place.on_rollback
def take_back(_):
    done.append("take back")


@task
def fetch_cover():
    raise ValueError("no cover")


@flow
def take_in(cover):
    with transaction():
        place("one")
        if cover == "caught":
            with contextlib.suppress(ValueError):
                fetch_cover()
        elif cover == "state":
            fetch_cover(return_state=True)
        place("two")


with prefect_test_harness(server_startup_timeout=100):
    found = {}
    for cover in ("none", "caught", "state"):
        done.clear()
        found[cover] = [take_in(cover, return_state=True).name, *done]
print(f"Prefect {prefect.__version__}: {found}")
assert found["none"] == ["Completed", "place one", "place two"], found
half = ["Completed", "place one", "take back", "place two"]
assert found["caught"] == found["state"] == half, found
PYTHON
