#!/bin/sh
# A thread does not have the temporary settings of Prefect that its starter has set.
#
# `temporary_settings` says that it changes the settings for the time of a `with` block. One
# expects that to hold for all that runs meanwhile. They are kept in a context variable: a
# thread that is started inside the block, by `threading` or by a pool, has the settings of
# the environment, and so has what it calls. If the address of the API is among them,
# the thread starts a server of its own, with another database, instead of an error. A task
# that is submitted to Prefect's own pool of threads has them. `copy_context().run` hands
# them on.
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
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import prefect
from prefect import flow, task
from prefect.settings import PREFECT_TASKS_DEFAULT_RETRIES, temporary_settings
from prefect.testing.utilities import prefect_test_harness


def retries():
    return PREFECT_TASKS_DEFAULT_RETRIES.value()


@flow
def submitted():
    return task(retries).submit().result()


with prefect_test_harness(server_startup_timeout=100), ThreadPoolExecutor() as pool:
    with temporary_settings({PREFECT_TASKS_DEFAULT_RETRIES: 3}):
        found = {
            "here": retries(),
            "thread of a pool": pool.submit(retries).result(),
            "with copy_context": pool.submit(copy_context().run, retries).result(),
            "submitted task": submitted(),
        }
print("Prefect", prefect.__version__)
for name, value in found.items():
    print(f"{name:24}", value)
assert found == {
    "here": 3,
    "thread of a pool": 0,
    "with copy_context": 3,
    "submitted task": 3,
}, "the behaviour has changed"
PYTHON
