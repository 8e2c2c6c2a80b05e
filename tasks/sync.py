"""Mirror Stash's library in PostgreSQL, and prove that the mirror is right."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.params import RemoveOrphansParams, SyncParams, VerifyMirrorParams
from stashhog_core.results import RemoveOrphansResult, SyncResult, VerifyMirrorResult
from stashhog_core.sync.comparison import listing_rule
from stashhog_core.sync.job import Pending
from stashhog_core.sync.job import pending_scenes as find_pending_scenes
from stashhog_core.sync.job import sync as mirror
from stashhog_core.sync.orphans import remove_orphans as remove_gone
from stashhog_core.sync.verify import verify_mirror as verify
from tasks.prefect_api import announce
from tasks.runtime import JOB_TASK, READ_TASK, job_task, open_job


@task(name="pending_scenes", cache_policy=NO_CACHE, **READ_TASK)
def pending_scenes() -> Pending:
    """Return what differs between Stash and the mirror; false if nothing does."""
    with open_job("pending_scenes") as job:
        return find_pending_scenes(
            job.stash(), job.database, listing_rule(job.settings.sync)
        )


@task(name="pending_scenes", task_run_name="pending_scenes: {step}", **JOB_TASK)
def is_sync_needed(step: str) -> bool:
    """Tell whether anything differs between Stash and the mirror.

    The answer is kept, apart for each step of the workflow: a run that is resumed would
    take the sync that it had finished for one that there was no need of.
    """
    with open_job("pending_scenes") as job:
        listing = listing_rule(job.settings.sync)
        return bool(find_pending_scenes(job.stash(), job.database, listing))


@job_task(name="sync", **JOB_TASK)
def sync(
    params: SyncParams = SyncParams(),
    trigger: str = "manual",
    step: str = "sync",
    pending: int | None = None,
) -> SyncResult:
    """Bring the mirror up to date.

    Args:
        params: What to mirror.
        trigger: Who asked, for the history: manual, schedule, workflow or a name.
        step: The workflow's step. Finished tasks are recognised by their inputs when
            a run is resumed, and a workflow syncs twice.
        pending: How many scenes a look before has found pending; kept in the result.
    """
    with open_job("sync") as job:
        result = mirror(
            job.stash(),
            job.database,
            params,
            job.progress,
            trigger=trigger,
            run_id=job.run_id,
            conflicts=job.settings.sync.conflicts,
            listing=listing_rule(job.settings.sync),
        )
    counts = result.model_dump(mode="json", include={"created", "updated", "removed"})
    changed = "yes" if any(counts.values()) else "no"
    announce("sync.completed", counts, trigger=trigger, changed=changed)
    return result.model_copy(update={"pending": pending})


@job_task(name="verify_mirror", cache_policy=NO_CACHE, **READ_TASK)
def verify_mirror(
    params: VerifyMirrorParams = VerifyMirrorParams(),
) -> VerifyMirrorResult:
    """Compare scenes drawn by lot, and all counts, with Stash."""
    with open_job("verify_mirror") as job:
        return verify(
            job.stash(), job.database, params, job.progress, run_id=job.run_id
        )


@job_task(name="remove_orphans", cache_policy=NO_CACHE, **READ_TASK)
def remove_orphans(params: RemoveOrphansParams) -> RemoveOrphansResult:
    """Mark what is newly gone from Stash; remove what an earlier run had marked."""
    with open_job("remove_orphans") as job:
        return remove_gone(job.stash(), job.database, params, job.progress)
