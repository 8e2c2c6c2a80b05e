"""The scheduled sync, which runs only if scenes are pending."""

import logging
from typing import Any

from prefect.client.schemas.objects import State

from flows.cancellation import job_flow
from flows.outcome import run_id, run_one, skipped
from stashhog_core.params import SyncParams
from stashhog_core.report import counted
from stashhog_core.sync.job import EXECUTED, NOT_EXECUTED, SCHEDULE_TRIGGER
from stashhog_core.workflow import NO_PENDING_SCENES
from tasks.prefect_api import name_run
from tasks.sync import pending_scenes
from tasks.sync import sync as sync_task

CREATED = "Created incremental sync job %s for %d pending scenes"

logger = logging.getLogger("stashhog_core.sync.schedule")


@job_flow("auto_stash_sync")
def auto_stash_sync() -> State[Any]:
    """Check whether scenes have changed in Stash since the last sync, and sync them."""
    # The check itself logs the number of pending scenes.
    pending = pending_scenes()
    if not pending:
        return skipped("auto_stash_sync", NO_PENDING_SCENES)
    logger.info(CREATED, run_id(), pending.count)
    # Prefect's lists show the name also of runs that are active or have failed.
    name = f"sync · {counted(pending.count, 'pending scene', 'pending scenes')}"
    name_run(name)
    try:
        state = run_one(
            "sync",
            sync_task,
            SyncParams(),
            trigger=SCHEDULE_TRIGGER,
            pending=pending.count,
        )
    except BaseException as error:
        status = "failed" if isinstance(error, Exception) else "cancelled"
        logger.warning(NOT_EXECUTED, status)
        name_run(name)
        raise
    logger.info(EXECUTED, pending.count)
    return state
