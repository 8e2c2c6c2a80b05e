"""Take back what plans changed in Stash."""

from stashhog_core.params import UndoParams
from stashhog_core.plans.undo import undo
from stashhog_core.results import UndoResult
from tasks.runtime import JOB_TASK, job_task, open_job


@job_task(name="undo_plan", **JOB_TASK)
def undo_plan(params: UndoParams) -> UndoResult:
    """Undo three-way: what was changed in Stash since is left alone."""
    with open_job("undo_plan") as job, job.stash() as stash:
        return undo(stash, job.database, params, job.progress)
