"""Every deployment of prefect.yaml can be loaded and started as it stands."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow

import flows as flows_package
import tasks as tasks_package
from stashhog_core.params import JOB_PARAMS

ROOT = Path(__file__).parents[2]
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())[
    "deployments"
]


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


@pytest.mark.parametrize("job", JOB_PARAMS)
def test_every_job_has_a_flow_with_a_readable_form(job: str) -> None:
    """Each job is deployed; each of its parameters is flat and described."""
    entrypoints = {d["entrypoint"] for d in DEPLOYMENTS}
    flow = load(f"flows.{job}.{job}")

    assert f"flows.{job}.{job}" in entrypoints
    for name, field in JOB_PARAMS[job].model_fields.items():
        shown = flow.parameters.properties[field.alias or name]
        assert shown["description"] == field.description
        assert "$ref" not in shown


def test_packages_are_ours() -> None:
    """`flows` and `tasks` are general names; others' packages must not shadow them."""
    assert Path(flows_package.__file__ or "").parent == ROOT / "flows"
    assert Path(tasks_package.__file__ or "").parent == ROOT / "tasks"
