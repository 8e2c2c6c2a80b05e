"""Have Stash scan its library."""

from prefect import task

from stashhog_core.downloads.job import mark_scanned
from stashhog_core.metadata_scan import scan
from stashhog_core.params import StashScanParams
from stashhog_core.results import StashScanResult
from tasks._runtime import JOB_TASK, open_job


@task(name="stash_scan", **JOB_TASK)
def stash_scan(params: StashScanParams = StashScanParams()) -> StashScanResult:
    """Scan and wait for the end. Cancelling it leaves Stash's own scan running."""
    with open_job("stash_scan") as job, job.stash() as stash:
        result = scan(
            stash,
            job.database,
            params,
            job.progress,
            run_id=job.run_id,
            settings=job.settings.stash,
        )
        mark_scanned(job.database, placed_before=result.start_time)
    return result
