"""The clean-up: what goes, what stays, and what dead runs left open."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from sandbox.stash.server import StandIn
from stashhog_core.cleanup.findings import Findings
from stashhog_core.cleanup.job import clean_up
from stashhog_core.db.generated import (
    Failed,
    Unmakeable,
    media_basis,
    note_unmakeable,
    unmakeable_of,
)
from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import (
    AnalysisPlan,
    Base,
    DownloadItem,
    JobReport,
    MediaCheck,
    MirrorCheck,
    Picture,
    PlanChange,
    Scene,
    SceneFile,
    SceneFingerprint,
    StashJob,
    SyncIssue,
    SyncRun,
    TaggerResult,
    UnmakeableMedia,
)
from stashhog_core.db.session import Database
from stashhog_core.overview import job_histories
from stashhog_core.params import CleanupParams
from stashhog_core.progress import Progress
from stashhog_core.results import CleanupResult
from stashhog_core.server_jobs.tracking import SCAN_NOT_STOPPED
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from tests.support.media import write_video
from tests.support.stand_in import until

NOW = datetime.now(UTC)
NEW, OLD = NOW - timedelta(days=1), NOW - timedelta(days=400)


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A watch folder with one entry, set as the source."""
    folder = tmp_path / "downloads"
    (folder / "kept").mkdir(parents=True)
    monkeypatch.setenv("STASHHOG_DOWNLOADS__SOURCE", "folder")
    monkeypatch.setenv("STASHHOG_DOWNLOADS__FOLDER", str(folder))
    return folder


def run(
    database: Database, *, cancelled: tuple[str, ...] = (), **params: Any
) -> CleanupResult:
    """Clean up once."""
    get_settings.cache_clear()
    findings = Findings()
    asked = CleanupParams(**params)
    clean_up(
        get_settings(),
        database,
        asked,
        Progress(),
        findings,
        now=NOW,
        run_id="cleanup",
        was_cancelled=lambda run_id: run_id in cancelled,
    )
    return findings.result(dry_run=asked.dry_run)


def store(database: Database, *rows: Base) -> None:
    with database.transaction() as session:
        session.add_all(rows)


def count(database: Database, model: type[Base]) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def report(
    run_id: str, finished: datetime, job: str = "sync", status: str = "completed"
) -> JobReport:
    return JobReport(
        run_id=run_id,
        job=job,
        status=status,
        started_at=finished,
        finished_at=finished,
        report={},
    )


def sync_run(started: datetime, **facts: Any) -> SyncRun:
    return SyncRun(
        kind="incremental",
        trigger="manual",
        status="completed",
        started_at=started,
        finished_at=started,
        **facts,
    )


def download(key: str, state: str = "seen", file: str = "a.mp4") -> DownloadItem:
    return DownloadItem(
        source="folder",
        entry_key=key,
        entry_name=key,
        relative_path=file,
        size_bytes=1,
        state=state,
        seen_at=OLD,
    )


def tagged(content: str, created: datetime) -> TaggerResult:
    return TaggerResult(
        content_hash=content,
        tagger="ai",
        configuration="1",
        output={},
        created_at=created,
    )


def scene_with(oshash: str | None) -> Iterator[Base]:
    yield SceneFile(scene_id=1, file_id=1, position=0, path="/a.mp4")
    if oshash:
        yield SceneFingerprint(scene_id=1, file_id=1, kind="oshash", value=oshash)


def failed(content: int) -> Failed:
    found = Unmakeable(frozenset({"cover"}), ("cover",), "no frame")
    return Failed(content, found, is_doubtful=False)


def test_old_history_goes_and_new_history_stays(database: Database) -> None:
    """Reports, syncs with their issues, and Stash jobs are kept as long as is set."""
    store(database, report("old", OLD), report("new", NEW))
    with database.transaction() as session:
        old = sync_run(OLD)
        session.add_all([old, sync_run(NEW, baseline=NEW)])
        session.flush()
        session.add(
            SyncIssue(sync_run_id=old.id, entity="scene", entity_id=1, reason="?")
        )
    for state, when in (("finished", OLD), ("finished", NEW)):
        job = StashJob(run_id="r", kind="scan", stash_job_id=1, state=state)
        job.finished_at = when
        store(database, job)

    result = run(database)

    assert result.removed == {"job report": 1, "sync run": 1, "Stash job": 1}
    for model, left in ((JobReport, 1), (SyncRun, 1), (SyncIssue, 0), (StashJob, 1)):
        assert count(database, model) == left
    assert run(database).removed == {}


def test_the_newest_report_and_success_of_each_job_stay_however_old(
    database: Database,
) -> None:
    """A job that has failed for long still shows since when, and that it ever worked.

    Without the report, an alert on the age of the last success would fall silent.
    """
    day = timedelta(days=1)
    store(
        database,
        report("older success", OLD - 3 * day),
        report("success", OLD - 2 * day, status="completed_with_errors"),
        report("older failure", OLD - day, status="failed"),
        report("failure", OLD, status="failed"),
        report("only one", OLD, job="stash_clean", status="failed"),
    )

    assert run(database).removed == {"job report": 2}

    jobs = {"sync": ("failure", "failed"), "stash_clean": ("only one", "failed")}
    with database.transaction() as session:
        histories = job_histories(session)
        assert {j.job: (j.last_run_id, j.last_status) for j in histories} == jobs
        (sync,) = [job for job in histories if job.job == "sync"]
        assert sync.succeeded_at == OLD - 2 * day


def test_a_dry_run_lists_the_same_and_changes_nothing(database: Database) -> None:
    """What it says would go is what a run then removes."""
    store(database, report("old", OLD), report("new", NEW), sync_run(OLD))

    listed = run(database, dry_run=True)
    before = count(database, JobReport), count(database, SyncRun)
    removed = run(database)

    assert before == (2, 1)
    assert listed.removed == removed.removed == {"job report": 1, "sync run": 1}
    assert listed.samples == removed.samples
    assert any("old" in sample for sample in listed.samples)


def test_the_newest_baseline_and_verification_stay_however_old(
    database: Database,
) -> None:
    """Without them, sync would look at everything, and nothing would be proved."""
    for _ in range(2):
        store(database, sync_run(OLD, baseline=OLD))
        check = MirrorCheck(proved=True, scenes_checked=1, scenes_different=0)
        check.checked_at = OLD
        store(database, check)

    result = run(database)

    assert result.removed == {"sync run": 1, "mirror check": 1}
    assert (count(database, SyncRun), count(database, MirrorCheck)) == (1, 1)


def test_the_ledger_forgets_only_what_the_source_has_no_longer(
    database: Database, downloads: Path
) -> None:
    """An entry still listed, or with a file not yet in Stash, would be taken again."""
    store(
        database,
        download("gone"),
        download("gone", "left_out", "short.mp4"),
        download("kept"),
        download("half"),
        download("half", "placed", "b.mp4"),
        download("refused", "left_out"),
    )

    result = run(database)

    assert result.removed == {"download": 2}
    assert count(database, DownloadItem) == 4


def test_an_empty_or_missing_folder_proves_nothing(
    database: Database, downloads: Path
) -> None:
    """A disk that is not mounted looks like that; the rest is cleaned up."""
    store(database, download("gone"), report("old", OLD), report("new", NEW))
    (downloads / "kept").rmdir()

    empty = run(database)
    downloads.rmdir()
    missing = run(database)

    assert empty.removed == {"job report": 1}
    assert empty.status == "completed"
    assert missing.status == "completed_with_errors"
    assert "cannot be read" in missing.errors[0].reason
    assert count(database, DownloadItem) == 1


def test_a_folder_with_nothing_that_the_ledger_knows_proves_nothing(
    database: Database, downloads: Path
) -> None:
    """A mount point without its disk may hold other files: what was imported stays."""
    store(database, download("gone"), download("film"))
    (downloads / "kept").rmdir()
    (downloads / "lost+found").mkdir()

    away = run(database)
    (downloads / "film").mkdir()
    back = run(database)

    assert away.removed == {}
    assert back.removed == {"download": 1}
    assert count(database, DownloadItem) == 1


def test_results_of_videos_that_are_gone_go(database: Database) -> None:
    """What was seen in videos that Stash has stays, and so does what is new."""
    store(database, Scene(id=1))
    store(database, *scene_with("aa"))
    store(database, tagged("aa", OLD), tagged("bb", OLD), tagged("cc", NEW))

    result = run(database)

    assert result.removed == {"tagger result": 1}
    assert result.samples == ("tagger result: bb",)
    assert count(database, TaggerResult) == 2


def test_answers_of_stash_boxes_go_by_their_age(database: Database) -> None:
    """They are kept by several hashes, and asked for again: no limit holds them."""
    boxes = [tagged(f"old {number}", OLD) for number in range(30)]
    boxes.append(tagged("new", NEW))
    for row in boxes:
        row.tagger = "stash_box"
    store(database, *boxes)

    result = run(database)

    assert (result.removed, result.held) == ({"answer of a stash-box": 30}, None)
    assert count(database, TaggerResult) == 1


def test_covers_go_that_no_undo_needs(database: Database) -> None:
    """A cover that a change proposes, or has replaced, stays however old it is."""
    plan = AnalysisPlan(name="Plan", state="applied")
    store(database, plan)
    covers = ("proposed", "before", "unused")
    store(
        database,
        *(Picture(sha256=name, content=b"x", created_at=OLD) for name in covers),
        Picture(sha256="new", content=b"x", created_at=NEW),
        PlanChange(
            plan_id=plan.id,
            scene_id=1,
            field="cover",
            action="set",
            value_key="k",
            proposed={"sha256": "proposed"},
            confidence=1,
            detector="stash_box",
            evidence={},
            state="applied",
            effect={"before": "before", "after": "proposed"},
        ),
    )

    assert run(database).removed == {"picture": 1}
    assert count(database, Picture) == 3


def test_checks_of_scenes_that_are_gone_go(database: Database) -> None:
    """They stand beside the mirror, which forgets a scene by itself."""
    store(database, Scene(id=1))
    store(database, MediaCheck(scene_id=1, key=1), MediaCheck(scene_id=2, key=1))

    assert run(database).removed == {"media check": 1}
    assert count(database, MediaCheck) == 1


def test_unmakeable_media_of_contents_that_are_gone_goes(database: Database) -> None:
    """What no scene has any more, as its file or markers changed, is never asked for.

    An empty mirror proves nothing.
    """
    with database.transaction() as session:
        note_unmakeable(session, "v1", [failed(1)])
    assert run(database).removed == {}

    store(database, Scene(id=1))
    store(database, *scene_with("aa"))
    with database.transaction() as session:
        note_unmakeable(session, "v1", [failed(media_basis(session, [1])[1])])

    assert run(database, dry_run=True).removed == {"unmakeable medium": 1}
    assert count(database, UnmakeableMedia) == 2
    result = run(database)

    assert result.removed == {"unmakeable medium": 1}
    assert "no frame" in result.samples[0]
    with database.transaction() as session:
        assert list(unmakeable_of(session, [1], "v1")) == [1]


@pytest.mark.parametrize("scenes", [0, 1])
def test_results_stay_while_a_hash_is_unknown(database: Database, scenes: int) -> None:
    """An empty mirror, or a file without its hash, proves nothing."""
    if scenes:
        store(database, Scene(id=1))
        store(database, *scene_with(None))
    store(database, tagged("bb", OLD))

    assert run(database).removed == {}


def test_too_many_results_are_blocked(database: Database) -> None:
    """They are costly: a run that would remove many says how to confirm."""
    store(database, Scene(id=1))
    store(database, *scene_with("aa"))
    store(database, *(tagged(f"{number}", OLD) for number in range(30)))

    blocked = run(database)
    confirmed = run(database, confirm_removals=True)

    assert blocked.removed == {}
    assert "confirm_removals=true" in (blocked.held or "")
    assert confirmed.removed == {"tagger result": 30}
    assert confirmed.held is None


def test_what_dead_runs_left_is_reconciled(
    database: Database,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Syncs, plans and Stash jobs end by the rules of those who would come next."""
    monkeypatch.setenv("STASHHOG_STASH__URL", stand_in.url)
    running = sync_run(NEW)
    running.status, running.finished_at = "running", None
    store(database, running, AnalysisPlan(name="left", state="pending"))
    get_settings.cache_clear()
    with StashClient(get_settings().stash) as stash:
        write_video(stand_in.library / "a.mp4", seconds=4)
        stand_in.faults.on_item = until(threading.Event())
        working = stash.start_job("scan", {"paths": [str(stand_in.library)]})
    store(
        database,
        StashJob(run_id="told", kind="scan", stash_job_id=working),
        StashJob(run_id="gone", kind="generate", stash_job_id=4712),
        StashJob(run_id="lost", kind="scan", stash_job_id=4711),
    )

    result = run(database, cancelled=("told",))

    assert result.settled == {"sync run": 1, "plan": 1, "Stash job": 3}
    with database.transaction() as session:
        states = dict(session.execute(select(StashJob.run_id, StashJob.state)).all())
        assert session.scalars(select(SyncRun.status)).all() == ["interrupted"]
        assert session.scalars(select(AnalysisPlan.state)).all() == ["draft"]
    assert states == {"told": "cancelled", "lost": "lost", "gone": "lost"}
    assert SCAN_NOT_STOPPED % working in caplog.text


def test_what_living_runs_hold_is_left_alone(database: Database) -> None:
    """A sync and a generate run that go on answer for their own rows."""
    running = sync_run(NEW)
    running.status = "running"
    store(database, running, StashJob(run_id="alive", kind="generate", stash_job_id=1))

    with job_lock(database, "sync"), job_lock(database, "stash_generate"):
        result = run(database)

    assert result.settled == {}
    with database.transaction() as session:
        assert session.scalars(select(StashJob.state)).all() == ["open"]
        assert session.scalars(select(SyncRun.status)).all() == ["running"]


@pytest.mark.slow
def test_stash_away_leaves_its_jobs_for_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, the row stays open, and everything else is done."""
    monkeypatch.setenv("STASHHOG_STASH__URL", "http://127.0.0.1:9")
    store(database, report("old", OLD), report("new", NEW))
    store(database, StashJob(run_id="r", kind="scan", stash_job_id=1))

    result = run(database)

    assert result.removed == {"job report": 1}
    assert result.errors[0].item == "open scan jobs of Stash"
    with database.transaction() as session:
        assert session.scalars(select(StashJob.state)).all() == ["open"]
