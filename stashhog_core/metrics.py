"""Numbers for monitoring: what is there, what waits, and how the last runs went.

All numbers are read when they are asked for, from the database alone. They are gauges:
rows of old runs and downloads are deleted, so no number only grows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    AnalysisPlan,
    DownloadItem,
    JobReport,
    MirrorCheck,
    PlanChange,
    Scene,
)
from stashhog_core.overview import Overview, Waiting, overview
from stashhog_core.results.base import SUCCESSFUL
from stashhog_core.settings import Settings

_WAITING = (
    "unanalyzed",
    "without_media",
    "unseen_downloads",
    "blocked_downloads",
    "failed_downloads",
    "removals",
    "conflicts",
    "plans",
    "open_changes",
    "change_conflicts",
)


@dataclass(frozen=True)
class Gauge:
    """A number with its unit in its name, for each value of its labels.

    Attributes:
        name: Its name.
        help: What it counts, in a sentence.
        labels: The names of its labels.
        samples: The values of the labels, in order, and the number.
    """

    name: str
    help: str
    labels: Sequence[str]
    samples: Sequence[tuple[Sequence[str], float]]


def gauges(session: Session, settings: Settings) -> Iterator[Gauge]:
    """Yield all numbers. Nothing is written."""
    state = overview(session, settings)
    yield from _library(state)
    yield Gauge(
        "stashhog_waiting",
        "What waits for a job or for a person.",
        ["what"],
        [([what], _number(state.waiting, what)) for what in _WAITING],
    )
    yield Gauge(
        "stashhog_oldest_waiting_seconds",
        "Age of what has waited longest.",
        ["what"],
        list(_ages(session, state.at)),
    )
    yield from _downloads(session)
    yield from _mirror(session)
    yield from _jobs(session, state)


def _number(waiting: Waiting, what: str) -> float:
    return float(getattr(waiting, what))


def _library(state: Overview) -> Iterator[Gauge]:
    for name, help_, number in (
        ("stashhog_scenes", "Scenes that Stash has.", state.scenes),
        ("stashhog_library_bytes", "Size of their files.", state.size_bytes),
        (
            "stashhog_library_seconds",
            "Length of their primary files.",
            state.duration_seconds,
        ),
    ):
        yield Gauge(name, help_, [], [([], float(number))])
    for name, help_, label, shares in (
        (
            "stashhog_metadata_ratio",
            "Share of the scenes that have the field.",
            "field",
            state.quality,
        ),
        (
            "stashhog_acceptance_ratio",
            "Share of a detector's proposals that people accepted.",
            "detector",
            state.acceptance,
        ),
    ):
        samples = [([share.name], share.share) for share in shares]
        yield Gauge(name, help_, [label], samples)


def _ages(session: Session, now: datetime) -> Iterator[tuple[Sequence[str], float]]:
    """Yield what waits and for how many seconds; 0: nothing does."""
    is_open = select(PlanChange.id).where(
        PlanChange.plan_id == AnalysisPlan.id, PlanChange.state == "pending"
    )
    here = Scene.missing_since.is_(None)
    oldest: Mapping[str, tuple[Any, ColumnElement[bool]]] = {
        "unanalyzed": (Scene.created_at, here & ~Scene.video_analyzed),
        "without_media": (Scene.created_at, here & ~Scene.generated),
        "failed_downloads": (DownloadItem.found_at, DownloadItem.state == "failed"),
        "blocked_downloads": (DownloadItem.found_at, DownloadItem.state == "blocked"),
        "unseen_downloads": (
            DownloadItem.placed_at,
            DownloadItem.state.in_(["placed", "scanned"]),
        ),
        "plans": (
            AnalysisPlan.created_at,
            (AnalysisPlan.state != "cancelled") & is_open.exists(),
        ),
    }
    for what, (since, waits) in oldest.items():
        first = session.scalar(select(func.min(since)).where(waits))
        yield [what], (now - first).total_seconds() if first else 0.0


def _downloads(session: Session) -> Iterator[Gauge]:
    rows = session.execute(
        select(
            DownloadItem.state,
            func.coalesce(DownloadItem.method, ""),
            func.count(),
            func.coalesce(func.sum(DownloadItem.size_bytes), 0),
        ).group_by(DownloadItem.state, DownloadItem.method)
    ).all()
    for name, help_, column in (
        ("stashhog_downloads_files", "Files in the ledger of downloads.", 2),
        ("stashhog_downloads_bytes", "Size of the files in the ledger.", 3),
    ):
        # How a file was placed: link, clone or copy.
        samples = [([row[0], row[1]], float(row[column])) for row in rows]
        yield Gauge(name, help_, ["state", "method"], samples)


def _mirror(session: Session) -> Iterator[Gauge]:
    check = session.scalars(
        select(MirrorCheck).order_by(MirrorCheck.id.desc()).limit(1)
    ).first()
    drift, at = [], []
    if check is not None:
        at = [check.checked_at.timestamp()]
    if check is not None and check.scenes_checked:
        drift = [check.scenes_different / check.scenes_checked]
    yield Gauge(
        "stashhog_mirror_drift_ratio",
        "Share of the scenes that differed from Stash at the last mirror check.",
        [],
        [([], number) for number in drift],
    )
    yield Gauge(
        "stashhog_mirror_check_timestamp_seconds",
        "Time of the last mirror check, in seconds since 1970.",
        [],
        [([], number) for number in at],
    )


def _jobs(session: Session, state: Overview) -> Iterator[Gauge]:
    yield Gauge(
        "stashhog_job_last_success_timestamp_seconds",
        "End of the last run that completed, in seconds since 1970.",
        ["job"],
        [
            ([job.job], job.succeeded_at.timestamp())
            for job in state.jobs
            if job.succeeded_at is not None
        ],
    )
    yield Gauge(
        "stashhog_job_last_run_success",
        "1 if the last run of the job completed, else 0.",
        ["job"],
        [([job.job], float(job.last_status in SUCCESSFUL)) for job in state.jobs],
    )
    reports = session.scalars(
        select(JobReport)
        .distinct(JobReport.job)
        .order_by(JobReport.job, JobReport.finished_at.desc())
    ).all()
    yield Gauge(
        "stashhog_job_last_run_seconds",
        "How long the last run of the job took.",
        ["job"],
        [
            ([each.job], (each.finished_at - each.started_at).total_seconds())
            for each in reports
        ],
    )
    yield Gauge(
        "stashhog_job_last_run_errors",
        "Items that failed in the last run of the job.",
        ["job"],
        [([each.job], float(len(_errors(each)))) for each in reports],
    )
    yield Gauge(
        "stashhog_job_last_run_items",
        "The counts in the result of the last run of the job.",
        ["job", "kind"],
        [
            ([each.job, kind], float(number))
            for each in reports
            for kind, number in each.report.items()
            if isinstance(number, int | float) and not isinstance(number, bool)
        ],
    )


def _errors(report: JobReport) -> Sequence[Any]:
    errors = report.report.get("errors")
    return errors if isinstance(errors, list) else ()
