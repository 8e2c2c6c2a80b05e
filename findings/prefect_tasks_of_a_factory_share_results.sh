#!/bin/sh
# Two tasks of Prefect that one function makes get each other's results.
#
# By default a persisted result is found again by the task's inputs, the run and the
# task's code, so one expects two tasks to keep theirs apart, all the more if they have
# different names. The code is only its text: what a function has around it, such as the
# number or the folder that it was made for, is no part of the key, nor is the name. So
# `make(3)` returns the result of `make(2)` for the same input, without running. A key of
# one's own (`cache_key_fn`), or the value as an argument, keeps them apart.
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
cat > factory.py <<'PYTHON'
import prefect
from prefect import Task, flow, task
from prefect.testing.utilities import prefect_test_harness


def make(times: int, *, keep: bool) -> Task:
    """Return a task that multiplies."""

    @task(name=f"times {times}", persist_result=keep)
    def multiply(number: int) -> int:
        return number * times

    return multiply


@flow
def both(keep: bool) -> list[int]:
    return [make(2, keep=keep)(5), make(3, keep=keep)(5)]


with prefect_test_harness(server_startup_timeout=100):
    plain, kept = both(keep=False), both(keep=True)
print(f"Prefect {prefect.__version__}: {plain}, with kept results {kept}")
assert plain == [10, 15], plain
assert kept == [10, 10], kept
PYTHON
"$folder/venv/bin/python" factory.py
