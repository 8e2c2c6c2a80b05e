"""Mirroring a Stash library once, as a person would who started it."""

from typing import Any

from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.results import SyncResult
from stashhog_core.sync.job import sync
from stashhog_core.sync.source import Source


def run(stash: Source, database: Database, **params: Any) -> SyncResult:
    """Sync without waiting for the second of the last change to end."""
    return sync(
        stash,
        database,
        SyncParams(**params),
        Progress(),
        trigger="manual",
        settle_seconds=0,
    )
