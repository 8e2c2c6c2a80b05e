"""Registering the schedules of prefect.yaml and of the settings at a Prefect server.

A schedule that somebody has changed or deleted in Prefect's UI stays so. It is known by
comparison with what was last registered, which the server keeps in a Prefect variable.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import (
    SCHEDULE_TYPES,
    CronSchedule,
    IntervalSchedule,
)
from prefect.variables import Variable
from pydantic import ValidationError

from stashhog_core.errors import ConfigurationError, first_problem
from stashhog_core.settings import PREFIX, Settings

VARIABLE = "stashhog_schedules"
"""The Prefect variable with the record: deployment id → slug → fingerprint."""

_WITHOUT_STASH = {"cleanup"}
"""Deployments with schedules that need no Stash server."""

_BESIDE_TIMING = ("slug", "active", "parameters", "max_scheduled_runs")


def default_schedules(
    name: str, written: Sequence[Mapping[str, Any]], *, has_stash: bool = True
) -> list[DeploymentScheduleCreate]:
    """Return the schedules that prefect.yaml gives a deployment.

    Args:
        name: The deployment.
        written: Its part `schedules` of prefect.yaml.
        has_stash: Whether a Stash server is set. Without one, schedules of jobs that
            need Stash are off, since their runs would fail; they are switched on when
            the deployments are registered with a Stash server.

    Raises:
        ConfigurationError: A schedule has no slug, or is wrong.
    """
    schedules = []
    for values in written:
        known = {key: values[key] for key in _BESIDE_TIMING if key in values}
        timing = {key: values[key] for key in values.keys() - known.keys()}
        if not known.get("slug"):
            raise ConfigurationError(
                f"A schedule of {name} has no slug",
                where="prefect.yaml",
                remedy="give each schedule a slug, by which it is found again",
            )
        try:
            schedule = DeploymentScheduleCreate(schedule=timing, **known)
        except ValidationError as error:
            raise ConfigurationError(
                f"The schedule {known['slug']} of {name} is wrong",
                where="prefect.yaml",
                remedy=first_problem(error),
            ) from error
        if not has_stash and name not in _WITHOUT_STASH:
            schedule = schedule.model_copy(update={"active": False})
        schedules.append(schedule)
    return schedules


def read_registered() -> dict[str, dict[str, str]]:
    """Return what was last registered at the server; empty: nothing is known."""
    found: Any = Variable.get(VARIABLE)
    return found if isinstance(found, dict) else {}


def write_registered(registered: Mapping[str, Mapping[str, str]]) -> None:
    """Have the server keep what is registered now."""
    values: dict[str, Any] = {key: dict(known) for key, known in registered.items()}
    Variable.set(VARIABLE, values, overwrite=True)


def apply_schedules(
    client: SyncPrefectClient,
    deployment: DeploymentResponse,
    defaults: Sequence[DeploymentScheduleCreate],
    settings: Settings,
    *,
    known: Mapping[str, str],
    reset: bool = False,
) -> dict[str, str]:
    """Bring the schedules of a deployment to their defaults and settings.

    A schedule that somebody has changed stays as it is, and one that somebody has
    deleted stays deleted, unless a setting of the deployment says otherwise. Schedules
    that people added are left alone, and defaults of an earlier version are deleted
    unless somebody has changed them. A schedule that is right already is left alone,
    too, with the runs that Prefect has planned; the anchor of an interval never moves.

    Args:
        client: Of the server.
        deployment: As the server has it.
        defaults: The schedules of prefect.yaml. The setting is about the first one.
        settings: With the settings of the schedules.
        known: Slug → fingerprint of what was registered last. A schedule without a
            record, as after an upgrade from a version that kept none, counts as changed
            if it differs from its default.
        reset: Whether changes of people are undone, too.

    Returns:
        Slug → fingerprint of what is registered now.

    Raises:
        ConfigurationError: The setting is no schedule; says which one.
    """
    name = deployment.name.replace("-", "_")
    there = {schedule.slug: schedule for schedule in deployment.schedules}
    registered = {}
    for number, default in enumerate(defaults):
        slug = str(default.slug)
        setting = getattr(settings.schedules, name, None) if number == 0 else None
        wanted = default.model_copy(
            update=_as_set(name, setting, settings.schedules.timezone)
        )
        registered[slug] = _fingerprint(wanted)
        current = there.get(slug)
        if current is None:
            if reset or setting is not None or slug not in known:
                client.create_deployment_schedules(deployment.id, [wanted])
            continue
        is_changed = _fingerprint(current) != known.get(slug, registered[slug])
        if is_changed and not reset:
            if setting is None:
                continue
            # Parameters are no matter of the setting, nor is the time with on and off.
            kept: dict[str, Any] = {"parameters": current.parameters}
            if setting in {"on", "off"}:
                kept["schedule"] = current.schedule
            wanted = wanted.model_copy(update=kept)
        _update(client, deployment, current, wanted)
    for slug in known.keys() - registered.keys():
        # A default of an earlier version.
        current = there.get(slug)
        if current is not None and (reset or _fingerprint(current) == known[slug]):
            client.delete_deployment_schedule(deployment.id, current.id)
    return registered


def _as_set(name: str, setting: str | None, timezone: str) -> dict[str, Any]:
    """Return what a setting changes of a default: its time, and whether it is on."""
    if setting is None:
        return {}
    if setting in {"on", "off"}:
        return {"active": setting == "on"}
    try:
        schedule = (
            IntervalSchedule(interval=timedelta(seconds=int(setting)))
            if setting.isdecimal()
            else CronSchedule(cron=setting, timezone=timezone)
        )
    except ValidationError as error:
        raise ConfigurationError(
            f"{PREFIX}SCHEDULES__{name.upper()} is not a schedule",
            where=f"{setting!r}, {timezone}",
            remedy=first_problem(error),
        ) from error
    return {"active": True, "schedule": schedule}


def _fingerprint(schedule: DeploymentSchedule | DeploymentScheduleCreate) -> str:
    """Return a text that differs if somebody changes the schedule.

    The anchor of an interval is left out: Prefect takes the time of registering.
    """
    timing = schedule.schedule.model_dump(mode="json", exclude={"anchor_date"})
    timing["timezone"] = timing.get("timezone") or "UTC"
    values = {**timing, "active": schedule.active, "parameters": schedule.parameters}
    text = json.dumps(values, sort_keys=True, default=str)
    # The value of a Prefect variable has a limited length.
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _update(
    client: SyncPrefectClient,
    deployment: DeploymentResponse,
    current: DeploymentSchedule,
    wanted: DeploymentScheduleCreate,
) -> None:
    """Make a schedule as it is wanted, if it is another."""
    if _fingerprint(current) == _fingerprint(wanted):
        return
    schedule: SCHEDULE_TYPES = wanted.schedule
    if isinstance(schedule, IntervalSchedule) and isinstance(
        current.schedule, IntervalSchedule
    ):
        anchor = {"anchor_date": current.schedule.anchor_date}
        schedule = schedule.model_copy(update=anchor)
    client.update_deployment_schedule(
        deployment.id,
        current.id,
        active=wanted.active,
        schedule=schedule,
        parameters=wanted.parameters,
    )
