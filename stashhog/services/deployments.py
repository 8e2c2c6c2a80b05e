"""Registering work pool, deployments and automations at a Prefect server.

It may be done again and again: what people set in Prefect's UI stays, such as which
schedules are on, paused deployments and the limits of the work pool.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from stashhog import project_file
from stashhog.services.automations import apply_automations
from stashhog.services.prefect_server import POOL
from stashhog.services.schedules import (
    apply_schedules,
    default_schedules,
    read_registered,
    write_registered,
)
from stashhog_core.errors import problem_text
from stashhog_core.params import JOB_PARAMS, JobParams
from stashhog_core.settings import get_settings
from tasks.flow_runs import our_deployments

_PAGE = 200


def register(*, reset_schedules: bool = False) -> list[str]:
    """Register everything at the server that Prefect's settings name.

    Args:
        reset_schedules: Whether schedules that people changed in Prefect's UI go back
            to their defaults.

    Returns:
        A sentence for each deployment or schedule whose stored parameters a run would
        refuse. They were stored in Prefect's UI and stay: what a person has set is for
        that person to mend.

    Raises:
        PrefectHTTPStatusError: Prefect's server refuses a deployment; says why.
        ConfigurationError: A setting of schedules or notifications is wrong.
    """
    settings = get_settings()
    wanted = yaml.safe_load(project_file("prefect.yaml").read_text())
    defaults = {
        (values["entrypoint"], values["name"]): default_schedules(
            values["name"],
            values.get("schedules") or [],
            has_stash=settings.stash.url is not None,
        )
        for values in wanted["deployments"]
    }
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        deploy(client, wanted)
        known = read_registered()
        registered = {
            str(deployment.id): apply_schedules(
                client,
                deployment,
                defaults[deployment.entrypoint, deployment.name],
                settings,
                known=known.get(str(deployment.id), {}),
                reset=reset_schedules,
            )
            for deployment in list(deployments(client))
            if (deployment.entrypoint, deployment.name) in defaults
        }
        write_registered(registered)
        ours = set(our_deployments(client))
        refused = [
            sentence
            for deployment in deployments(client)
            if deployment.id in ours
            for sentence in refused_parameters(_job(deployment), deployment)
        ]
    apply_automations(
        project_file("deployments/automations.yaml"), settings.notifications.blocks
    )
    return refused


def _job(deployment: DeploymentResponse) -> str:
    """Return the name of the job, which its flow's module is named after."""
    return (deployment.entrypoint or "").rpartition(".")[2]


def refused_parameters(job: str, deployment: DeploymentResponse) -> list[str]:
    """Return a sentence for each stored set of parameters that a run would refuse.

    Prefect checks what a form or an API call asks for, and stores what a schedule is to
    ask for without looking.
    """
    model = JOB_PARAMS.get(job)
    if model is None:
        return []
    name = f"{job}/{deployment.name}"
    # The form still asks for what a deployment itself leaves open.
    stored = [(f"The deployment {name}", deployment.parameters, True)]
    stored += [
        (
            f"The schedule {schedule.slug or schedule.id} of {name}",
            {**deployment.parameters, **schedule.parameters},
            False,
        )
        for schedule in deployment.schedules
    ]
    return [
        f"{what} has a parameter that is not valid, so its runs will fail: "
        f"{problem}. Correct the parameter in Prefect's UI."
        for what, parameters, is_open in stored
        if (problem := _problem(model, parameters, is_open=is_open))
    ]


def _problem(
    model: type[JobParams], parameters: dict[str, Any], *, is_open: bool
) -> str | None:
    """Return the first value that is wrong, and why; None: there is none."""
    # Prefect fills in a value of this form when the run starts.
    filled_in = {
        key
        for key, value in parameters.items()
        if isinstance(value, dict) and "__prefect_kind" in value
    }
    known = {key: parameters[key] for key in parameters.keys() - filled_in}
    try:
        model.model_validate(known)
    except ValidationError as error:
        for problem in error.errors():
            field = str(problem["loc"][0]) if problem["loc"] else ""
            if problem["type"] == "missing" and (is_open or field in filled_in):
                continue
            value = f" = {known[field]!r}" if field in known else ""
            return (
                f"{field}{value}: {problem_text(problem)}"
                if field
                else problem_text(problem)
            )
    return None


def deploy(client: SyncPrefectClient, wanted: Mapping[str, Any]) -> None:
    """Register all that prefect.yaml holds but the schedules.

    An existing deployment keeps its schedules, and stays paused, since neither is sent.
    It does what `prefect deploy --all` does in another process, with four connections
    for each deployment.

    Args:
        client: Of the server.
        wanted: The content of prefect.yaml.
    """
    there = {(found.flow_id, found.name): found.id for found in deployments(client)}
    for values in wanted["deployments"]:
        flow: Flow[..., Any] = load_flow_from_entrypoint(values["entrypoint"])
        flow_id = client.create_flow_from_name(flow.name)
        limit = values.get("concurrency_limit", {})
        known = {
            "entrypoint": values["entrypoint"],
            "description": values["description"],
            "tags": values["tags"],
            "version": flow.version,
            "parameters": values.get("parameters", {}),
            "parameter_openapi_schema": parameter_schema(flow).model_dump(
                exclude_unset=True
            ),
            "enforce_parameter_schema": values["enforce_parameter_schema"],
            "concurrency_limit": limit.get("limit"),
            "concurrency_options": {key: limit[key] for key in limit.keys() - {"limit"}}
            or None,
            "work_pool_name": values["work_pool"]["name"],
            "job_variables": values["work_pool"]["job_variables"],
            "pull_steps": wanted["pull"],
        }
        if known_id := there.get((flow_id, values["name"])):
            client.update_deployment(known_id, DeploymentUpdate(**known))
        else:
            client.create_deployment(flow_id=flow_id, name=values["name"], **known)


def deployments(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    """Yield all deployments of the server."""
    offset = 0
    while page := client.read_deployments(limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


if __name__ == "__main__":
    try:
        for sentence in register(reset_schedules="--reset-schedules" in sys.argv):
            print(sentence)  # noqa: T201 - read by who started this process
    except Exception as error:  # noqa: BLE001 - told on, in one line
        sys.exit(f"{error}")
