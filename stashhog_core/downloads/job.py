"""The job `process_downloads`: from finished downloads to files in the library."""

import logging
from contextlib import ExitStack, closing
from functools import partial

from stashhog_core.batches import batched
from stashhog_core.db.locks import job_lock
from stashhog_core.db.session import Database
from stashhog_core.downloads import ledger
from stashhog_core.downloads.clean_up import clean_up
from stashhog_core.downloads.configuration import (
    access_of,
    check_library_root,
    open_source,
)
from stashhog_core.downloads.in_stash import (
    ask_scan_rules,
    confirm_in_stash,
    known_not_in_stash,
    require_mounted,
)
from stashhog_core.downloads.placing import LibraryFolder
from stashhog_core.downloads.run import ImportRun
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.paths import PathMap
from stashhog_core.progress import Progress
from stashhog_core.results import DownloadsResult
from stashhog_core.settings import Settings

_ENTRIES_AT_ONCE = 100

_log = logging.getLogger(__name__)


def process_downloads(
    settings: Settings,
    database: Database,
    params: ProcessDownloadsParams,
    progress: Progress,
) -> DownloadsResult:
    """Place the files of finished downloads in the library.

    An entry counts as synced when its last files came into the library in this run; as
    skipped when there was nothing to do for it, or its next try is still to come; as
    failed when any of its files failed in this run. Files that are left out for what
    they are count as skipped files.

    A run may be killed at any point: the next one ends with the same library and
    ledger as one clean run.

    Raises:
        ConfigurationError: A setting is wrong; nothing was changed.
        TransientError: The source or the database is away, or another run is under
            way; what was placed is recorded.
        JobCancelled: A stop was asked for; what was placed is recorded.
    """
    root = check_library_root(settings)
    path_map = PathMap(settings.stash.path_map)
    require_mounted(database, root, path_map)
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(settings, root)))
        stack.enter_context(job_lock(database, ledger.LOCK))
        library = stack.enter_context(
            closing(
                LibraryFolder(
                    root,
                    settings.downloads.place,
                    settings.downloads.reserve_bytes,
                    progress.checkpoint,
                    access_of(settings.downloads),
                )
            )
        )
        if not params.dry_run:
            with database.transaction() as session:
                folders = ledger.unfinished_folders(session)
            removed = library.clean(folders)
            if removed:
                _log.info("Removed %d unfinished files of an earlier run", removed)
        listing = source.finished(progress.within(0.0, 0.05))
        run = ImportRun(settings, database, params, source, library)
        bar = progress.within(0.05, 0.95)
        run.report_problems(listing.problems)
        run.report_waiting(listing.waiting)
        confirmed = run.confirm_again(listing.unconfirmed)
        total = len(listing.entries)
        done = 0
        for batch in batched(listing.entries, _ENTRIES_AT_ONCE):
            run.take(batch, bar, done, total)
            done += len(batch)
        cleaned = clean_up(
            source,
            settings,
            database,
            listing.removable,
            progress,
            dry_run=params.dry_run,
        )
        if params.dry_run:
            missing = known_not_in_stash(database)
        else:
            # Scans and syncs may have run on their own since the last run.
            missing = confirm_in_stash(
                database,
                path_map,
                partial(ask_scan_rules, settings.stash),
                scanned_only=True,
            )
        progress.update(1.0, f"Downloads {total}/{total}")
        if listing.unfinished:
            _log.info("%d downloads are not finished yet", listing.unfinished)
        total += len(listing.problems) + listing.done + confirmed
        return run.result(total, listing.done, cleaned, missing)
