"""Find the scenes that lack generated media."""

from stashhog_core.params import CheckStashGenerateParams
from stashhog_core.results import CheckStashGenerateResult
from stashhog_core.server_jobs.media_check import check_generate
from tasks.runtime import JOB_TASK, job_task, open_job


@job_task(name="check_stash_generate", **JOB_TASK)
def check_stash_generate(
    params: CheckStashGenerateParams = CheckStashGenerateParams(),
) -> CheckStashGenerateResult:
    """Look for each scene's media; unmark what is incomplete, mark what is proven."""
    with open_job("check_stash_generate") as job, job.stash(params.server) as stash:
        return check_generate(
            stash,
            job.database,
            params,
            job.progress,
            settings=job.settings.stash,
        )
