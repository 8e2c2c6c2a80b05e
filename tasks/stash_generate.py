"""Have Stash generate previews, sprites and hashes."""

from prefect import task

from stashhog_core.generate import generate
from stashhog_core.params import StashGenerateParams
from stashhog_core.results import StashGenerateResult
from tasks._runtime import JOB_TASK, open_job


@task(name="stash_generate", **JOB_TASK)
def stash_generate(
    params: StashGenerateParams = StashGenerateParams(),
) -> StashGenerateResult:
    """Generate, then mark the scenes that lacked media; cancelling stops Stash's job.

    An error or a cancellation leaves every `generated` flag as it was.
    """
    with open_job("stash_generate") as job, job.stash() as stash:
        return generate(
            stash,
            job.database,
            params,
            job.progress,
            run_id=job.run_id,
            settings=job.settings.stash,
        )
