"""Mirroring a Stash library once, as a person would who started it."""

from typing import Any

from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.results import SyncResult
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.comparison import HOURLY, ListingRule
from stashhog_core.sync.job import sync
from stashhog_core.sync.local_edits import Conflicts


def run(
    stash: StashClient,
    database: Database,
    progress: Progress | None = None,
    *,
    run_id: str | None = None,
    stabilize_seconds: float = 0,
    conflicts: Conflicts = "ask",
    listing: ListingRule = HOURLY,
    **params: Any,
) -> SyncResult:
    """Sync; unless told, do not wait for the second of the last change to end."""
    return sync(
        stash,
        database,
        SyncParams(**params),
        progress or Progress(),
        trigger="manual",
        run_id=run_id,
        stabilize_seconds=stabilize_seconds,
        conflicts=conflicts,
        listing=listing,
    )
