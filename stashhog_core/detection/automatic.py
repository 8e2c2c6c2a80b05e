"""What the jobs that run by themselves choose to work on."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import AnalysisPlan, JobReport, PlanChange
from stashhog_core.detection.job import unanalyzed_scene_ids
from stashhog_core.plans.review import decidable

VIDEO_ANALYSIS = "auto_video_analysis"
_SCENE = "scene "


class OpenPlan(NamedTuple):
    """A plan with changes to apply, and the run that made it."""

    id: int
    run_id: str | None


def next_scenes(session: Session, size: int, *, failed_since: datetime) -> list[int]:
    """Return up to `size` scenes not yet video-analyzed, newest first.

    Scenes that failed in an automatic run come last, so that a few broken videos do
    not keep all older scenes waiting.

    Args:
        session: Open session; nothing is written.
        size: How many at most.
        failed_since: Failures of runs that ended before this are forgotten.
    """
    ids = unanalyzed_scene_ids(session)
    reports = session.scalars(
        select(JobReport.report["errors"]).where(
            JobReport.job == VIDEO_ANALYSIS, JobReport.finished_at >= failed_since
        )
    )
    failed = {
        int(error["item"].removeprefix(_SCENE))
        for errors in reports
        for error in errors or ()
        if error["item"].removeprefix(_SCENE).isdecimal()
    }
    return sorted(ids, key=failed.__contains__)[:size]


def applicable_plans(
    session: Session, prefixes: Sequence[str], *, with_pending: bool
) -> list[OpenPlan]:
    """Return the plans under review with approved changes, oldest first.

    Args:
        session: Open session; nothing is written.
        prefixes: Only plans whose name starts with one of these; none: all.
        with_pending: Also plans that have nothing but pending changes.
    """
    to_apply = PlanChange.state == "approved"
    if with_pending:
        # What is turned down waits for a person: it is never approved in bulk.
        to_apply |= decidable("approved", again=False)
    query = (
        select(AnalysisPlan.id, AnalysisPlan.run_id)
        .where(
            AnalysisPlan.state.in_(["draft", "reviewing"]),
            select(PlanChange.id)
            .where(PlanChange.plan_id == AnalysisPlan.id, to_apply)
            .exists(),
        )
        .order_by(AnalysisPlan.id)
    )
    if prefixes:
        query = query.where(
            or_(*(AnalysisPlan.name.startswith(p, autoescape=True) for p in prefixes))
        )
    return [OpenPlan._make(row) for row in session.execute(query)]
