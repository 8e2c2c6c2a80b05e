#!/bin/sh
# Prefect's cache gives a task the result for other options, when these are a subclass.
#
# The cache policy INPUTS promises a stored result for equal inputs only, and one expects
# two models that differ to have two keys. Prefect makes the key of what pydantic writes
# down, and pydantic writes a field by its declared type. A job with the field
# `source: Source` and a `Folder(Source)` in it keeps nothing of the path of the folder:
# the task that has read one folder does not run for another. Fields with `exclude=True`
# are not part of the key either. The policy DEFAULT contains INPUTS. With
# `SerializeAsAny[Source]`, the keys differ.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.8.8 'fastapi<0.151' 'sqlalchemy<2.1' \
    pydantic==2.14.3
cd "$folder"
PREFECT_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import prefect
import pydantic
from prefect.cache_policies import INPUTS


class Source(pydantic.BaseModel):
    name: str = "films"


class Folder(Source):
    path: str


class Job(pydantic.BaseModel):
    source: Source


class WholeJob(pydantic.BaseModel):
    source: pydantic.SerializeAsAny[Source]


class Page(pydantic.BaseModel):
    number: int = pydantic.Field(exclude=True)


def keys(*values: object) -> int:
    """Return how many keys the inputs have."""
    made = {
        INPUTS.compute_key(task_ctx=None, inputs={"given": value}, flow_parameters={})
        for value in values
    }
    return len(made)


one, other = Folder(path="/films"), Folder(path="/clips")
found = {
    "folders": keys(one, other),
    "lists of folders": keys([one], [other]),
    "jobs": keys(Job(source=one), Job(source=other)),
    "jobs written whole": keys(WholeJob(source=one), WholeJob(source=other)),
    "excluded": keys(Page(number=1), Page(number=2)),
}
print(f"Prefect {prefect.__version__}, pydantic {pydantic.VERSION}: keys of two: {found}")
assert Job(source=one) != Job(source=other)
assert list(found.values()) == [2, 2, 1, 2, 1], found
PYTHON
