#!/bin/sh
# A flow of Prefect that returns its tasks in a dictionary is Completed if they fail.
#
# A flow that returns the list of its tasks fails if one of them has failed. So one
# expects the same when they are returned by name, or in a list of lists. Prefect looks
# into lists, tuples and sets of nothing but tasks: a dictionary, a list in a list and a
# count beside the tasks are plain values to it, and the flow is Completed. In the
# result of that flow stands the failed state, and nothing raises, so that a flow that
# calls it goes on.
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
from prefect.testing.utilities import prefect_test_harness


@task
def scan(film):
    if film == "broken.mkv":
        raise ValueError(film)


FORMS = {
    "list": lambda broken, sound: [broken, sound],
    "tuple": lambda broken, sound: (broken, sound),
    "dictionary": lambda broken, sound: {"broken": broken, "sound": sound},
    "list in list": lambda broken, sound: [[broken], [sound]],
    "with a count": lambda broken, sound: [broken, sound, 2],
}


@flow
def scan_all(form):
    return FORMS[form](scan.submit("broken.mkv"), scan.submit("film.mkv"))


with prefect_test_harness(server_startup_timeout=100):
    states = {form: scan_all(form, return_state=True).name for form in FORMS}
    by_name = scan_all("dictionary")
print(f"Prefect {prefect.__version__}: {states}")
print(f"in the dictionary: {by_name['broken'].name}, {by_name['sound'].name}")
assert list(states.values()) == ["Failed", "Failed"] + ["Completed"] * 3, states
assert by_name["broken"].is_failed() and by_name["sound"].is_completed(), by_name
PYTHON
