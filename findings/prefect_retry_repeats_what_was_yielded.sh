#!/bin/sh
# A task of Prefect that yields gives its items again when it is retried.
#
# A task may yield, and may have retries. If it fails after its second item and succeeds
# the next time, one expects the three items, or an error. The generator is begun anew, and
# goes on in the same loop of the caller: the caller gets the first two items, and then all
# three, with nothing that tells them apart, and the task ends as Completed. What the
# caller has done with an item, such as a request for each, is done twice.
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
from collections.abc import Iterator

import prefect
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness

begun = 0


@task(retries=1)
def pages() -> Iterator[int]:
    global begun
    begun += 1
    yield 1
    yield 2
    if begun == 1:
        raise OSError("the connection was lost")
    yield 3


@flow
def read() -> list[int]:
    return list(pages())


with prefect_test_harness(server_startup_timeout=100):
    found = read()
print(f"Prefect {prefect.__version__}: {found}")
assert found == [1, 2, 1, 2, 3], found
PYTHON
