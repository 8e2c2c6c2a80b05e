"""Place finished downloads in the library."""

from stashhog_core.downloads.job import process_downloads as place_downloads
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.results import DownloadsResult
from tasks.events import announce
from tasks.runtime import JOB_TASK, job_task, open_job


@job_task(name="process_downloads", **JOB_TASK)
def process_downloads(
    params: ProcessDownloadsParams = ProcessDownloadsParams(),
) -> DownloadsResult:
    """Place what is finished; items that fail are listed and tried again later."""
    with open_job("process_downloads") as job:
        result = place_downloads(job.settings, job.database, params, job.progress)
    if result.synced_items and not params.dry_run:
        announce("downloads.placed", {"synced_items": result.synced_items})
    return result
