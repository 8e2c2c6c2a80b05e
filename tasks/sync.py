"""Mirror Stash's library in PostgreSQL."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.params import SyncParams
from stashhog_core.results import SyncResult
from stashhog_core.sync.job import Pending
from stashhog_core.sync.job import pending_scenes as find_pending_scenes
from stashhog_core.sync.job import sync as mirror
from tasks._events import announce
from tasks._runtime import JOB_TASK, READ_TASK, open_job


@task(name="pending_scenes", cache_policy=NO_CACHE, **READ_TASK)
def pending_scenes() -> Pending:
    """Return what differs between Stash and the mirror; false if nothing does."""
    with open_job("pending_scenes") as job, job.stash() as stash:
        return find_pending_scenes(stash, job.database)


@task(name="sync", **JOB_TASK)
def sync(
    params: SyncParams = SyncParams(),
    trigger: str = "manual",
    step: str = "sync",
) -> SyncResult:
    """Bring the mirror up to date.

    Args:
        params: What to mirror.
        trigger: Who asked, for the history: manual, schedule, workflow or a name.
        step: The workflow's step. Finished tasks are recognised by their inputs when
            a run is resumed, and a workflow syncs twice.
    """
    with open_job("sync") as job, job.stash() as stash:
        result = mirror(
            stash,
            job.database,
            params,
            job.progress,
            trigger=trigger,
            run_id=job.run_id,
            conflicts=job.settings.sync.conflicts,
        )
    counts = result.model_dump(mode="json", include={"created", "updated", "removed"})
    announce("sync.completed", counts)
    return result
