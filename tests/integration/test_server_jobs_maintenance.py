"""Auto-tagging, identifying and optimising by Stash's own tasks; backups."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sandbox.stash.server import StandIn
from stashhog_core.db.jobs import record_job
from stashhog_core.db.models import StashJob
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, JobCancelled, JobError
from stashhog_core.params import (
    StashAutoTagParams,
    StashIdentifyParams,
    StashOptimiseParams,
)
from stashhog_core.progress import Progress
from stashhog_core.results import StashTaskResult
from stashhog_core.server_jobs.backup import back_up
from stashhog_core.server_jobs.maintenance import auto_tag, identify, optimise
from stashhog_core.server_jobs.tracking import JobForgottenError, cancelled_result
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.fake_stash import ADD_TIME, FINISHED, RUNNING, FakeStash
from tests.support.server_jobs import server_jobs

BOX, OTHER = "http://box.example/graphql", "http://other.example/graphql"
EVERYTHING = {
    "paths": ["/data"],
    "performers": ["*"],
    "studios": ["*"],
    "tags": ["*"],
}


@pytest.fixture
def stash() -> FakeStash:
    """A Stash with two scenes and two stash-boxes, whose library is /data."""
    stash = FakeStash([1, 2])
    stash.boxes = [BOX, OTHER]
    return stash


def tagged(
    stash: FakeStash,
    database: Database,
    was_cancelled: Callable[[str], bool] = lambda _: False,
    **params: Any,
) -> StashTaskResult:
    return auto_tag(
        stash,
        database,
        StashAutoTagParams(**params),
        Progress(),
        run_id="run-1",
        settings=stash.settings,
        was_cancelled=was_cancelled,
    )


def identified(stash: FakeStash, database: Database, **params: Any) -> StashTaskResult:
    return identify(
        stash,
        database,
        StashIdentifyParams(**params),
        Progress(),
        run_id="run-1",
        settings=stash.settings,
    )


def left_behind(database: Database, **facts: Any) -> None:
    """Have a run that is gone have started job 1."""
    given = {"run_id": "gone", "kind": "auto_tag", "stash_job_id": 1, **facts}
    with database.transaction() as session:
        record_job(session, **given)


# --- what is asked -------------------------------------------------------------------


def test_auto_tag_covers_the_scan_paths(stash: FakeStash, database: Database) -> None:
    """Stash is never asked for its whole library by leaving the paths out."""
    result = tagged(stash, database)

    assert stash.started == [("auto_tag", EVERYTHING)]
    assert (result.stash_job_id, result.status) == ("1", "completed")
    assert server_jobs(database) == [(1, "finished", ADD_TIME)]


def test_auto_tag_for_nothing_is_refused() -> None:
    """Stash would walk through all files and tag nothing."""
    with pytest.raises(ValidationError, match="switch on performers, studios or tags"):
        StashAutoTagParams(performers=False, studios=False, tags=False)


@pytest.mark.parametrize("start", [tagged, identified])
def test_paths_outside_the_library_are_refused(
    stash: FakeStash, database: Database, start: Callable[..., StashTaskResult]
) -> None:
    """Stash would end such a job as finished."""
    with pytest.raises(ConfigurationError, match="not in Stash's library"):
        start(stash, database, paths=("/elsewhere",))

    assert stash.started == []


def test_identify_sends_every_option(stash: FakeStash, database: Database) -> None:
    """What Stash takes for an option that is left out is not what its schema says."""
    identified(
        stash,
        database,
        create_missing=("tags",),
        overwrite=("tags",),
        ignore=("urls",),
    )

    ((kind, asked),) = stash.started
    assert kind == "identify"
    assert asked == {
        "sources": [
            {"source": {"stash_box_endpoint": endpoint}} for endpoint in (BOX, OTHER)
        ],
        "options": {
            "fieldOptions": [
                {"field": "performers", "strategy": "MERGE", "createMissing": False},
                {"field": "studio", "strategy": "MERGE", "createMissing": False},
                {"field": "tags", "strategy": "OVERWRITE", "createMissing": True},
                {"field": "url", "strategy": "IGNORE"},
            ],
            "setCoverImage": False,
            "setOrganized": False,
            "includeMalePerformers": True,
            "skipMultipleMatches": True,
            "skipSingleNamePerformers": True,
        },
        "paths": ["/data"],
    }


def test_identify_leaves_out_scenes_that_stash_lacks(
    stash: FakeStash, database: Database
) -> None:
    """Stash would fail in the middle of the job; the others are identified."""
    result = identified(stash, database, scene_ids=(2, 99))

    ((_, asked),) = stash.started
    assert asked["sceneIDs"] == ["2"]
    assert "paths" not in asked
    assert result.status == "completed_with_errors"
    assert [error.item for error in result.errors] == ["scene 99"]


@pytest.mark.parametrize(
    ("boxes", "params", "words"),
    [
        pytest.param([BOX], {"endpoints": (OTHER,)}, BOX, id="unknown"),
        pytest.param([], {}, "Stash knows no stash-box", id="none"),
        pytest.param([BOX], {"scene_ids": (99,)}, "sceneIDs", id="no-scene-left"),
    ],
)
def test_identify_without_a_stash_box_or_scene_is_refused(
    stash: FakeStash,
    database: Database,
    boxes: list[str],
    params: dict[str, Any],
    words: str,
) -> None:
    """The sentence names what Stash has, or what to correct; no job is started."""
    stash.boxes = boxes

    with pytest.raises(ConfigurationError) as caught:
        identified(stash, database, **params)

    assert words in str(caught.value)
    assert stash.started == []


# --- what becomes of the jobs --------------------------------------------------------


def test_cancelling_stops_the_job(stash: FakeStash, database: Database) -> None:
    """What is kept of the run names the job that Stash was asked to stop."""
    stash.job_states = [RUNNING, JobCancelled("now"), RUNNING, FINISHED]

    with pytest.raises(JobCancelled):
        tagged(stash, database)

    assert stash.stopped == [1]
    assert server_jobs(database) == [(1, "cancelled", ADD_TIME)]
    with database.transaction() as session:
        kept = cancelled_result(
            session, "stash_auto_tag", run_id="run-1", started_at=datetime.now(UTC)
        )
    assert getattr(kept, "message", "") == (
        "Cancelled; StashHog asked Stash to stop job 1"
    )


@pytest.mark.parametrize(
    ("left", "state", "started"),
    [
        pytest.param({"asked": EVERYTHING}, RUNNING, 1, id="same-is-resumed"),
        pytest.param({"asked": {"paths": ["/x"]}}, RUNNING, 2, id="other-goes-on"),
        pytest.param({"asked": EVERYTHING}, FINISHED, 2, id="ended-is-done-again"),
        pytest.param(
            {"asked": {"paths": ["/x"]}, "run_id": "run-1"}, RUNNING, 2, id="own-other"
        ),
    ],
)
def test_a_job_of_a_run_that_is_gone(
    stash: FakeStash,
    database: Database,
    left: dict[str, Any],
    state: dict[str, Any],
    started: int,
) -> None:
    """A job that still runs is followed if it does what this run was asked for."""
    stash.started = [("auto_tag", EVERYTHING)]
    stash.job_states = [state, FINISHED]
    left_behind(database, **left)

    tagged(stash, database)

    assert len(stash.started) == started
    assert {row[1] for row in server_jobs(database)} == {"finished"}


def test_the_job_of_a_cancelled_run_is_stopped(
    stash: FakeStash, database: Database
) -> None:
    """Also by the next run, if nothing else did."""
    stash.started = [("auto_tag", EVERYTHING)]
    stash.job_states = [RUNNING, RUNNING, FINISHED]
    left_behind(database, asked=EVERYTHING)

    tagged(stash, database, was_cancelled=lambda run_id: run_id == "gone")

    assert stash.stopped == [1]
    assert [row[1] for row in server_jobs(database)] == ["cancelled", "finished"]


def test_a_lost_job_is_an_error(stash: FakeStash, database: Database) -> None:
    """Nobody knows how it ended."""
    stash.job_states = [RUNNING, None]

    with pytest.raises(JobForgottenError):
        tagged(stash, database)

    assert server_jobs(database) == [(1, "lost", ADD_TIME)]


def test_a_job_that_failed_says_why(stash: FakeStash, database: Database) -> None:
    """With Stash's own words."""
    stash.job_states = [{"status": "FAILED", "error": "error vacuuming database: full"}]

    with pytest.raises(JobError, match="error vacuuming database: full"):
        optimise(
            stash,
            database,
            StashOptimiseParams(),
            Progress(),
            run_id="run-1",
            settings=stash.settings,
        )

    with database.transaction() as session:
        (row,) = session.query(StashJob)
        assert (row.kind, row.state) == ("optimise", "failed")


def test_failures_stand_in_the_log_only(stash: FakeStash, database: Database) -> None:
    """They are errors of the run, cut and each once: Stash repeats whole answers."""
    long = "error scraping from stash-box: " + "x" * 10_000
    stash.log = [long, "auto-tag error: tag with id 7 not found", long]

    result = tagged(stash, database)

    assert result.status == "completed_with_errors"
    first, second = sorted(error.reason for error in result.errors)
    assert first == "auto-tag error: tag with id 7 not found"
    assert (second[:30], len(second)) == (long[:30], 301)


# --- backups -------------------------------------------------------------------------


@pytest.fixture
def real(stand_in: StandIn) -> Iterator[StashClient]:
    """The client of a stand-in server."""
    with StashClient(StashSettings(url=stand_in.url)) as client:
        yield client


def _settings() -> StashSettings:
    return StashSettings(backup_timeout_seconds=30)


def test_a_backup_says_where_it_is(real: StashClient, stand_in: StandIn) -> None:
    """The path stands in Stash's log; the copy can be opened."""
    result = back_up(real, Progress(), settings=_settings())

    assert result.path is not None
    assert Path(result.path).parent == stand_in.home
    assert result.path in result.message
    assert Path(result.path).stat().st_size > 0


def test_two_backups_within_a_second(real: StashClient, stand_in: StandIn) -> None:
    """The name of a copy holds the second: the later one is written in the next."""
    stand_in.clock.offset = timedelta(days=1)
    paths = {back_up(real, Progress(), settings=_settings()).path for _ in range(2)}

    assert len(paths) == 2


def test_an_earlier_backup_is_not_taken_for_this_one(stash: FakeStash) -> None:
    """Stash's log may not show this one: its level may hide the line."""
    stash.log = ["Successfully backed up database to: /earlier"]

    result = back_up(stash, Progress(), settings=_settings())

    assert result.path is None
    assert "does not say where" in result.message


def test_a_backup_that_cannot_be_written(real: StashClient, stand_in: StandIn) -> None:
    """One sentence with Stash's reason, and what to check."""
    stand_in.faults.refuse("vacuum failed: disk full", field="backupDatabase")

    with pytest.raises(JobError) as caught:
        back_up(real, Progress(), settings=_settings())

    assert "disk full" in str(caught.value)
    assert "free space" in str(caught.value)
