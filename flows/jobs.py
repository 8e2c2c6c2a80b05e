"""The flows that run one job each: a table.

A job's task is imported when the job runs: to register a flow, or to show its form,
nobody has to wait for it.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from prefect import Flow

from flows.cancellation import job_flow
from flows.flow_parameters import parameters_of
from flows.outcome import run_one
from stashhog_core.params import JOB_PARAMS, SyncParams


def _job(
    task: str,
    description: str,
    *,
    name: str | None = None,
    arguments: Callable[[Any], Any] = lambda params: params,
    starts_stash_jobs: bool = False,
) -> Flow[..., Any]:
    """Return the flow of one job.

    Args:
        task: The task that the flow runs, as `module.name` below `tasks`.
        description: What Prefect's UI says of the flow.
        name: Name of the flow and of the job, if not that of the task.
        arguments: Turns the flow's parameters into the task's.
        starts_stash_jobs: Whether a run may leave jobs behind in Stash.
    """
    module, _, function = task.partition(".")
    job = name or function

    def run(given: Any) -> Any:
        work = getattr(import_module(f"tasks.{module}"), function)
        return run_one(job, work, arguments(given))

    run.__name__ = run.__qualname__ = job
    run.__doc__ = description
    made = job_flow(job, starts_stash_jobs=starts_stash_jobs)
    return made(parameters_of(JOB_PARAMS[job])(run))


process_downloads = _job(
    "downloads.process_downloads",
    "Place finished downloads in the library.",
)
stash_scan = _job(
    "stash_jobs.stash_scan",
    "Make Stash scan its library. If you cancel the run, Stash's scan continues.",
    starts_stash_jobs=True,
)
stash_auto_tag = _job(
    "stash_jobs.stash_auto_tag",
    "Make Stash add the tags, performers and studios that paths name.",
    starts_stash_jobs=True,
)
stash_identify = _job(
    "stash_jobs.stash_identify",
    "Make Stash identify scenes at its stash-boxes, and write what it finds at once.",
    starts_stash_jobs=True,
)
stash_clean = _job(
    "stash_jobs.stash_clean",
    "List the files that are gone from the disk, or make Stash remove the files.",
    starts_stash_jobs=True,
)
stash_optimise = _job(
    "stash_jobs.stash_optimise",
    "Make Stash optimise its database.",
    starts_stash_jobs=True,
)
stash_backup = _job(
    "stash_jobs.stash_backup",
    "Make Stash back up its database.",
)
sync = _job(
    "sync.sync",
    "Mirror Stash's scenes, performers, tags and studios in PostgreSQL.",
)
sync_scenes = _job(
    "sync.sync",
    "Mirror the scenes with the given ids, whether they have changed or not.",
    name="sync_scenes",
    arguments=lambda params: SyncParams(scene_ids=params.scene_ids),
)
verify_mirror = _job(
    "sync.verify_mirror",
    "Compare every field of random scenes, and all counts, with Stash.",
)
remove_orphans = _job(
    "sync.remove_orphans",
    "Mark rows that are gone from Stash, and remove rows that an earlier run marked.",
)
analysis = _job(
    "analysis.analysis",
    "Analyze scenes and propose changes as a plan for review. Stash is not changed.",
)
review_plan = _job(
    "plans.review_plan",
    "List the changes of a plan as the run's artifacts, and decide on changes.",
)
apply_plan = _job("plans.apply_plan", "Apply the approved changes of a plan to Stash.")
undo_plan = _job(
    "plans.undo_plan",
    "Undo applied changes of a plan, a scene or a version of a detector.",
)
stash_generate = _job(
    "stash_jobs.stash_generate",
    "Make Stash generate previews, sprites and hashes for scenes that lack them.",
    starts_stash_jobs=True,
)
check_stash_generate = _job(
    "stash_jobs.check_stash_generate",
    "Find the scenes and markers whose generated media is missing.",
)
check = _job(
    "health.check",
    "Check settings, services, folders and links, and say how to mend each problem.",
)
cleanup = _job(
    "cleanup.cleanup",
    "Delete old history and clean up after dead runs.",
)
