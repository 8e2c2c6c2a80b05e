#!/bin/sh
# A table artifact of Prefect with an infinite number is stored as broken JSON.
#
# Prefect's table artifacts take care of `nan`, which JSON does not know: the API holds
# null in its place. So one expects the same of `inf`, as a rate over no time gives it,
# or an error. `inf` is written as `Infinity`: the artifact is stored without an error,
# and what reads it by the rules of JSON, as a browser does, refuses the whole table.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.8.8 'fastapi<0.151' 'sqlalchemy<2.1' \
    orjson==3.13.0
cd "$folder"
PREFECT_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import asyncio

import orjson
import prefect
from prefect.artifacts import TableArtifact


def stored(value: float) -> str:
    return asyncio.run(TableArtifact(table=[{"rate": value}]).aformat())


texts = {value: stored(value) for value in (1.5, float("nan"), float("inf"))}
try:
    read = orjson.loads(stored(float("inf")))
except orjson.JSONDecodeError as error:
    read = error
print(f"Prefect {prefect.__version__}: {list(texts.values())}")
print(f"read by the rules of JSON: {read}")
assert orjson.loads(stored(1.5)) == [{"rate": 1.5}]
assert orjson.loads(stored(float("nan"))) == [{"rate": None}]
assert stored(float("inf")) == '[{"rate": Infinity}]'
assert isinstance(read, orjson.JSONDecodeError), read
PYTHON
