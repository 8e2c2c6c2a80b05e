"""Index a folder of video files."""

from prefect import task

from stashhog_core.library.job import scan_directory
from stashhog_core.params import DirectoryScanParams
from stashhog_core.results import DirectoryScanResult
from tasks._runtime import JOB_TASK, open_job


@task(name="directory_scan", **JOB_TASK)
def directory_scan(params: DirectoryScanParams) -> DirectoryScanResult:
    """Bring the index of a folder up to date; what is done stays when it is stopped."""
    with open_job("directory_scan") as job:
        return scan_directory(job.settings, job.database, params, job.progress)
