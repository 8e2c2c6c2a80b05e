#!/bin/sh
# `with_options(on_failure=[])` keeps all hooks of a Prefect flow or task.
#
# Zero retries and no time limit are taken over, so one expects an empty list of hooks
# to take the hooks away, as for a run in a test or a repair that shall notify nobody.
# Prefect takes an empty list for "not given", and the hooks of the original stay. The
# same goes for the tags of a task. A list with a function that does nothing works.
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
from prefect import flow, task


def notify(*_):
    pass


def nothing(*_):
    pass


@flow(retries=3, on_failure=[notify], on_cancellation=[notify])
def job():
    pass


@task(retries=3, on_failure=[notify], tags=["gpu"])
def step():
    pass


quiet_job = job.with_options(retries=0, on_failure=[], on_cancellation=[])
quiet_step = step.with_options(retries=0, on_failure=[], tags=[])
print(
    f"Prefect {prefect.__version__}: retries {quiet_job.retries}, {quiet_step.retries}; "
    f"hooks {len(quiet_job.on_failure_hooks)}, {len(quiet_job.on_cancellation_hooks)}, "
    f"{len(quiet_step.on_failure_hooks)}; tags {quiet_step.tags}"
)
assert quiet_job.retries == quiet_step.retries == 0
assert quiet_job.on_failure_hooks == [notify]
assert quiet_job.on_cancellation_hooks == [notify]
assert quiet_step.on_failure_hooks == [notify]
assert quiet_step.tags == {"gpu"}
assert job.with_options(on_failure=[nothing]).on_failure_hooks == [nothing]
PYTHON
