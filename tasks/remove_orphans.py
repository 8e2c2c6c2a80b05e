"""Take away what Stash has no longer."""

from prefect.cache_policies import NO_CACHE

from stashhog_core.params import RemoveOrphansParams
from stashhog_core.results import RemoveOrphansResult
from stashhog_core.sync.orphans import remove_orphans as remove_gone
from tasks.runtime import READ_TASK, job_task, open_job


@job_task(name="remove_orphans", cache_policy=NO_CACHE, **READ_TASK)
def remove_orphans(params: RemoveOrphansParams) -> RemoveOrphansResult:
    """Mark what is newly gone from Stash; remove what an earlier run had marked."""
    with open_job("remove_orphans") as job, job.stash() as stash:
        return remove_gone(stash, job.database, params, job.progress)
