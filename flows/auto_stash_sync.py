"""The scheduled sync: looks for pending scenes, and syncs only when there are any."""

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows._outcome import run_one
from stashhog_core.params import SyncParams
from stashhog_core.workflow import NO_PENDING_SCENES
from tasks.sync import pending_scenes
from tasks.sync import sync as sync_task

CREATED_BY = "AUTO_STASH_SYNC_DAEMON"

logger = logging.getLogger("stashhog_core.sync.schedule")


@flow(name="auto_stash_sync")
def auto_stash_sync() -> State[Any]:
    """Sync when scenes were changed in Stash since the last sync."""
    count = pending_scenes()
    if not count:
        logger.debug("No scenes pending sync from Stash")
        return Completed(name="Skipped", message=NO_PENDING_SCENES)
    logger.info("Found %d scenes pending sync from Stash", count)
    state = run_one("sync", sync_task, SyncParams(), trigger=CREATED_BY)
    logger.info(
        "Executed incremental sync due to %d scenes that needed to be resynced", count
    )
    return state
