"""Having Stash remove what is gone from the disk: the job `stash_clean`.

Stash's clean has no guard: with a disk that is not mounted, it deletes the scenes of
all files of the disk. So StashHog first looks for the files itself, then has Stash make
a dry run and compares, and has Stash back up its database before the real one.
"""

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from stashhog_core.db.session import Database
from stashhog_core.params import StashCleanParams, or_setting
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, StashCleanResult
from stashhog_core.server_jobs.backup import back_up
from stashhog_core.server_jobs.gone_files import FilesCheck, check_files
from stashhog_core.server_jobs.log import failures_since, log_since
from stashhog_core.server_jobs.scan import check_inside
from stashhog_core.server_jobs.tracking import (
    WasCancelled,
    carry_out,
    never_cancelled,
    only_one,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Job

logger = logging.getLogger(__name__)

SHOWN = 100
"""Gone files that the result lists."""

_MARKED = re.compile(r'(?P<reason>.+?)\. Marking to clean: "(?P<path>.+)"')
_ENDED = "Finished Cleaning"
_CONFIRM = (
    "check the folders; if all this is right, run stash_clean with confirmRemovals=true"
)
# The look at the files, the dry run, the real run.
_CHECKED, _DRY = 0.3, 0.5


def clean(
    stash: StashClient,
    database: Database,
    params: StashCleanParams,
    progress: Progress,
    *,
    run_id: str,
    settings: StashSettings,
    was_cancelled: WasCancelled = never_cancelled,
) -> StashCleanResult:
    """Have Stash remove the files that are gone, with the scenes that lose their last.

    A dry run, the default, lists these files. Cancelling stops Stash's job; what Stash
    has removed by then stays removed.

    Raises:
        ConfigurationError: A path lies outside Stash's library.
        JobError: A folder of the library is absent or empty, a file cannot be looked
            for, the backup or the job failed, or Stash forgot the job.
        TransientError: Stash was away for too long, or another run is at it.
    """
    started = datetime.now(UTC)
    paths = list(or_setting(params.paths, settings.scan_paths))
    is_dry = or_setting(params.dry_run, settings.clean_dry_run)

    def run(part: Progress, *, dry_run: bool) -> Job:
        asked = {"paths": paths, "dryRun": dry_run}
        return carry_out(
            stash,
            database,
            lambda: stash.start_job("clean", asked),
            part,
            label="Dry run of the clean" if dry_run else "Clean",
            run_id=run_id,
            kind="clean",
            settings=settings,
            server=params.server or "",
            asked=asked,
            was_cancelled=was_cancelled,
        )

    with only_one(database, "clean", params.server or ""):
        check_inside(paths, stash.library_roots())
        progress.update(0.0, "Looking for the files that Stash knows...")
        found = check_files(stash, paths, settings.path_map)
        job = run(progress.within(_CHECKED, _DRY), dry_run=True)
        marked = _marked(stash, job, found)
        doubts = [*found.doubts, *_differences(stash, job, found, marked)]
        held = backup = None
        before = after = 0
        if not is_dry and marked != 0:
            if doubts and not params.confirm_removals:
                held = f"{'; '.join(doubts)}; {_CONFIRM}"
                held = held[0].upper() + held[1:]
            else:
                backup = back_up(stash, progress.within(_DRY, _DRY), settings=settings)
                before = stash.count_files()
                job = run(progress.within(_DRY, 1.0), dry_run=False)
                after = stash.count_files()
    errors = tuple(failures_since(stash, job.add_time)) if backup else ()
    removed = before - after
    message = _words(found, removed, is_dry=is_dry, is_held=held is not None)
    progress.update(1.0, message)
    return StashCleanResult(
        stash_job_id=str(job.id),
        status="completed_with_errors" if errors else "completed",
        message=message,
        start_time=started,
        end_time=datetime.now(UTC),
        dry_run=is_dry,
        files=found.files,
        gone=len(found.gone),
        removed=removed,
        backup=backup.path if backup else None,
        doubts=tuple(doubts),
        samples=tuple(
            ItemFailure(item=path, reason=reason)
            for path, reason in list(found.gone.items())[:SHOWN]
        ),
        held=held,
        errors=errors,
    )


def _words(found: FilesCheck, removed: int, *, is_dry: bool, is_held: bool) -> str:
    gone = f"{len(found.gone)} of {found.files} files are gone from the disk"
    if is_dry:
        return f"Dry run: {gone}"
    if is_held:
        return f"{gone}; Stash removed nothing"
    return f"{gone}; Stash removed {removed} files"


def _marked(stash: StashClient, job: Job, found: FilesCheck) -> int | None:
    """Return how many files and folders a dry run has marked; None: unknown.

    Stash gives no number. The progress of a dry run that marks something ends at the
    marked share; it is full if nothing was marked, and also if everything was. Only the
    log tells these two apart.
    """
    total = found.files + found.folders
    if not total:
        return 0
    if job.progress is not None and job.progress < 1:
        return round(job.progress * total)
    lines = [entry.message for entry in log_since(stash, job.add_time)]
    if any(_MARKED.fullmatch(line) for line in lines):
        return total
    return 0 if any(line.startswith(_ENDED) for line in lines) else None


def _differences(
    stash: StashClient, job: Job, found: FilesCheck, marked: int | None
) -> Iterator[str]:
    """Yield how a dry run of Stash differs from what was found: Stash may see less."""
    if marked is None:
        yield (
            "Stash's log does not show what its dry run would remove (set Stash's log "
            "level to Info)"
        )
        return
    there = {
        match["path"]: match["reason"]
        for entry in log_since(stash, job.add_time)
        if (match := _MARKED.fullmatch(entry.message))
        and match["path"] not in found.gone
        and match["path"] not in found.gone_folders
    }
    if there:
        path, reason = next(iter(there.items()))
        yield f"Stash would also remove {path}, which is there (Stash says: {reason})"
    expected = len(found.gone) + len(found.gone_folders)
    if marked > expected:
        yield (
            f"Stash would remove {marked} files and folders, but StashHog finds only "
            f"{expected} gone"
        )
