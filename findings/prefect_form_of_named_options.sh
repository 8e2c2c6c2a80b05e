#!/bin/sh
# A deployment of a flow with `**options: str` refuses every option by name.
#
# Called in Python, `job(quality="high")` passes the option on, so one expects that runs
# of the deployment take any further name. The schema that Prefect makes of the flow has
# one required text with the name `options` instead, and `*films: str` is one required
# text as well. The API refuses a run without them, with options by name, and with
# `options` as an object or `films` as a list, so that no run can pass what the flow
# takes.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.8.8 'fastapi<0.151' 'sqlalchemy<2.1'
cd "$folder"
PREFECT_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import prefect
from prefect import flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import ValidationError, validate


@flow
def job(*films: str, **options: str):
    return films, options


schema = parameter_schema(job).model_dump_for_openapi()


def accepts(parameters):
    """Ask as the API does before it makes a run of a deployment."""
    try:
        validate(parameters, schema, raise_on_error=True)
    except ValidationError as error:
        print(f"    {parameters}: {error}")
        return False
    return True


print(f"Prefect {prefect.__version__}: required {schema['required']}")
assert job.fn("a.mkv", quality="high") == (("a.mkv",), {"quality": "high"})
assert schema["required"] == ["films", "options"], schema
assert {schema["properties"][name]["type"] for name in schema["required"]} == {"string"}
assert not accepts({})
assert not accepts({"quality": "high"})
assert not accepts({"films": ["a.mkv"], "options": {"quality": "high"}})
assert accepts({"films": "a.mkv", "options": "high"})
PYTHON
