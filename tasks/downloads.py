"""Place finished downloads in the library; they are done when Stash has them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.downloads.in_stash import ask_scan_rules, confirm_in_stash
from stashhog_core.downloads.job import process_downloads as place_downloads
from stashhog_core.downloads.ledger import blocked_files
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.paths import PathMap
from stashhog_core.report import counted
from stashhog_core.results import DownloadsResult, ItemFailure
from tasks.prefect_api import announce
from tasks.runtime import JOB_TASK, READ_TASK, Job, job_task, open_job


@job_task(name="process_downloads", **JOB_TASK)
def process_downloads(
    params: ProcessDownloadsParams = ProcessDownloadsParams(),
) -> DownloadsResult:
    """Place what is finished; items that fail are listed and tried again later."""
    with open_job("process_downloads") as job, _announced_blocks(job):
        result = place_downloads(job.settings, job.database, params, job.progress)
    if result.synced_items and not params.dry_run:
        announce("downloads.placed", {"synced_items": result.synced_items})
    return result


@contextmanager
def _announced_blocks(job: Job) -> Iterator[None]:
    """Announce the files that were given up in the block, which need a person."""
    with job.database.transaction() as session:
        before = blocked_files(session)
    yield
    with job.database.transaction() as session:
        count = len(blocked_files(session) - before)
    if count:
        files = counted(count, "file", "files")
        page = f"{job.settings.web.link_base}/downloads?state=blocked"
        announce("downloads.blocked", {"count": count, "files": files, "page": page})


@task(name="confirm_downloads", cache_policy=NO_CACHE, **READ_TASK)
def confirm_downloads() -> list[ItemFailure]:
    """Mark the placed files that the mirror has; return those it lacks, and why."""
    with open_job("confirm_downloads") as job, _announced_blocks(job):
        stash = job.settings.stash
        return confirm_in_stash(
            job.database, PathMap(stash.path_map), partial(ask_scan_rules, stash)
        ).videos
