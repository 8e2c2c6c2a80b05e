#!/bin/sh
# `task.map` takes a pydantic model for a list, and hands out its fields one by one.
#
# What is no list goes to every call of a mapped task as it is, strings and bytes
# included, so one expects the same of an object with options. But pydantic's models can
# be iterated: a model with as many fields as there are items gives each call one pair
# of a field's name and its value, with no error. With another number of fields, the
# call is refused for lists of different lengths. `unmapped(model)` works.
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
from prefect import flow, task, unmapped
from prefect.exceptions import MappingLengthMismatch
from prefect.testing.utilities import prefect_test_harness


class Options(pydantic.BaseModel):
    width: int = 160
    codec: str = "h264"


@task
def convert(film, options):
    return film, options


@flow
def convert_all(films, options, keep_whole=False):
    given = unmapped(options) if keep_whole else options
    return [future.result() for future in convert.map(films, given)]


with prefect_test_harness(server_startup_timeout=100):
    two = convert_all(["a.mkv", "b.mkv"], Options())
    whole = convert_all(["a.mkv", "b.mkv"], Options(), keep_whole=True)
    text = convert_all(["a.mkv", "b.mkv"], "xy")
    try:
        three = convert_all(["a.mkv", "b.mkv", "c.mkv"], Options())
    except MappingLengthMismatch as error:
        three = str(error)
print(f"Prefect {prefect.__version__}, pydantic {pydantic.VERSION}: {two}")
print(f"three films: {three}")
assert two == [("a.mkv", ("width", 160)), ("b.mkv", ("codec", "h264"))], two
assert whole == [("a.mkv", Options()), ("b.mkv", Options())], whole
assert text == [("a.mkv", "xy"), ("b.mkv", "xy")], text
assert "'options': 2" in three, three
PYTHON
