"""Every deployment of prefect.yaml can be loaded and started as it stands."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow

import flows as flows_package
import tasks as tasks_package
from flows import flow_of
from stashhog_core.params import JOB_PARAMS
from stashhog_core.settings.operation import ScheduleSettings

ROOT = Path(__file__).parents[2]
WANTED: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = WANTED["deployments"]


def load(entrypoint: str) -> Flow[..., Any]:
    module, _, name = entrypoint.rpartition(".")
    flow = getattr(importlib.import_module(module), name)
    assert isinstance(flow, Flow)
    return flow


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_entrypoint_loads_and_defaults_are_valid(deployment: dict[str, Any]) -> None:
    """The flow is found by its module, and accepts the deployment's parameters."""
    flow = load(deployment["entrypoint"])
    samples: dict[str, Any] = {"string": "/folder", "integer": 1, "array": [1]}
    required = {
        name: samples[flow.parameters.properties[name]["type"]]
        for name in flow.parameters.required
        if name not in deployment.get("parameters", {})
    }

    flow.validate_parameters({**deployment.get("parameters", {}), **required})

    assert deployment["enforce_parameter_schema"] is True
    assert deployment["description"]
    assert deployment["tags"]


@pytest.mark.parametrize("job", JOB_PARAMS)
def test_every_job_has_a_flow_with_a_readable_form(job: str) -> None:
    """Each job is deployed; each of its parameters is flat and described."""
    entrypoints = {d["entrypoint"] for d in DEPLOYMENTS}
    flow = flow_of(job)

    assert f"{flow.fn.__module__}.{job}" in entrypoints
    assert flow.name == job
    for name, field in JOB_PARAMS[job].model_fields.items():
        shown = flow.parameters.properties[field.alias or name]
        assert shown["description"] == field.description
        assert "$ref" not in shown


def test_no_code_is_pulled_and_no_folder_is_copied() -> None:
    """The one step leaves the working directory as it is.

    With an empty list Prefect copies the folder that the worker was started in, and
    without a list it makes a step that names the folder of this machine.
    """
    step = "prefect.deployments.steps.set_working_directory"

    assert WANTED["pull"] == [{step: {"directory": "."}}]
    assert [d["name"] for d in DEPLOYMENTS if "pull" in d] == []


def test_packages_are_ours() -> None:
    """`flows` and `tasks` are general names; others' packages must not shadow them."""
    assert Path(flows_package.__file__ or "").parent == ROOT / "flows"
    assert Path(tasks_package.__file__ or "").parent == ROOT / "tasks"


def test_every_schedule_has_its_setting() -> None:
    """No schedule is left out of the settings, and none is set for nothing."""
    scheduled = {d["name"].replace("-", "_") for d in DEPLOYMENTS if "schedules" in d}

    assert set(ScheduleSettings.model_fields) - {"timezone"} == scheduled


@pytest.mark.parametrize(
    ("name", "timing", "active"),
    [
        ("auto-stash-sync", {"interval": 300}, True),
        ("auto-video-analysis", {"interval": 600}, False),
        ("auto-plan-apply", {"interval": 3600}, False),
        ("auto-stash-generate", {"interval": 3600}, False),
        ("process-downloads", {"interval": 300}, False),
        ("process-new-scenes", {"cron": "0 4 * * *"}, False),
        ("verify-mirror", {"cron": "0 3 * * *"}, True),
        ("cleanup", {"cron": "30 3 * * *"}, True),
    ],
)
def test_what_the_daemons_did_runs_on_schedule(
    name: str, timing: dict[str, Any], active: bool
) -> None:
    """At the daemons' intervals; what changes Stash or the disk is off at first."""
    (deployment,) = (d for d in DEPLOYMENTS if d["name"] == name)
    (schedule,) = deployment["schedules"]

    assert {**schedule, **timing} == schedule
    assert schedule["active"] is active
    assert schedule["slug"]


def test_only_the_next_scheduled_run_may_take_the_place_of_one() -> None:
    """What people, qBittorrent or Stash ask for waits; it is never dropped."""
    dropped = {
        d["name"]
        for d in DEPLOYMENTS
        if d.get("concurrency_limit", {}).get("collision_strategy") == "CANCEL_NEW"
    }

    assert dropped == {
        "auto-stash-sync",
        "auto-video-analysis",
        "auto-plan-apply",
        "auto-stash-generate",
        "check-stash-generate",
        "cleanup",
        "remove-orphans",
        "sync-deep",
        "verify-mirror",
    }
