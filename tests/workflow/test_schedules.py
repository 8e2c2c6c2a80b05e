"""Schedules by setting and default; what people changed stays as it is."""

from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

from flows.auto_stash_sync import auto_stash_sync
from stashhog.services.deployments import refused_parameters
from stashhog.services.schedules import apply_schedules, default_schedules
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings
from stashhog_core.settings.operation import ScheduleSettings
from tests.support.prefect import register

pytestmark = pytest.mark.slow


EVERY_5_MINUTES = {"slug": "ours", "interval": 300, "active": False}
EVERY_7_MINUTES = {"slug": "ours", "interval": 420, "active": True}


class Deployed:
    """A deployment `auto-stash-sync`, every 300 seconds, switched off."""

    def __init__(self) -> None:
        # Deployments of other tests are not overwritten.
        flow = auto_stash_sync.with_options(name=f"sync-{uuid4()}")
        self.id = register(flow, "auto-stash-sync")
        self.known: dict[str, str] = {}
        self.apply()

    def apply(
        self,
        *,
        default: dict[str, Any] = EVERY_5_MINUTES,
        reset: bool = False,
        has_stash: bool = True,
        **schedules: str,
    ) -> None:
        """Do as `stashhog up` does with this default and these settings."""
        defaults = default_schedules("auto-stash-sync", [default], has_stash=has_stash)
        with get_client(sync_client=True) as client:
            self.known = apply_schedules(
                client,
                client.read_deployment(self.id),
                defaults,
                Settings(schedules=ScheduleSettings(**schedules)),
                known=self.known,
                reset=reset,
            )

    def forget(self) -> None:
        """Have it as a version left it that kept no record."""
        self.known = {}

    def change(self, **values: Any) -> None:
        """Change our schedule as people do in the UI."""
        with get_client(sync_client=True) as client:
            client.update_deployment_schedule(self.id, self.ours[0].id, **values)

    def delete(self) -> None:
        """Delete our schedule as people do in the UI."""
        with get_client(sync_client=True) as client:
            client.delete_deployment_schedule(self.id, self.ours[0].id)

    @property
    def schedules(self) -> list[DeploymentSchedule]:
        """All that the server has."""
        with get_client(sync_client=True) as client:
            return client.read_deployment(self.id).schedules

    @property
    def ours(self) -> list[DeploymentSchedule]:
        """The schedules that we have registered."""
        return [schedule for schedule in self.schedules if schedule.slug == "ours"]

    @property
    def schedule(self) -> tuple[bool, Any]:
        """Whether our schedule is on, and its interval or cron."""
        (found,) = self.ours
        timing = found.schedule
        if isinstance(timing, IntervalSchedule):
            return found.active, timing.interval.total_seconds()
        assert isinstance(timing, CronSchedule)
        return found.active, f"{timing.cron} {timing.timezone}"


@pytest.fixture
def deployed(prefect_api: str) -> Deployed:
    """The deployment, anew."""
    del prefect_api
    return Deployed()


def test_no_schedule_is_on_that_must_fail(deployed: Deployed) -> None:
    """Without a Stash server; with one, it is switched on, unless a person has not."""
    deployed.apply(default=EVERY_7_MINUTES, has_stash=False)
    without = deployed.schedule
    deployed.apply(default=EVERY_7_MINUTES)

    assert without == (False, 420)
    assert deployed.schedule == (True, 420)

    deployed.apply(default=EVERY_7_MINUTES, has_stash=False)
    deployed.change(active=True)
    deployed.apply(default=EVERY_7_MINUTES, has_stash=False)
    assert deployed.schedule == (True, 420)


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


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({"active": True}, (True, 300), id="on"),
        pytest.param(
            {"schedule": CronSchedule(cron="1 2 3 4 *", timezone="UTC")},
            (False, "1 2 3 4 * UTC"),
            id="time",
        ),
        pytest.param({"parameters": {"force": True}}, (False, 300), id="parameters"),
    ],
)
@pytest.mark.parametrize("has_record", [True, False])
def test_what_was_changed_by_hand_stays(
    deployed: Deployed,
    changed: dict[str, Any],
    expected: tuple[bool, Any],
    has_record: bool,
) -> None:
    """It stays, again and again, if a new version brings another default as well.

    So it does after an upgrade from a version that kept no record.
    """
    deployed.change(**changed)
    parameters = deployed.ours[0].parameters
    if not has_record:
        deployed.forget()

    deployed.apply()
    deployed.apply()
    deployed.apply(default=EVERY_7_MINUTES)
    deployed.apply(default=EVERY_7_MINUTES)

    assert deployed.schedule == expected
    assert deployed.ours[0].parameters == parameters


def test_what_nobody_changed_follows_the_default(deployed: Deployed) -> None:
    """A new version brings another time, and the anchor of the interval stays."""
    before = deployed.ours[0]
    deployed.apply()
    same = deployed.ours[0]

    deployed.apply(default=EVERY_7_MINUTES)

    after = deployed.ours[0]
    assert same == before
    assert deployed.schedule == (True, 420)
    assert isinstance(before.schedule, IntervalSchedule)
    assert isinstance(after.schedule, IntervalSchedule)
    assert after.schedule.anchor_date == before.schedule.anchor_date
    assert after.id == before.id


@pytest.mark.parametrize("changed", [True, False])
def test_a_default_of_an_earlier_version_goes(
    deployed: Deployed, changed: bool
) -> None:
    """A renamed default is not left beside the new one, unless somebody changed it."""
    if changed:
        deployed.change(active=True)

    deployed.apply(default={"slug": "renamed", "interval": 3600, "active": False})

    slugs = {schedule.slug for schedule in deployed.schedules}
    assert slugs == ({"ours", "renamed"} if changed else {"renamed"})


def test_a_deleted_schedule_stays_deleted(deployed: Deployed) -> None:
    """It comes back by a setting; without a record nobody knows that it was deleted."""
    deployed.delete()
    deployed.apply()
    left = deployed.ours

    deployed.apply(auto_stash_sync="600")
    by_setting = deployed.schedule
    deployed.delete()
    deployed.forget()
    deployed.apply()

    assert left == []
    assert by_setting == (True, 600)
    assert deployed.schedule == (False, 300)


@pytest.mark.parametrize("deleted", [True, False])
def test_a_reset_restores_the_default(deployed: Deployed, deleted: bool) -> None:
    """Time, switch and parameters, and a schedule that was deleted."""
    deployed.change(
        active=True,
        schedule=CronSchedule(cron="1 2 3 4 *", timezone="UTC"),
        parameters={"force": True},
    )
    if deleted:
        deployed.delete()

    deployed.apply(reset=True)

    assert deployed.schedule == (False, 300)
    assert deployed.ours[0].parameters == {}


def test_a_setting_goes_before_what_was_changed_by_hand(deployed: Deployed) -> None:
    """`on` and `off` leave the time, and each setting leaves the parameters."""
    cron = CronSchedule(cron="1 2 3 4 *", timezone="UTC")
    deployed.change(schedule=cron, parameters={"force": True})
    deployed.apply(auto_stash_sync="on")
    switched = deployed.schedule

    deployed.apply(auto_stash_sync="600")

    assert switched == (True, "1 2 3 4 * UTC")
    assert deployed.schedule == (True, 600)
    assert deployed.ours[0].parameters == {"force": True}


def test_without_its_setting_a_schedule_follows_the_default(deployed: Deployed) -> None:
    """What a setting had set is no change of a person."""
    deployed.apply(auto_stash_sync="600")

    deployed.apply()

    assert deployed.schedule == (False, 300)


def test_schedules_that_people_added_stay(deployed: Deployed) -> None:
    """Also if the default changes, with all that was set for them."""
    theirs = DeploymentScheduleCreate(
        schedule=CronSchedule(cron="1 2 3 4 *"),
        active=False,
        parameters={"force": True},
        max_scheduled_runs=3,
    )
    with get_client(sync_client=True) as client:
        client.create_deployment_schedules(deployed.id, [theirs])
    before = [schedule for schedule in deployed.schedules if not schedule.slug]

    deployed.apply(default=EVERY_7_MINUTES)
    deployed.apply(default=EVERY_7_MINUTES, reset=True)

    after = [schedule for schedule in deployed.schedules if not schedule.slug]
    assert len(before) == 1
    assert after == before


@pytest.mark.parametrize(
    ("written", "message"),
    [
        pytest.param(
            {"cron": "0 4 * * *"}, "A schedule of mine has no slug", id="no slug"
        ),
        pytest.param(
            {"slug": "nightly", "cron": "99 * * * *"},
            "The schedule nightly of mine is wrong",
            id="cron",
        ),
    ],
)
def test_a_wrong_default_is_named(written: dict[str, Any], message: str) -> None:
    """A mistake in prefect.yaml is found before anything is registered."""
    with pytest.raises(ConfigurationError, match=message):
        default_schedules("mine", [written])


@pytest.mark.parametrize(
    ("job", "deployment", "schedule", "sentences"),
    [
        pytest.param("sync", {}, {"force": True}, [], id="right"),
        pytest.param(
            "sync",
            {},
            {"force": "perhaps"},
            ["The schedule mine of sync/stored has a parameter that is not valid, so "
             "its runs will fail: force = 'perhaps': Input should be a valid boolean"],
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
            ["The schedule mine of apply_plan/stored has a parameter that is "
             "not valid, so its runs will fail: plan_id: Field required"],
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
def test_stored_parameters_are_checked(
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
        ConfigurationError,
        match="STASHHOG_SCHEDULES__AUTO_STASH_SYNC is not a schedule",
    ):
        deployed.apply(**settings)
