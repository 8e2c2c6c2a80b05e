"""Have Stash generate previews, sprites and hashes."""

from stashhog_core.params import StashGenerateParams
from stashhog_core.results import StashGenerateResult
from stashhog_core.server_jobs.generate import generate
from stashhog_core.stash.servers import server_settings
from tasks.cancellation import was_cancelled
from tasks.impacted_scenes import show_impacted_scenes
from tasks.runtime import JOB_TASK, job_task, open_job


@job_task(name="stash_generate", **JOB_TASK)
def stash_generate(
    params: StashGenerateParams = StashGenerateParams(),
) -> StashGenerateResult:
    """Generate, then mark the scenes that lacked media; cancelling stops Stash's job.

    An error or a cancellation leaves every `generated` flag as it was.
    """
    with open_job("stash_generate") as job, job.stash(params.server) as stash:
        settings = server_settings(job.settings.stash, params.server)
        result = generate(
            stash,
            job.database,
            params,
            job.progress,
            run_id=job.run_id,
            settings=settings,
            was_cancelled=was_cancelled,
        )
        show_impacted_scenes(job.database, result.scenes_updated, settings.link_base)
    return result
