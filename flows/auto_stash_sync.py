"""The scheduled sync: looks for pending scenes, and syncs only when there are any."""

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows._outcome import run_one
from stashhog_core.params import SyncParams
from stashhog_core.sync.job import EXECUTED, NOT_EXECUTED, SCHEDULE_TRIGGER
from stashhog_core.workflow import NO_PENDING_SCENES
from tasks.sync import pending_scenes
from tasks.sync import sync as sync_task

logger = logging.getLogger("stashhog_core.sync.schedule")


@flow(name="auto_stash_sync")
def auto_stash_sync() -> State[Any]:
    """Sync when anything was changed in Stash since the last sync."""
    # What is pending, the check itself says in the log.
    pending = pending_scenes()
    if not pending:
        return Completed(name="Skipped", message=NO_PENDING_SCENES)
    try:
        state = run_one("sync", sync_task, SyncParams(), trigger=SCHEDULE_TRIGGER)
    except Exception:
        logger.warning(NOT_EXECUTED, "failed")
        raise
    logger.info(EXECUTED, pending.count)
    return state
