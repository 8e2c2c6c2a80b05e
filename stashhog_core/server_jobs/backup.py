"""Backups of Stash's database, which Stash writes beside its database.

A backup is no job in Stash: the request ends when the copy is complete, and only
Stash's log says where the copy is.
"""

import logging
import re
from datetime import UTC, datetime

from stashhog_core.errors import JobError, RefusedError
from stashhog_core.progress import Progress
from stashhog_core.results import StashBackupResult
from stashhog_core.server_jobs.log import log_since
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient

logger = logging.getLogger(__name__)

_DONE = re.compile(r"Successfully backed up database to: (?P<path>.+)")
_SAME_SECOND = "output file already exists"
# The name of a copy holds the second at which it was begun.
_NEXT_SECOND = 1.1
_TRIES = 3


def back_up_before(
    stash: StashClient, changes: int, progress: Progress, *, settings: StashSettings
) -> None:
    """Back up before so many changes are made, if the setting says so.

    Raises:
        JobError, TransientError: As of `back_up`; no change may be made then.
    """
    limit = settings.backup_before_changes
    if limit is not None and changes > limit:
        back_up(stash, progress.within(0.0, 0.0), settings=settings)


def back_up(
    stash: StashClient, progress: Progress, *, settings: StashSettings
) -> StashBackupResult:
    """Have Stash copy its database, and return once the copy is complete.

    Raises:
        JobError: Stash could not write the copy.
        TransientError: Stash did not answer in time; the copy may still come about.
    """
    started = datetime.now(UTC)
    progress.update(None, "Backing up Stash's database...")
    before = {(entry.time, entry.message) for entry in log_since(stash, "")}
    for tries_left in reversed(range(_TRIES)):
        try:
            stash.back_up(timeout_seconds=settings.backup_timeout_seconds)
            break
        except RefusedError as error:
            if _SAME_SECOND in error.what and tries_left:
                # Another run had a copy written in the same second.
                progress.sleep(_NEXT_SECOND)
                continue
            raise JobError(
                f"Stash could not back up its database: {error.what}",
                where=stash.address,
                remedy="check the free space on the disk of Stash's database, and the "
                "backup folder in Stash under Settings, System",
            ) from error
    path = next(
        (
            found["path"]
            for entry in log_since(stash, "")
            if (entry.time, entry.message) not in before
            and (found := _DONE.fullmatch(entry.message))
        ),
        None,
    )
    message = (
        f"Stash backed up its database to {path}"
        if path
        else "Stash backed up its database; its log does not say where"
    )
    logger.info("%s", message)
    progress.update(1.0, message)
    return StashBackupResult(
        status="completed",
        message=message,
        path=path,
        start_time=started,
        end_time=datetime.now(UTC),
    )
