#!/bin/sh
# A task of Prefect that returns a state gives this state to its caller, a flow does not.
#
# A flow that returns `Failed(...)` raises for its caller, and `Completed(data=3)` gives the
# caller 3. One expects the same of a task, as both are functions with a decorator. A task
# that is called hands out the state itself: nothing is raised, the truth value of a failed
# state is true, and where 3 is expected, there is an object of class `State`. In the UI the
# task has failed all the same. The same task, submitted, does as a flow does: so to take
# away `.submit()` and `.result()` makes failures silent. No error comes in either case.
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
import prefect
from prefect import flow, task
from prefect.states import Completed, Failed
from prefect.testing.utilities import prefect_test_harness


def broken():
    return Failed(message="no film")


def counted():
    return Completed(data=3)


def outcome(call) -> str:
    """Return what the caller gets."""
    try:
        value = call()
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    return f"a state: {value.name}" if hasattr(value, "is_failed") else repr(value)


found = {}


@flow
def main():
    for function in (broken, counted):
        name = function.__name__
        found[f"flow, {name}"] = outcome(flow(function))
        found[f"task, {name}"] = outcome(task(function))
        found[f"submitted task, {name}"] = outcome(task(function).submit().result)


with prefect_test_harness(server_startup_timeout=100):
    main()
print("Prefect", prefect.__version__)
for name, value in found.items():
    print(f"{name:24}", value)
assert found == {
    "flow, broken": "raises FailedRun: no film",
    "task, broken": "a state: Failed",
    "submitted task, broken": "raises FailedRun: no film",
    "flow, counted": "3",
    "task, counted": "a state: Completed",
    "submitted task, counted": "3",
}, "the behaviour has changed"
PYTHON
