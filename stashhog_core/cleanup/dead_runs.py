"""Putting right what runs left open that died without a word."""

import logging
from contextlib import ExitStack
from typing import Any

from stashhog_core.cleanup.findings import Findings
from stashhog_core.db.jobs import open_jobs
from stashhog_core.db.locks import job_lock
from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError, TransientError
from stashhog_core.plans.writer import close_orphans
from stashhog_core.results import ItemFailure
from stashhog_core.server_jobs.tracking import WasCancelled, only_one, reconcile
from stashhog_core.settings import Settings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.servers import server_settings
from stashhog_core.sync.history import JOB as SYNC
from stashhog_core.sync.history import note_interrupted

logger = logging.getLogger(__name__)


def reconcile_dead_runs(
    settings: Settings,
    database: Database,
    findings: Findings,
    run_id: str,
    was_cancelled: WasCancelled,
) -> None:
    """Close what runs that are gone left open: plans, syncs, jobs of Stash.

    Raises:
        TransientError: The database is away.
    """
    findings.reconcile("plan", close_orphans(database))
    try:
        with job_lock(database, SYNC), database.transaction() as session:
            findings.reconcile("sync run", note_interrupted(session))
    except TransientError as error:
        # The sync that is under way has noted it when it began.
        logger.info("%s", error)
    with database.transaction() as session:
        left = {(row.server, row.kind) for row in open_jobs(session)}
    for server, kind in sorted(left):
        try:
            with StashClient(server_settings(settings.stash, server or None)) as stash:
                closed = _reconcile_jobs(
                    stash, database, kind, server, run_id, was_cancelled
                )
            findings.reconcile("Stash job", closed)
        except StashHogError as error:
            findings.errors.append(
                ItemFailure(item=f"open {kind} jobs of Stash", reason=str(error))
            )


def _reconcile_jobs(
    stash: StashClient,
    database: Database,
    kind: Any,
    server: str,
    run_id: str,
    was_cancelled: WasCancelled,
) -> int:
    """Reconcile the open jobs of a kind; return how many are closed by it.

    Raises:
        StashHogError: Stash or the database is away.
    """
    with database.transaction() as session:
        before = len(open_jobs(session, kind=kind, server=server))
    with ExitStack() as held:
        try:
            held.enter_context(only_one(database, kind, server))
        except TransientError as error:
            # Whoever is at it has reconciled them when it began.
            logger.info("%s", error)
            return 0
        reconcile(
            stash,
            database,
            run_id=run_id,
            kind=kind,
            server=server,
            was_cancelled=was_cancelled,
            resume=False,
        )
    with database.transaction() as session:
        return before - len(open_jobs(session, kind=kind, server=server))
