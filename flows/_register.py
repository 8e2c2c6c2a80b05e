"""Registering work pool, deployments and automations at a Prefect server.

It may be done again and again: what people set in Prefect's UI stays, such as which
schedules are on, paused deployments and the limits of the work pool.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists

from flows._automations import apply_automations
from flows._schedules import apply_schedule
from flows._supervisor import POOL
from stashhog_core.settings import get_settings

PROJECT = Path(__file__).parent.parent
_PAGE = 200


def register() -> None:
    """Register everything at the server that Prefect's settings name.

    Raises:
        RuntimeError: `prefect deploy` failed; its last line says why.
        ConfigurationError: A setting of schedules or notifications is wrong.
    """
    settings = get_settings()
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        before = list(deployments(client))
        deploy()
        for deployment in before:
            keep_switches(client, deployment)
        for deployment in list(deployments(client)):
            apply_schedule(client, deployment, settings)
    apply_automations(
        PROJECT / "deployments" / "automations.yaml", settings.notifications.blocks
    )


def deploy() -> None:
    """Run `prefect deploy` for all of prefect.yaml.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"prefect deploy failed: {lines[-1]}")


def deployments(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    """Yield all deployments of the server."""
    offset = 0
    while page := client.read_deployments(limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def keep_switches(client: SyncPrefectClient, before: DeploymentResponse) -> None:
    """Set the schedules of a deployment on and off as they were before.

    `prefect deploy` sets them as prefect.yaml has them. A schedule is known by its
    slug; those without one were made by people, and it drops them.
    """
    now = client.read_deployment(before.id)
    if all(schedule.slug for schedule in now.schedules):
        own = [(s.schedule, s.active) for s in before.schedules if not s.slug]
        if own:
            client.create_deployment_schedules(before.id, own)
    active = {s.slug: s.active for s in before.schedules if s.slug}
    for schedule in now.schedules:
        wanted = active.get(schedule.slug or "", schedule.active)
        if wanted != schedule.active:
            client.update_deployment_schedule(before.id, schedule.id, active=wanted)
    if before.paused != now.paused:
        client.update_deployment(before.id, DeploymentUpdate(paused=before.paused))


if __name__ == "__main__":
    try:
        register()
    except Exception as error:  # noqa: BLE001 - told on, in one line
        sys.exit(f"{error}")
