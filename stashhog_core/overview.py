"""The library at a glance: what is there, what waits, and how it went over time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Date, and_, case, cast, exists, func, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    AnalysisPlan,
    DownloadItem,
    JobReport,
    MediaCheck,
    MirrorCheck,
    PlanChange,
    ReviewDecision,
    ReviewedChange,
    Scene,
    SceneFile,
    ScenePerformer,
    SceneTag,
)
from stashhog_core.db.scenes import SceneFilter, matching_scene_ids, scene_titles
from stashhog_core.downloads.listing import not_in_stash
from stashhog_core.plans.plans import changes_of_run
from stashhog_core.plans.trust import acceptances
from stashhog_core.results import SceneChanges
from stashhog_core.results.base import SUCCESSFUL
from stashhog_core.settings import Settings
from stashhog_core.sync.local_edits import count_conflicts

TREND_DAYS = 90
MOST_RUNS = 20
MOST_IMPACTED = 120
"""Scenes of a run that are shown."""

Series = Sequence[tuple[date, float]]
"""A value for each day that has one, in order."""


@dataclass(frozen=True)
class Waiting:
    """What waits for a job or for a person. All are numbers but `held`.

    Attributes:
        unanalyzed: Scenes that no analysis has seen.
        without_media: Scenes that lack generated media.
        unseen_downloads: Files in the library that Stash does not have yet.
        blocked_downloads: Files that are not tried again.
        failed_downloads: Files that are tried again later.
        removals: Scenes that Stash no longer has, and that a later sync removes.
        held: Why the last sync has held removals back; None: it has not.
        conflicts: Fields that were edited both here and in Stash.
        plans: Plans with open changes.
        open_changes: The open changes of these plans.
        change_conflicts: Changes of plans that somebody has overtaken in Stash.
    """

    unanalyzed: int
    without_media: int
    unseen_downloads: int
    blocked_downloads: int
    failed_downloads: int
    removals: int
    held: str | None
    conflicts: int
    plans: int
    open_changes: int
    change_conflicts: int


@dataclass(frozen=True)
class JobHistory:
    """A job: when it last succeeded, and how its last run ended.

    Attributes:
        job: Its name.
        succeeded_at: The end of the last run that completed, also with errors; None:
            no run that is still recorded did.
        last_status: How the last run ended.
        last_run_id: That run.
        last_at: Its end.
    """

    job: str
    succeeded_at: datetime | None
    last_status: str
    last_run_id: str
    last_at: datetime


@dataclass(frozen=True)
class Share:
    """How many of how many scenes have something."""

    name: str
    count: int
    of: int

    @property
    def share(self) -> float:
        """0 to 1; 0 of nothing is 0."""
        return self.count / self.of if self.of else 0.0


@dataclass(frozen=True)
class Overview:
    """The state of the library.

    Attributes:
        at: When it was read.
        scenes: Scenes that Stash has.
        size_bytes: The size of their files.
        duration_seconds: The length of their primary files.
        waiting: What waits.
        jobs: The jobs that have run, by name.
        quality: The share of scenes that have metadata.
        acceptance: Detector → the share of its proposals that people accepted.
        acceptance_by_week: Detector → the same share of the decisions of each week, 0
            to 1, by the Monday.
        scenes_by_day: Scenes in the library at the end of each day.
        applied_by_day: Changes applied on each day.
        downloaded_by_day: Bytes placed on each day.
        drift_by_day: Share of the checked scenes that differed, 0 to 1, by day.
    """

    at: datetime
    scenes: int
    size_bytes: int
    duration_seconds: float
    waiting: Waiting
    jobs: Sequence[JobHistory]
    quality: Sequence[Share]
    acceptance: Sequence[Share]
    acceptance_by_week: Mapping[str, Series]
    scenes_by_day: Series
    applied_by_day: Series
    downloaded_by_day: Series
    drift_by_day: Series


@dataclass(frozen=True)
class RunReport:
    """A run whose result is recorded."""

    run_id: str
    job: str
    status: str
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True)
class ImpactedScenes:
    """The scenes that a run has changed or had media generated for.

    Attributes:
        run: The run.
        changes: Scenes with the changes that were applied; none for new media.
        total: Number of these scenes; `changes` may have fewer.
    """

    run: RunReport
    changes: Sequence[SceneChanges]
    total: int


def overview(session: Session, settings: Settings) -> Overview:
    """Read the state of the library from the database alone."""
    now = datetime.now(UTC)
    since = now - timedelta(days=TREND_DAYS)
    here = Scene.missing_since.is_(None)
    size, duration = session.execute(
        select(
            func.coalesce(func.sum(SceneFile.size_bytes), 0),
            func.coalesce(
                func.sum(SceneFile.duration_seconds).filter(SceneFile.position == 0), 0
            ),
        )
        .join(Scene, Scene.id == SceneFile.scene_id)
        .where(here)
    ).one()
    quality = _quality(session, here)
    return Overview(
        at=now,
        scenes=quality[0].of,
        size_bytes=int(size),
        duration_seconds=float(duration),
        waiting=waiting_work(session),
        jobs=job_histories(session),
        quality=quality,
        acceptance=_acceptance(session, settings),
        acceptance_by_week=_acceptance_by_week(session, since),
        scenes_by_day=_scenes_by_day(session, here, since),
        applied_by_day=_by_day(session, PlanChange.applied_at, func.count(), since),
        downloaded_by_day=_by_day(
            session, DownloadItem.placed_at, func.sum(DownloadItem.size_bytes), since
        ),
        drift_by_day=_drift_by_day(session, since),
    )


def recorded_runs(session: Session, limit: int = MOST_RUNS) -> list[RunReport]:
    """Return the runs whose results are recorded, the newest first."""
    query = select(*_RUN).order_by(JobReport.finished_at.desc()).limit(limit)
    return [RunReport(*row) for row in session.execute(query)]


def impacted_scenes(
    session: Session, run_id: str, limit: int = MOST_IMPACTED
) -> ImpactedScenes | None:
    """Return what a run has done to which scenes; None: no such run is recorded."""
    row = session.execute(select(*_RUN).where(JobReport.run_id == run_id)).first()
    if row is None:
        return None
    changed = {scene.scene_id: scene for scene in changes_of_run(session, run_id)}
    media = matching_scene_ids(session, SceneFilter(impacted_by=run_id))
    ids = [*changed, *(id_ for id_ in media if id_ not in changed)]
    titles = scene_titles(session, ids[:limit])
    shown = [
        changed.get(id_)
        or SceneChanges(scene_id=id_, title=titles.get(id_, ""), changes=())
        for id_ in ids[:limit]
    ]
    return ImpactedScenes(RunReport(*row), shown, len(ids))


_RUN = (
    JobReport.run_id,
    JobReport.job,
    JobReport.status,
    JobReport.started_at,
    JobReport.finished_at,
)


def waiting_work(session: Session) -> Waiting:
    """Return what waits for a job or for a person."""
    here = Scene.missing_since.is_(None)
    unanalyzed, without_media, removals = session.execute(
        select(
            func.count().filter(here, ~Scene.video_analyzed),
            func.count().filter(here, ~Scene.generated),
            func.count().filter(~here),
        ).select_from(Scene)
    ).one()
    state = DownloadItem.state
    unseen, blocked, failed = session.execute(
        select(
            func.count().filter(not_in_stash()),
            func.count().filter(state == "blocked"),
            func.count().filter(state == "failed"),
        ).select_from(DownloadItem)
    ).one()
    plans, open_changes, conflicts = session.execute(
        select(
            func.count(AnalysisPlan.id.distinct()).filter(
                PlanChange.state == "pending"
            ),
            func.count().filter(PlanChange.state == "pending"),
            func.count().filter(PlanChange.state == "conflict"),
        )
        .select_from(AnalysisPlan)
        .join(PlanChange, PlanChange.plan_id == AnalysisPlan.id)
        .where(
            AnalysisPlan.state != "cancelled",
            PlanChange.state.in_(["pending", "conflict"]),
        )
    ).one()
    held = session.execute(
        select(JobReport.report["held"].astext)
        .where(JobReport.report.has_key("held"))
        .order_by(JobReport.finished_at.desc())
        .limit(1)
    ).scalar()
    return Waiting(
        unanalyzed=unanalyzed,
        without_media=without_media,
        unseen_downloads=unseen,
        blocked_downloads=blocked,
        failed_downloads=failed,
        removals=removals,
        held=held,
        conflicts=count_conflicts(session),
        plans=plans,
        open_changes=open_changes,
        change_conflicts=conflicts,
    )


def job_histories(session: Session) -> list[JobHistory]:
    """Return the jobs that have run, by name."""
    succeeded = dict(
        session.execute(
            select(JobReport.job, func.max(JobReport.finished_at))
            .where(JobReport.status.in_(SUCCESSFUL))
            .group_by(JobReport.job)
        )
        .tuples()
        .all()
    )
    last = select(
        JobReport.job, JobReport.status, JobReport.run_id, JobReport.finished_at
    )
    return [
        JobHistory(job, succeeded.get(job), status, run_id, finished_at)
        for job, status, run_id, finished_at in session.execute(
            last.distinct(JobReport.job).order_by(
                JobReport.job, JobReport.finished_at.desc()
            )
        )
    ]


def _quality(session: Session, here: ColumnElement[bool]) -> list[Share]:
    conditions: Mapping[str, ColumnElement[bool]] = {
        "title": Scene.title != "",
        "studio": Scene.studio_id.is_not(None),
        "performers": exists().where(ScenePerformer.scene_id == Scene.id),
        "date": Scene.date.is_not(None),
        "tags": exists().where(SceneTag.scene_id == Scene.id),
        "details": Scene.details != "",
    }
    checked = exists().where(MediaCheck.scene_id == Scene.id)
    covered = exists().where(
        MediaCheck.scene_id == Scene.id, ~MediaCheck.missing.contains(["cover"])
    )
    counts = session.execute(
        select(
            func.count(),
            *(func.count(case((has, 1))) for has in conditions.values()),
            func.count(case((checked, 1))),
            func.count(case((covered, 1))),
        )
        .select_from(Scene)
        .where(here)
    ).one()
    total, *found, all_checked, with_cover = counts
    shares = [Share(name, n, total) for name, n in zip(conditions, found, strict=True)]
    return [*shares, Share("cover", with_cover, all_checked)]


def _acceptance(session: Session, settings: Settings) -> list[Share]:
    votes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for value in acceptances(session, settings.analysis):
        votes[value.detector][0] += value.accepted
        votes[value.detector][1] += value.accepted + value.rejected
    return [Share(name, *counts) for name, counts in sorted(votes.items())]


def _acceptance_by_week(session: Session, since: datetime) -> dict[str, Series]:
    """Count each decision that stands, also an earlier one on the same change."""
    after = ReviewedChange.after["state"].astext
    monday = cast(
        func.date_trunc("week", func.timezone("UTC", ReviewDecision.decided_at)), Date
    ).label("monday")
    rows = session.execute(
        select(
            PlanChange.detector,
            monday,
            func.avg(case((after == "approved", 1), else_=0)),
        )
        .join(ReviewedChange, ReviewedChange.change_id == PlanChange.id)
        .join(ReviewDecision, ReviewDecision.id == ReviewedChange.decision_id)
        .where(
            ReviewDecision.decided_at >= since,
            ReviewDecision.taken_back_at.is_(None),
            after.in_(["approved", "rejected"]),
            after != ReviewedChange.before["state"].astext,
        )
        .group_by(PlanChange.detector, monday)
        .order_by(PlanChange.detector, monday)
    )
    found: dict[str, list[tuple[date, float]]] = defaultdict(list)
    for detector, week, share in rows:
        found[detector].append((week, float(share)))
    return dict(found)


def _day(moment: Any) -> ColumnElement[date]:
    return cast(func.timezone("UTC", moment), Date)


def _by_day(
    session: Session, moment: Any, amount: ColumnElement[Any], since: datetime
) -> list[tuple[date, float]]:
    day = _day(moment).label("day")
    rows = session.execute(
        select(day, amount).where(moment >= since).group_by(day).order_by(day)
    )
    return [(row[0], float(row[1])) for row in rows]


def _scenes_by_day(
    session: Session, here: ColumnElement[bool], since: datetime
) -> list[tuple[date, float]]:
    added = func.coalesce(Scene.stash_created_at, Scene.created_at)
    before = session.scalar(
        select(func.count()).select_from(Scene).where(here, added < since)
    )
    day = _day(added).label("day")
    total = before or 0
    series: list[tuple[date, float]] = [(since.date(), float(total))]
    for row in session.execute(
        select(day, func.count())
        .where(and_(here, added >= since))
        .group_by(day)
        .order_by(day)
    ):
        # Else the line would climb through the days on which nothing was added.
        if (eve := row[0] - timedelta(days=1)) > series[-1][0]:
            series.append((eve, float(total)))
        total += row[1]
        series.append((row[0], float(total)))
    return series if total else []


def _drift_by_day(session: Session, since: datetime) -> list[tuple[date, float]]:
    different = func.sum(MirrorCheck.scenes_different)
    checked = func.sum(MirrorCheck.scenes_checked)
    day = _day(MirrorCheck.checked_at).label("day")
    rows = session.execute(
        select(day, different, checked)
        .where(MirrorCheck.checked_at >= since)
        .group_by(day)
        .order_by(day)
    )
    return [(row[0], float(row[1]) / float(row[2])) for row in rows if row[2]]
