#!/bin/sh
# A flow of Prefect gets a copy of a list, or the list itself, depending on a type hint.
#
# A type hint changes nothing in Python, so one expects a flow to get the list of its
# caller, with and without one. With `found: list`, pydantic checks the list, which copies
# it: what a subflow adds to it, or takes off it, the caller never sees. Without the
# hint, and in a task with it, the caller's list is changed. A model of pydantic is
# handed on as it is. No error comes, and a helper that is made a flow stops to collect.
# `validate_parameters=False` hands on the list.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.8.8 'fastapi<0.151' 'sqlalchemy<2.1' \
    pydantic==2.14.3
cd "$folder"
export PREFECT_HOME="$folder/home" PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
"$folder/venv/bin/python" - <<'PYTHON'
import prefect
import pydantic
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness


class Found(pydantic.BaseModel):
    films: list[str] = []


def typed(found: list):
    found.append("film.mkv")


def untyped(found):
    found.append("film.mkv")


def model(found: Found):
    found.films.append("film.mkv")


def films(call) -> list[str]:
    """Return the caller's list after the call."""
    found = []
    call(found)
    return found


with prefect_test_harness(server_startup_timeout=100):
    calls = {
        "function": films(typed),
        "task": films(task(typed)),
        "flow": films(flow(typed)),
        "flow, not validated": films(flow(typed, validate_parameters=False)),
        "flow without a hint": films(flow(untyped)),
    }
    whole = Found()
    flow(model)(whole)
print(f"Prefect {prefect.__version__}, pydantic {pydantic.VERSION}: {calls}, {whole}")
assert calls.pop("flow") == [], calls
assert all(found == ["film.mkv"] for found in calls.values()), calls
assert whole.films == ["film.mkv"], whole
PYTHON
