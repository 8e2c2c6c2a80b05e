#!/bin/sh
# A long list that is handed to a task of Prefect costs more than the work on it.
#
# A task that is called runs in the same process, so one expects that an argument is
# handed over as it is. Prefect goes through lists and dictionaries item by item to find
# results of other tasks in them, several times for each call. A list of 200,000 numbers
# costs seconds of processor time before the task begins, and as much again for the next
# task that gets it. `quote(numbers)` costs nothing, and bytes of this length neither.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.9.1
cd "$folder"
export PREFECT_HOME="$folder/home" PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
"$folder/venv/bin/python" - <<'PYTHON'
import time

import prefect
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.testing.utilities import prefect_test_harness
from prefect.utilities.annotations import quote

NUMBERS = list(range(200_000))
ARGUMENTS = {"nothing": None, "bytes": bytes(len(NUMBERS)), "list": NUMBERS}
ARGUMENTS["quoted"] = quote(NUMBERS)


@task(cache_policy=NO_CACHE)
def work(given):
    return sum(given) if isinstance(given, list) else 0


@flow
def job():
    seconds, sums = {}, {}
    for name, given in ARGUMENTS.items():
        begin = time.process_time()
        sums[name] = work(given)
        seconds[name] = round(time.process_time() - begin, 2)
    return seconds, sums


begin = time.process_time()
sum(NUMBERS)
sorted(NUMBERS, reverse=True)
own = time.process_time() - begin
with prefect_test_harness(server_startup_timeout=100):
    seconds, sums = job()
print(f"Prefect {prefect.__version__}: processor seconds of a call {seconds}")
print(f"summing and sorting the list: {own:.3f} s")
assert sums["list"] == sums["quoted"] == sum(NUMBERS), sums
assert seconds["list"] > 0.5, seconds
assert seconds["list"] > 5 * seconds["quoted"], seconds
assert seconds["list"] > 5 * seconds["bytes"], seconds
assert seconds["list"] > 20 * own, (seconds, own)
PYTHON
