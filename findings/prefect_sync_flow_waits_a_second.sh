#!/bin/sh
# Every flow of Prefect that is no coroutine takes a second longer than its work.
#
# An empty subflow costs a few requests, so one expects the same time for `def` and for
# `async def`. The engine has a thread that sends a sign of life for a plain function,
# and at the end of the flow waits until that thread wakes from its sleep of a second,
# for each subflow anew. A flow with twenty small subflows takes twenty seconds more.
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
import asyncio
import time

import prefect
from prefect import flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness


@flow
def plain():
    pass


@flow
async def coroutine():
    pass


def shortest(call):
    times = []
    for _ in range(5):
        begin = time.monotonic()
        call()
        times.append(time.monotonic() - begin)
    return round(min(times), 2)


with prefect_test_harness(server_startup_timeout=100):
    plain_seconds = shortest(plain)
    coroutine_seconds = shortest(lambda: asyncio.run(coroutine()))
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        silent_seconds = shortest(plain)
print(
    f"Prefect {prefect.__version__}: def {plain_seconds} s, async def "
    f"{coroutine_seconds} s, def without signs of life {silent_seconds} s"
)
assert plain_seconds > 0.9, plain_seconds
assert plain_seconds > coroutine_seconds + 0.5, (plain_seconds, coroutine_seconds)
assert plain_seconds > silent_seconds + 0.5, (plain_seconds, silent_seconds)
PYTHON
