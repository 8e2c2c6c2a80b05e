"""Have Stash scan its library."""

from stashhog_core.downloads.in_stash import mark_scanned
from stashhog_core.params import StashScanParams
from stashhog_core.results import StashScanResult
from stashhog_core.server_jobs.scan import scan
from stashhog_core.stash.servers import server_settings
from tasks.cancellation import was_cancelled
from tasks.runtime import JOB_TASK, job_task, open_job


@job_task(name="stash_scan", **JOB_TASK)
def stash_scan(params: StashScanParams = StashScanParams()) -> StashScanResult:
    """Scan and wait for the end. Cancelling it leaves Stash's own scan running."""
    with open_job("stash_scan") as job, job.stash(params.server) as stash:
        result = scan(
            stash,
            job.database,
            params,
            job.progress,
            run_id=job.run_id,
            settings=server_settings(job.settings.stash, params.server),
            was_cancelled=was_cancelled,
        )
        if params.server is None and result.status == "completed":
            mark_scanned(job.database, placed_before=result.start_time)
    return result
