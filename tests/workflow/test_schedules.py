"""Schedules by setting; what is not set stays as people switched it."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

from flows.auto_stash_sync import auto_stash_sync
from flows.jobs import sync
from stashhog.services.deployments import keep_switches, refused_parameters
from stashhog.services.schedules import apply_schedule
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings
from stashhog_core.settings.operation import ScheduleSettings
from tests.support.prefect import register

pytestmark = pytest.mark.slow


class Deployed:
    """A deployment `auto-stash-sync`, every 300 seconds, switched off."""

    def __init__(self) -> None:
        # Deployments of other tests are not overwritten.
        self._flow = auto_stash_sync.with_options(name=f"sync-{uuid4()}")
        self._id = self._register()

    def _register(self) -> UUID:
        every = IntervalSchedule(interval=timedelta(seconds=300))
        schedule = DeploymentScheduleCreate(schedule=every, active=False, slug="ours")
        return register(self._flow, "auto-stash-sync", schedules=[schedule])

    def register_again(self) -> None:
        """Do as `stashhog up` does when the deployment is there."""
        with get_client(sync_client=True) as client:
            before = client.read_deployment(self._id)
            self._register()
            keep_switches(client, before)

    def apply(self, **schedules: str) -> None:
        settings = Settings(schedules=ScheduleSettings(**schedules))
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment(self._id)
            apply_schedule(client, deployment, settings)

    def switch(self, *, on: bool) -> None:
        with get_client(sync_client=True) as client:
            (schedule,) = client.read_deployment(self._id).schedules
            client.update_deployment_schedule(self._id, schedule.id, active=on)

    @property
    def schedule(self) -> tuple[bool, Any]:
        """Whether it is on, and its interval or cron."""
        with get_client(sync_client=True) as client:
            (found,) = client.read_deployment(self._id).schedules
        timing = found.schedule
        if isinstance(timing, IntervalSchedule):
            return found.active, timing.interval.total_seconds()
        assert isinstance(timing, CronSchedule)
        return found.active, f"{timing.cron} {timing.timezone}"

    def add(self, cron: str) -> None:
        """Add a schedule as people do in the UI."""
        with get_client(sync_client=True) as client:
            own = CronSchedule(cron=cron)
            client.create_deployment_schedules(self._id, [(own, True)])

    @property
    def crons(self) -> list[str]:
        """The schedules by cron."""
        with get_client(sync_client=True) as client:
            found = client.read_deployment(self._id).schedules
        return [s.schedule.cron for s in found if isinstance(s.schedule, CronSchedule)]


@pytest.fixture
def deployed(prefect_api: str) -> Deployed:
    """The deployment, anew."""
    del prefect_api
    return Deployed()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, (False, 300), id="nothing"),
        pytest.param({"auto_stash_sync": "on"}, (True, 300), id="on"),
        pytest.param({"auto_stash_sync": "off"}, (False, 300), id="off"),
        pytest.param({"auto_stash_sync": "600"}, (True, 600), id="seconds"),
        pytest.param(
            {"auto_stash_sync": "0 4 * * *", "timezone": "Europe/Berlin"},
            (True, "0 4 * * * Europe/Berlin"),
            id="cron",
        ),
        pytest.param({"cleanup": "60"}, (False, 300), id="another"),
    ],
)
def test_a_setting_times_and_switches(
    deployed: Deployed, settings: dict[str, str], expected: tuple[bool, Any]
) -> None:
    """Seconds and cron switch on as well; without a setting nothing changes."""
    deployed.apply(**settings)

    assert deployed.schedule == expected


def test_what_was_switched_by_hand_stays_unless_it_is_set(deployed: Deployed) -> None:
    """A setting goes before the switch in the UI, and only then."""
    deployed.switch(on=True)
    deployed.apply()
    left = deployed.schedule
    deployed.apply(auto_stash_sync="off")

    assert left == (True, 300)
    assert deployed.schedule == (False, 300)


def test_registering_again_keeps_what_people_set(deployed: Deployed) -> None:
    """Their switch stays, and so do schedules that they added, once."""
    deployed.switch(on=True)
    deployed.register_again()
    switched = deployed.schedule
    deployed.add("1 2 3 4 *")

    deployed.register_again()
    deployed.register_again()

    assert switched == (True, 300)
    assert deployed.crons == ["1 2 3 4 *"]


def test_registering_again_keeps_what_people_have_a_schedule_ask_for(
    prefect_api: str,
) -> None:
    """Parameters of our schedules, and of those that people added, stay stored."""
    del prefect_api
    flow = sync.with_options(name=f"sync-{uuid4()}")
    every = IntervalSchedule(interval=timedelta(seconds=300))
    ours = DeploymentScheduleCreate(schedule=every, active=False, slug="ours")
    theirs = DeploymentScheduleCreate(
        schedule=CronSchedule(cron="1 2 3 4 *"),
        active=False,
        parameters={"force": True},
        max_scheduled_runs=3,
    )
    id_ = register(flow, "kept", schedules=[ours])
    with get_client(sync_client=True) as client:
        (made,) = client.read_deployment(id_).schedules
        client.update_deployment_schedule(id_, made.id, parameters={"deep": True})
        client.create_deployment_schedules(id_, [theirs])
        for _ in range(2):
            before = client.read_deployment(id_)
            register(flow, "kept", schedules=[ours])
            keep_switches(client, before)
        kept = client.read_deployment(id_).schedules

    assert {(s.slug, str(s.parameters), s.max_scheduled_runs) for s in kept} == {
        ("ours", "{'deep': True}", None),
        (None, "{'force': True}", 3),
    }


@pytest.mark.parametrize(
    ("job", "deployment", "schedule", "sentences"),
    [
        pytest.param("sync", {}, {"force": True}, [], id="right"),
        pytest.param(
            "sync",
            {},
            {"force": "perhaps"},
            ["The schedule mine of sync/stored has parameters that its runs will "
             "refuse: force = 'perhaps': Input should be a valid boolean"],
            id="wrong in the schedule",
        ),
        pytest.param(
            "sync",
            {"nosuch": 1},
            {},
            ["The deployment sync/stored has", "The schedule mine of sync/stored has"],
            id="wrong in the deployment",
        ),
        pytest.param(
            "apply_plan",
            {},
            {},
            ["The schedule mine of apply_plan/stored has parameters that its runs will "
             "refuse: plan_id: Field required"],
            id="asked for by the form, given by no schedule",
        ),
        pytest.param(
            "apply_plan",
            {},
            {"plan_id": {"__prefect_kind": "jinja", "template": "{{ 1 }}"}},
            [],
            id="filled in by Prefect when the run starts",
        ),
        pytest.param("auto_stash_sync", {}, {}, [], id="no parameters at all"),
    ],
)  # fmt: skip
def test_stored_parameters_are_looked_at(
    job: str,
    deployment: dict[str, Any],
    schedule: dict[str, Any],
    sentences: list[str],
) -> None:
    """Prefect stores what a schedule asks for unseen; `stashhog up` says what fails."""
    stored = DeploymentResponse(
        id=uuid4(),
        flow_id=uuid4(),
        name="stored",
        parameters=deployment,
        schedules=[
            DeploymentSchedule(
                slug="mine",
                schedule=CronSchedule(cron="1 2 3 4 *"),
                parameters=schedule,
            )
        ],
    )

    said = refused_parameters(job, stored)

    assert len(said) == len(sentences)
    assert all(a.startswith(b) for a, b in zip(said, sentences, strict=True)), said


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"auto_stash_sync": "99 * * * *"}, id="cron"),
        pytest.param(
            {"auto_stash_sync": "0 4 * * *", "timezone": "Nowhere/City"}, id="zone"
        ),
    ],
)
def test_a_wrong_schedule_names_its_setting(
    deployed: Deployed, settings: dict[str, str]
) -> None:
    """Prefect judges crons and time zones; the user reads which setting it was."""
    with pytest.raises(
        ConfigurationError, match="STASHHOG_SCHEDULES__AUTO_STASH_SYNC is no schedule"
    ):
        deployed.apply(**settings)
