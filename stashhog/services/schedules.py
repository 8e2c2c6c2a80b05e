"""Applying the settings of schedules to the deployments at a Prefect server."""

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import (
    SCHEDULE_TYPES,
    CronSchedule,
    IntervalSchedule,
)
from pydantic import ValidationError

from stashhog_core.errors import ConfigurationError, first_problem
from stashhog_core.settings import PREFIX, Settings


def apply_schedule(
    client: SyncPrefectClient, deployment: DeploymentResponse, settings: Settings
) -> None:
    """Set the schedule of a deployment as the settings say; unset: leave it alone.

    A schedule that is so already stays untouched, and with it the runs it has made.

    Raises:
        ConfigurationError: The setting is no schedule; says which one.
    """
    name = deployment.name.replace("-", "_")
    timing: str | None = getattr(settings.schedules, name, None)
    ours = [schedule for schedule in deployment.schedules if schedule.slug]
    if timing is None or not ours:
        return
    current = ours[0]
    active = timing != "off"
    wanted = _schedule(name, timing, current, settings.schedules.timezone)
    if active != current.active or wanted != current.schedule:
        client.update_deployment_schedule(
            deployment.id, current.id, active=active, schedule=wanted
        )


def _schedule(
    name: str, timing: str, current: DeploymentSchedule, timezone: str
) -> SCHEDULE_TYPES:
    """Return when the deployment is to run; `on` and `off` leave that as it is."""
    if timing in {"on", "off"}:
        return current.schedule
    try:
        if not timing.isdecimal():
            return CronSchedule(cron=timing, timezone=timezone)
        interval = timedelta(seconds=int(timing))
        known = current.schedule
        if isinstance(known, IntervalSchedule):
            return known.model_copy(update={"interval": interval})
        return IntervalSchedule(interval=interval)
    except ValidationError as error:
        raise ConfigurationError(
            f"{PREFIX}SCHEDULES__{name.upper()} is no schedule",
            where=f"{timing!r}, {timezone}",
            remedy=first_problem(error),
        ) from error
