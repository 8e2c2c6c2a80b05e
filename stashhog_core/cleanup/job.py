"""The job `cleanup`: forget old history, and put right what dead runs left open.

Only history goes by age alone. What a later run would miss goes only with proof: a
download that its source has no longer, the tagger's results of a video that Stash has
no longer. A dry run looks by the same conditions.
"""

from datetime import datetime
from typing import cast

from sqlalchemy import Table, delete, func, select
from sqlalchemy.orm import Session

from stashhog_core.cleanup.dead_runs import reconcile_dead_runs
from stashhog_core.cleanup.findings import SAMPLES, Findings
from stashhog_core.cleanup.retention import (
    OldRows,
    old_downloads,
    old_history,
    old_tagger_results,
    orphaned_checks,
    orphaned_unmakeable_media,
    unused_pictures,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError
from stashhog_core.params import CleanupParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure
from stashhog_core.server_jobs.tracking import WasCancelled
from stashhog_core.settings import Settings


def clean_up(
    settings: Settings,
    database: Database,
    params: CleanupParams,
    progress: Progress,
    findings: Findings,
    *,
    now: datetime,
    run_id: str,
    was_cancelled: WasCancelled,
) -> None:
    """Reconcile what dead runs left, then remove what is older than the settings keep.

    A part that fails, such as a source of downloads that is away, is noted; the others
    go on. May be killed at any point and run again.

    Args:
        settings: How long each kind is kept; where Stash and the downloads are.
        database: Where the history is.
        params: Whether to look only.
        progress: Receives each part.
        findings: Added to.
        now: What ages are counted from.
        run_id: This run.
        was_cancelled: Whether a run that is gone was asked to stop.

    Raises:
        TransientError: The database is away.
        JobCancelled: A stop was asked for.
    """
    if not params.dry_run:
        progress.update(0.0, "Cleaning up after dead runs")
        reconcile_dead_runs(settings, database, findings, run_id, was_cancelled)
    # Each looks only when its turn comes.
    parts = {
        "history": old_history(settings, now),
        "media checks": orphaned_checks(),
        "unmakeable media": orphaned_unmakeable_media(),
        "pictures": unused_pictures(settings, now),
        "downloads": old_downloads(settings, now),
        "tagger results": old_tagger_results(settings, database, params, now, findings),
    }
    for number, (name, rows_of_part) in enumerate(parts.items(), 1):
        progress.update(number / (len(parts) + 1), f"Cleaning up: {name}")
        try:
            for rows in rows_of_part:
                with database.transaction() as session:
                    count, samples = _sweep(session, rows, dry_run=params.dry_run)
                findings.remove(rows.kind, count, samples)
        except StashHogError as error:
            findings.errors.append(ItemFailure(item=name, reason=str(error)))
    with database.transaction() as session:
        # A database that went away meanwhile is no matter of a single part.
        session.execute(select(1))


def _sweep(session: Session, rows: OldRows, *, dry_run: bool) -> tuple[int, list[str]]:
    """Count and name what meets the condition; delete it unless it is a dry run."""
    model, condition = rows.model, rows.condition
    count = session.scalar(select(func.count()).select_from(model).where(condition))
    oldest = select(rows.label).where(condition).order_by(rows.order).limit(SAMPLES)
    samples = [str(label) for label in session.scalars(oldest)]
    if count and not dry_run:
        session.execute(delete(cast(Table, model.__table__)).where(condition))
    return count or 0, samples
