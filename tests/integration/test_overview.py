"""The state of the library: numbers, what waits, and trends."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from stashhog_core.db.jobs import save_report
from stashhog_core.db.models import (
    AnalysisPlan,
    DownloadItem,
    LocalEdit,
    MediaCheck,
    MirrorCheck,
    PlanChange,
    ReviewDecision,
    Scene,
    SceneFile,
    ScenePerformer,
    SceneTag,
    Studio,
    Tag,
)
from stashhog_core.db.models import Performer as Person
from stashhog_core.db.session import Database
from stashhog_core.overview import Overview, impacted_scenes, overview, recorded_runs
from stashhog_core.plans.decisions import decide_seen, take_back
from stashhog_core.plans.plans import BY_USER
from stashhog_core.plans.proposals import add_member
from stashhog_core.settings import Settings

NOW = datetime.now(UTC)
TODAY = NOW.date()
LONG_AGO = NOW - timedelta(days=200)


def read(database: Database) -> Overview:
    with database.transaction() as session:
        return overview(session, Settings())


@pytest.fixture
def library(database: Database) -> Database:
    """Four scenes, one of them gone from Stash; changes, downloads and a check."""
    with database.transaction() as session:
        session.add_all([Studio(id=1, name="S"), Tag(id=1, name="T")])
        session.add(Person(id=1, name="P"))
        session.flush()
        session.add_all(
            [
                Scene(
                    id=1,
                    title="Full",
                    studio_id=1,
                    date="2024-01-01",
                    details="d",
                    generated=True,
                    video_analyzed=True,
                    stash_created_at=LONG_AGO,
                ),
                Scene(id=2, video_analyzed=True, stash_created_at=NOW),
                Scene(id=3, stash_created_at=NOW),
                Scene(id=4, missing_since=NOW, stash_created_at=LONG_AGO),
            ]
        )
        session.flush()
        session.add_all([ScenePerformer(scene_id=1, performer_id=1)])
        session.add_all([SceneTag(scene_id=n, tag_id=1) for n in (1, 2, 4)])
        for number, position in ((1, 0), (1, 1), (2, 0), (4, 0)):
            session.add(
                SceneFile(
                    scene_id=number,
                    file_id=10 * number + position,
                    position=position,
                    path=f"/{number}/{position}",
                    size_bytes=1000,
                    duration_seconds=60,
                )
            )
        session.add(MediaCheck(scene_id=1, key=1, missing=[]))
        session.add(MediaCheck(scene_id=2, key=1, missing=["cover"]))
        plan = AnalysisPlan(name="p", state="draft", run_id="analysis-run")
        gone = AnalysisPlan(name="g", state="cancelled")
        session.add_all([plan, gone])
        session.flush()
        states = ("pending", "pending", "conflict", "applied", "rejected")
        for number, state in enumerate(states):
            proposal = add_member("tags", None, f"n{number}", 0.9, "names", {})
            session.add(
                PlanChange(
                    plan_id=plan.id,
                    scene_id=number % 3 + 1,
                    **{**proposal.row, "state": state},
                    approved_by=BY_USER if state == "applied" else None,
                    applied_at=NOW if state == "applied" else None,
                )
            )
        row = add_member("tags", None, "no", 0.9, "names", {}).row
        session.add(PlanChange(plan_id=gone.id, scene_id=1, **row))
        for number, state in enumerate(("placed", "seen", "blocked", "failed", "seen")):
            session.add(
                DownloadItem(
                    source="folder",
                    entry_key=str(number),
                    entry_name="e",
                    relative_path="f",
                    size_bytes=500,
                    state=state,
                    oshash="0" * 16,
                    placed_at=NOW if state in {"placed", "seen"} else None,
                )
            )
        session.add(
            LocalEdit(scene_id=1, field="title", base="", value="x", conflict_since=NOW)
        )
        for different in (1, 3):
            check = MirrorCheck(scenes_checked=100, scenes_different=different)
            check.proved, check.facts = False, {}
            session.add(check)
    return database


def test_an_empty_library_has_an_overview(database: Database) -> None:
    """Nothing is there, nothing waits, and no share is of nothing."""
    state = read(database)

    assert (state.scenes, state.size_bytes, state.duration_seconds) == (0, 0, 0)
    assert not any(vars(state.waiting).values())
    assert all(share.share == 0 for share in state.quality)
    assert (state.jobs, state.scenes_by_day, state.drift_by_day) == ([], [], [])


def test_scenes_that_stash_has_are_counted(library: Database) -> None:
    """With all their files; the length is that of the primary file."""
    state = read(library)

    assert (state.scenes, state.size_bytes, state.duration_seconds) == (3, 3000, 120)
    assert {s.name: (s.count, s.of) for s in state.quality} == {
        "title": (1, 3),
        "studio": (1, 3),
        "performers": (1, 3),
        "date": (1, 3),
        "tags": (2, 3),
        "details": (1, 3),
        "cover": (1, 2),
    }


def test_what_waits_is_counted(library: Database) -> None:
    """For jobs and for people; cancelled plans and scenes that are gone do not wait."""
    waiting = read(library).waiting

    assert vars(waiting) == {
        "unanalyzed": 1,
        "without_media": 2,
        "unseen_downloads": 1,
        "blocked_downloads": 1,
        "failed_downloads": 1,
        "removals": 1,
        "held": None,
        "conflicts": 1,
        "plans": 1,
        "open_changes": 2,
        "change_conflicts": 1,
    }


def test_held_removals_are_those_of_the_last_sync(library: Database) -> None:
    """A later sync that held nothing back ends what an earlier one has said."""

    def sync(run_id: str, held: str | None) -> str | None:
        with library.transaction() as session:
            report = {"held": held}
            save_report(session, run_id, "sync", "held", NOW, report)
        return read(library).waiting.held

    assert sync("1", "would remove 40 scenes") == "would remove 40 scenes"
    assert sync("2", None) is None


def test_trends_have_a_value_for_each_day(library: Database) -> None:
    """Scenes add up from those before; checks of one day count together."""
    state = read(library)

    # On the day before, there was one still.
    assert [value for _, value in state.scenes_by_day] == [1, 1, 3]
    days = [day for day, _ in state.scenes_by_day]
    assert days[2] - days[1] == timedelta(days=1)
    assert state.scenes_by_day[-1][0] >= TODAY
    assert state.applied_by_day == [(TODAY, 1)]
    assert state.downloaded_by_day == [(TODAY, 1500)]
    assert state.drift_by_day == [(TODAY, 0.02)]
    assert [(a.name, a.count, a.of) for a in state.acceptance] == [("names", 1, 2)]


def test_acceptance_goes_week_by_week(library: Database) -> None:
    """Decisions that stand count in their week; those taken back do not."""
    monday = TODAY - timedelta(days=TODAY.weekday())
    with library.transaction() as session:
        plan_id = session.scalars(
            select(AnalysisPlan.id).where(AnalysisPlan.name == "p")
        ).one()
        first, second = session.scalars(
            select(PlanChange.id).where(
                PlanChange.state == "pending", PlanChange.plan_id == plan_id
            )
        )
        session.get_one(PlanChange, second).detector = "reader"
        early = decide_seen(session, plan_id, "reject", {first: "pending"})
        session.get_one(ReviewDecision, early.decision_id).decided_at = NOW - timedelta(
            days=14
        )
        decide_seen(session, plan_id, "accept", {first: "rejected"})
        decide_seen(session, plan_id, "accept", {second: "pending"})
        back = decide_seen(session, plan_id, "reject", {second: "approved"})
        take_back(session, plan_id, back.decision_id)

    assert read(library).acceptance_by_week == {
        "names": [(monday - timedelta(days=14), 0.0), (monday, 1.0)],
        "reader": [(monday, 1.0)],
    }


def test_each_job_says_when_it_last_succeeded(database: Database) -> None:
    """Also with errors; a failed run after it does not hide that."""
    for number, status in enumerate(("completed", "completed_with_errors", "failed")):
        with database.transaction() as session:
            save_report(session, str(number), "sync", status, NOW, {})
    with database.transaction() as session:
        save_report(session, "other", "cleanup", "failed", NOW, {})
    state = read(database)

    cleanup, sync = state.jobs
    assert (cleanup.succeeded_at, cleanup.last_status) == (None, "failed")
    assert (sync.last_run_id, sync.last_status) == ("2", "failed")
    assert sync.succeeded_at is not None
    assert sync.succeeded_at < sync.last_at


def test_a_run_has_the_scenes_that_it_changed_or_completed(library: Database) -> None:
    """By its plans and by its generated media, each scene once."""
    with library.transaction() as session:
        report = {"scenes_updated": [2, 3]}
        save_report(session, "analysis-run", "analysis", "completed", NOW, report)
        found = impacted_scenes(session, "analysis-run")
        first = impacted_scenes(session, "analysis-run", limit=1)
        unknown = impacted_scenes(session, "nothing")
        runs = recorded_runs(session)

    assert unknown is None
    assert found is not None
    assert {s.scene_id: s.changes for s in found.changes} == {
        1: ("add tag n3",),
        2: (),
        3: (),
    }
    assert first is not None
    assert (len(first.changes), first.total) == (1, 3)
    assert [run.run_id for run in runs] == ["analysis-run"]
