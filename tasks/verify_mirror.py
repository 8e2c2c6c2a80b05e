"""Prove that the mirror is right."""

from prefect.cache_policies import NO_CACHE

from stashhog_core.params import VerifyMirrorParams
from stashhog_core.results import VerifyMirrorResult
from stashhog_core.sync.verify import verify_mirror as verify
from tasks.runtime import READ_TASK, job_task, open_job


@job_task(name="verify_mirror", cache_policy=NO_CACHE, **READ_TASK)
def verify_mirror(
    params: VerifyMirrorParams = VerifyMirrorParams(),
) -> VerifyMirrorResult:
    """Compare scenes drawn by lot, and all counts, with Stash."""
    with open_job("verify_mirror") as job, job.stash() as stash:
        return verify(stash, job.database, params, job.progress, run_id=job.run_id)
