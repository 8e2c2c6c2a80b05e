"""The main job end to end: real files, PostgreSQL, Prefect, and Stash over HTTP."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_SERVER_UI_ENABLED, temporary_settings
from sqlalchemy import delete, select, text, update

from flows.outcome import result_of
from flows.process_new_scenes import JOB, process_new_scenes
from sandbox.samples import Sample
from sandbox.stash.scraping import Box
from sandbox.stash_box import StashBox, scene
from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import (
    AnalysisPlan,
    JobReport,
    PlanChange,
    Scene,
    SceneTag,
    Tag,
    TaggerResult,
)
from stashhog_core.db.scenes import SceneSummary, list_scenes
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.hashing import oshash
from stashhog_core.plans.records import MAX_ATTEMPTS
from stashhog_core.results import WorkflowReport
from stashhog_core.settings import get_settings
from stashhog_core.workflow import TITLES
from tasks.run_progress import listeners
from tests.support.locks import cut_lock, elsewhere
from tests.support.media import write_video
from tests.support.prefect import artifact, ended_tasks
from tests.support.services import Services
from tests.support.stand_in import asking, until

pytestmark = pytest.mark.slow

Reported = list[tuple[float, str]]


@pytest.fixture
def reported() -> Iterator[Reported]:
    """What runs report: per cent and message."""
    reported: Reported = []

    def listen(percent: float, message: str) -> None:
        reported.append((percent, message))

    listeners.append(listen)
    yield reported
    listeners.remove(listen)


def run(**parameters: Any) -> tuple[State[Any], WorkflowReport]:
    """Run the flow; return its end state and its report."""
    state = process_new_scenes(**parameters, return_state=True)
    report = result_of(state)
    assert isinstance(report, WorkflowReport), report
    return state, report


def mirrored(database: Database) -> dict[str, SceneSummary]:
    """Return the mirrored scenes by the name of their file."""
    with database.transaction() as session:
        return {Path(s.path or "").name: s for s in list_scenes(session, limit=None)}


def statuses(report: WorkflowReport) -> dict[str, str]:
    """Return the status of each step that was reached."""
    return {
        name: step["status"]
        for name, step in report.steps.model_dump(exclude={"analysis_batches"}).items()
        if step is not None
    }


def test_downloads_become_tagged_scenes_with_media(
    services: Services, database: Database, reported: Reported
) -> None:
    """Every readable sample is placed, known, tagged as it says, and has its media.

    Its title card is read, whatever earlier tests have read.
    """
    with database.transaction() as session:
        session.execute(delete(TaggerResult))

    state, report = run(batch_size=5)

    assert state.name == "CompletedWithErrors"
    assert [error["item"] for error in errors_of_downloads(report)] == [
        str(services.placed(corrupt(services)))
    ]
    assert report.summary.total_synced_items == len(list(services.downloads.iterdir()))
    assert report.summary.total_scenes_analyzed == len(services.readable)
    assert [batch.batch_num for batch in report.steps.analysis_batches] == [1, 2]
    scenes = mirrored(database)
    assert len(scenes) == len(services.readable)
    for sample in services.readable:
        assert services.placed(sample).samefile(sample.path)
        scene = scenes[sample.path.name]
        assert scene.studio == sample.studio
        assert set(scene.performers) == set(sample.performers)
        assert set(scene.tags) >= {*sample.tags, *sample.technical_tags}
        assert scene.generated
        assert scene.video_analyzed
    assert media_kinds(services) >= {".jpg", ".mp4", ".vtt"}
    percents = [percent for percent, _ in reported]
    assert percents == sorted(percents)
    assert set(percents) >= {0, 5, 15, 20, 30, 35, 45, 50, 65, 80, 85, 95, 100}


def test_each_step_and_batch_names_its_own_run(
    few_services: Services, database: Database
) -> None:
    """The report leads to the task run of each; the UI's report links there."""
    _, report = run(batch_size=2)

    tasks = ended_tasks(report.job_id, "confirm_downloads-", "analysis batch 2")
    names = {str(task.id): task.name for task in tasks}
    steps = report.steps
    assert [
        names[step.job_id or ""]
        for step in (
            steps.process_downloads,
            steps.stash_scan,
            steps.incremental_sync,
            steps.stash_generate,
            steps.final_incremental_sync,
        )
        if step is not None
    ] == [
        "process_downloads",
        "stash_scan",
        "incremental_sync",
        "stash_generate",
        "final_incremental_sync",
    ]
    assert [names[batch.job_id or ""] for batch in steps.analysis_batches] == [
        "analysis batch 1",
        "analysis batch 2",
    ]


def test_messages_of_sub_jobs_show_and_do_not_move_the_bar(
    services: Services, database: Database
) -> None:
    """Scan and generate say what Stash does; meanwhile no transaction is open."""
    said: Reported = []
    idle: set[int] = set()
    reports = {"Scanning...": threading.Event(), "Generating...": threading.Event()}
    # However late the first check of a job is, the job is still at work.
    services.stash.faults.on_item = lambda job: until(reports[job.description])(job)
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state LIKE 'idle in transaction%'"
    )

    def listen(percent: float, message: str) -> None:
        said.append((percent, message))
        if message.startswith(("Metadata scan", "Generate metadata")):
            with database.transaction() as session:
                idle.add(session.scalar(query) or 0)
            job = "Scanning" if message.startswith("Metadata scan") else "Generating"
            reports[f"{job}..."].set()

    listeners.append(listen)
    try:
        run()
    finally:
        listeners.remove(listen)

    of_scan = {p for p, message in said if message.startswith("Metadata scan")}
    of_generate = {p for p, message in said if message.startswith("Generate metadata")}
    assert (of_scan, of_generate) == ({20.0}, {85.0})
    assert idle == {0}


def test_a_second_run_skips_what_has_no_work(
    few_services: Services, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing new: the seed's words in report and log, once; states named Skipped."""
    run()
    caplog.clear()

    state, report = run()

    assert state.name == "Completed"
    assert report.summary.model_dump() == dict.fromkeys(report.summary.model_dump(), 0)
    messages = {
        name: getattr(report.steps, name).message
        for name, status in statuses(report).items()
        if status == "skipped"
    }
    assert messages == {
        "stash_scan": "Skipped - No new items",
        "incremental_sync": "Skipped - No pending scenes",
        "analysis": "Skipped - No unanalyzed scenes",
        "final_incremental_sync": "Skipped - No pending scenes",
    }
    said = [record.getMessage() for record in caplog.records]
    for step, title in TITLES.items():
        if step in messages:
            reported = f"% {title}: {messages[step]}"
            assert sum(reported in line for line in said) == 1
    shown = ended_tasks(report.job_id, *messages)
    assert {task.name for task in shown if task.state_name == "Skipped"} == set(
        messages
    )
    with database.transaction() as session:
        kept = session.scalars(
            select(JobReport.report).order_by(JobReport.finished_at)
        ).all()
    assert [WorkflowReport.model_validate(r) for r in kept][-1] == report


def test_a_failed_download_step_ends_the_run(
    services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 1 fails: the run is Failed and says why, and nothing else was tried."""
    monkeypatch.setenv("STASHHOG_DOWNLOADS__FOLDER", str(services.downloads / "none"))
    get_settings.cache_clear()

    state = process_new_scenes(return_state=True)

    assert state.is_failed()
    assert "STASHHOG_DOWNLOADS__FOLDER" in (state.message or "")
    with database.transaction() as session:
        report = WorkflowReport.model_validate(
            session.scalars(select(JobReport.report)).one()
        )
    assert report.status == "failed"
    assert statuses(report) == {"process_downloads": "failed"}
    assert list(services.library.iterdir()) == []


def test_any_other_failed_step_is_recorded_and_the_rest_goes_on(
    few_services: Services, database: Database
) -> None:
    """Stash refuses the scan: the run goes on and ends CompletedWithErrors."""
    few_services.stash.faults.answer_html(field="metadataScan", times=99)

    state, report = run()

    assert state.name == "CompletedWithErrors"
    assert report.steps.stash_scan is not None
    assert report.steps.stash_scan.status == "failed"
    assert few_services.stash.url in (report.steps.stash_scan.error or "")
    assert report.steps.stash_generate is not None
    assert report.steps.stash_generate.status == "completed"
    assert len(report.unseen) == len(few_services.samples)


def test_a_run_in_whose_place_another_one_began_ends_at_once(
    few_services: Services, database: Database
) -> None:
    """The run lost its lock: nothing is tried again, and end and report say why."""

    def lose(_percent: float, message: str) -> None:
        if message == "Analyze scenes …":
            cut_lock(database, JOB)
            elsewhere(take_over)

    def take_over() -> None:
        with job_lock(database, JOB):
            pass

    listeners.append(lose)
    try:
        state = process_new_scenes(return_state=True)
    finally:
        listeners.remove(lose)

    assert state.is_failed()
    why = "The lock of process_new_scenes was lost"
    assert why in (state.message or "")
    with database.transaction() as session:
        report = WorkflowReport.model_validate(
            session.scalars(select(JobReport.report)).one()
        )
    assert report.status == "failed"
    assert report.steps.analysis is not None
    assert why in (report.steps.analysis.error or "")
    assert report.steps.stash_generate is None
    run_id = str(state.state_details.flow_run_id)
    tasks = ended_tasks(run_id, "incremental_sync", "unapplied_plans-")
    assert {task.run_count for task in tasks} == {1}
    assert "stash_generate" not in {task.name for task in tasks}


def test_files_of_a_run_that_died_before_its_scan_are_scanned_by_the_next(
    few_services: Services, database: Database
) -> None:
    """Placed but never scanned: no new item, yet the scan is not skipped."""
    few_services.stash.faults.answer_html(field="metadataScan", times=99)
    run()
    few_services.stash.faults.clear()

    _, report = run()

    assert report.summary.total_synced_items == 0
    assert statuses(report)["stash_scan"] == "completed"
    assert len(mirrored(database)) == len(few_services.readable)


def test_a_failed_batch_stops_nothing(
    few_services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two batches one gets no readable answer: the report says so, the other ran."""
    monkeypatch.setenv("STASHHOG_ANALYSIS__PARALLEL_BATCHES", "1")
    get_settings.cache_clear()
    run(steps=["process_downloads", "stash_scan", "incremental_sync"])
    few_services.stash.faults.answer_html(field="findTags", times=1)

    state, report = run(batch_size=2, steps=["analysis", "stash_generate"])

    assert state.name == "CompletedWithErrors"
    first, second = report.steps.analysis_batches
    assert any("not a Stash server" in error for error in first.errors)
    assert second.errors == ()
    assert second.changes_applied == second.changes_approved > 0
    assert statuses(report)["stash_generate"] == "completed"


def test_refused_changes_are_tried_by_the_next_runs(
    few_services: Services, database: Database
) -> None:
    """They are applied as batch 0 once Stash takes them; nothing is analyzed again."""
    few_services.stash.faults.refuse("no luck", field="bulkSceneUpdate", times=99)
    state, report = run()
    assert state.name == "CompletedWithErrors"
    (batch,) = report.steps.analysis_batches
    assert any("no luck" in error for error in batch.errors)
    few_services.stash.faults.clear()

    state, report = run()

    assert state.name == "Completed"
    (left,) = report.steps.analysis_batches
    assert (left.batch_num, left.scenes_analyzed) == (0, 0)
    assert left.changes_applied == len(batch.errors) > 0
    with database.transaction() as session:
        assert set(session.scalars(select(AnalysisPlan.state))) == {"applied"}


def test_without_automatic_approval_plans_wait_for_a_review(
    few_services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is applied; the report names the plans, which later runs leave alone."""
    monkeypatch.setenv("STASHHOG_ANALYSIS__AUTO_APPROVE", "false")
    get_settings.cache_clear()

    _, report = run(batch_size=2)
    _, later = run(auto_approve=True)

    assert report.summary.total_changes_applied == 0
    assert report.summary.total_changes_approved == 0
    batches = report.steps.analysis_batches
    assert {plan.item for plan in report.undecided} == {
        f"plan {batch.plan_id}" for batch in batches
    }
    assert all("wait for your review" in plan.reason for plan in report.undecided)
    assert not any(scene.performers for scene in mirrored(database).values())
    assert statuses(later)["analysis"] == "skipped"
    with database.transaction() as session:
        assert set(session.scalars(select(PlanChange.state))) == {"pending"}


def test_names_are_proposed_only_if_the_settings_ask_for_them(
    few_services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default the workflow proposes tags, whatever else title cards show."""
    monkeypatch.delenv("STASHHOG_ANALYSIS__DETECT_PERFORMERS")
    monkeypatch.delenv("STASHHOG_ANALYSIS__DETECT_STUDIOS")
    get_settings.cache_clear()

    run()

    with database.transaction() as session:
        assert set(session.scalars(select(PlanChange.field))) == {"tags"}


def test_changes_refused_too_often_wait_for_a_person(
    few_services: Services, database: Database
) -> None:
    """The runs that follow leave these alone, and list their plan all the same."""
    few_services.stash.faults.refuse("no luck", field="bulkSceneUpdate", times=99)
    run()
    with database.transaction() as session:
        approved = PlanChange.state == "approved"
        session.execute(
            update(PlanChange).where(approved).values(attempts=MAX_ATTEMPTS - 1)
        )
    _, report = run()
    few_services.stash.faults.clear()

    state, later = run()

    assert state.name == "Completed"
    assert statuses(later)["analysis"] == "skipped"
    for each in (report, later):
        (plan,) = each.undecided
        assert "--retry" in plan.reason
    with database.transaction() as session:
        assert set(session.scalars(select(AnalysisPlan.state))) == {"reviewing"}


def test_only_the_chosen_steps_run(few_services: Services, database: Database) -> None:
    """A step that was not asked for is skipped and says so; the others do work."""
    state, report = run(steps=["process_downloads", "stash_scan"])

    assert state.name == "CompletedWithErrors"
    assert report.summary.total_synced_items > 0
    assert {
        name: status for name, status in statuses(report).items() if status == "skipped"
    } == dict.fromkeys(
        [
            "incremental_sync",
            "analysis",
            "stash_generate",
            "final_incremental_sync",
        ],
        "skipped",
    )
    assert mirrored(database) == {}


@pytest.mark.parametrize("has_pages", [True, False])
def test_reports_link_only_to_pages_that_there_are(
    few_services: Services, *, has_pages: bool
) -> None:
    """The temporary server of a run in the terminal has none, and is gone then."""
    with temporary_settings({PREFECT_SERVER_UI_ENABLED: has_pages}):
        run(steps=["incremental_sync"])

    report = artifact("process-new-scenes-report")["data"]
    assert ("/runs/task-run/" in report) is has_pages


def test_a_failed_step_is_tried_again_when_asked(few_services: Services) -> None:
    """With one further try, a step that fails once completes."""
    few_services.stash.faults.answer_html(field="metadataScan", times=1)

    _, report = run(step_retries=1)

    assert statuses(report)["stash_scan"] == "completed"


def test_a_cancelled_run_keeps_what_is_finished(
    few_services: Services, database: Database, reported: Reported
) -> None:
    """Ctrl-C during the sync: placed files stay, the report says cancelled."""

    def interrupt(_percent: float, message: str) -> None:
        if message == "Incremental sync …":
            raise KeyboardInterrupt

    listeners.append(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            process_new_scenes()
    finally:
        listeners.remove(interrupt)

    with database.transaction() as session:
        report = WorkflowReport.model_validate(
            session.scalars(select(JobReport.report)).one()
        )
    assert report.status == "cancelled"
    assert statuses(report) == {
        "process_downloads": "completed_with_errors",
        "stash_scan": "completed",
    }
    assert few_services.placed(few_services.readable[0]).exists()
    assert reported[-1][0] < 100


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        pytest.param("STASH__URL", "http://127.0.0.1:9", "STASH__URL", id="url"),
        pytest.param("STASH__API_KEY", "wrong", "STASH__API_KEY", id="key"),
        pytest.param(
            "DATABASE__URL", "postgresql://127.0.0.1:9/x", "DATABASE__URL", id="db"
        ),
        pytest.param(
            "STASH__SCAN_PATHS", '["/nowhere"]', "STASH__SCAN_PATHS", id="scan-paths"
        ),
    ],
)
def test_a_wrong_service_ends_the_run_before_anything_is_changed(
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    words: str,
) -> None:
    """One sentence names the setting; no file is placed."""
    monkeypatch.setenv(f"STASHHOG_{variable}", value)
    get_settings.cache_clear()

    state = process_new_scenes(return_state=True)
    error = state.result(raise_on_failure=False)

    assert isinstance(error, ConfigurationError)
    assert words in str(error)
    assert "\n" not in str(error)
    assert list(services.library.iterdir()) == []


def test_flags_are_local_knowledge(few_services: Services, database: Database) -> None:
    """The end state of the mirror has every scene marked, also after another sync."""
    run()
    run()

    with database.transaction() as session:
        marks = session.execute(select(Scene.generated, Scene.video_analyzed)).all()

    assert set(map(tuple, marks)) == {(True, True)}


def corrupt(services: Services) -> Sample:
    return next(sample for sample in services.samples if sample.is_corrupt)


def errors_of_downloads(report: WorkflowReport) -> list[dict[str, str]]:
    step = report.steps.process_downloads
    assert step is not None
    assert step.result is not None
    return list(step.result["errors"])


def media_kinds(services: Services) -> set[str]:
    """Return the kinds of files that Stash generated."""
    return {path.suffix for path in services.stash.home.rglob("*") if path.is_file()}


def test_tasks_of_stash_run_only_if_they_are_named(
    services: Services, database: Database
) -> None:
    """Each is a step at its place; what Stash changes is in the mirror afterwards."""
    write_video(services.library / "a beach.mp4", seconds=2)
    with asking(services.stash.url) as ask:
        ask('mutation{tagCreate(input:{name:"Beach"}){id}}')

    state, report = run(
        steps=[
            "stash_backup",
            "stash_scan",
            "incremental_sync",
            "stash_identify",
            "stash_auto_tag",
            "stash_optimise",
        ]
    )

    named = statuses(report)
    assert {name for name, status in named.items() if status == "skipped"} == {
        "process_downloads",
        "analysis",
        "stash_generate",
        "final_incremental_sync",
    }
    # No stash-box is set in Stash.
    assert named.pop("stash_identify") == "failed"
    assert report.steps.stash_identify is not None
    assert "Stash knows no stash-box" in str(report.steps.stash_identify.error)
    assert state.name == "CompletedWithErrors"
    for name in ("stash_backup", "stash_scan", "stash_auto_tag", "stash_optimise"):
        assert named[name] == "completed", name
    (scene,) = mirrored(database).values()
    assert [tag.name for tag in tags_of(database, scene.id)] == ["Beach"]


def test_scenes_are_identified_before_they_are_analyzed(
    services: Services, database: Database
) -> None:
    """What the stash-box says is in the mirror at the end of the same run."""
    video = services.library / "unnamed.mp4"
    write_video(video, seconds=2)
    with StashBox() as box:
        hashes = [("OSHASH", oshash(video), 2)]
        box.scenes.append(scene("Harbor Morning", fingerprints=hashes, duration=2))
        services.stash.boxes.append(Box(box.endpoint, box.api_key, "box"))

        state, report = run(
            steps=["stash_scan", "incremental_sync", "stash_identify", "analysis"]
        )
        _, later = run(steps=["incremental_sync"])

    assert state.name == "Completed"
    assert statuses(report)["stash_identify"] == "completed"
    assert statuses(later)["incremental_sync"] == "completed"
    assert [found.title for found in mirrored(database).values()] == ["Harbor Morning"]


def test_a_clean_removes_scenes_only_if_the_settings_say_so(
    services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step lists what is gone; with the setting, mirror and Stash lose it."""
    for seed, name in enumerate(("gone.mp4", "kept.mp4")):
        write_video(services.library / name, seconds=1, seed=seed)
    run(steps=["stash_scan", "incremental_sync"])
    (services.library / "gone.mp4").unlink()

    state, report = run(steps=["stash_clean", "incremental_sync"])

    assert state.name == "Completed"
    assert report.steps.stash_clean is not None
    assert report.steps.stash_clean.result is not None
    assert report.steps.stash_clean.result["gone"] == 1
    assert set(mirrored(database)) == {"gone.mp4", "kept.mp4"}

    monkeypatch.setenv("STASHHOG_STASH__CLEAN_DRY_RUN", "false")
    get_settings.cache_clear()
    run(steps=["stash_clean", "incremental_sync"])
    run(steps=["incremental_sync"])

    assert set(mirrored(database)) == {"kept.mp4"}


def tags_of(database: Database, scene_id: int) -> list[Tag]:
    """Return the tags of a scene in the mirror."""
    with database.transaction() as session:
        query = select(Tag).join(SceneTag).where(SceneTag.scene_id == scene_id)
        return list(session.scalars(query))
