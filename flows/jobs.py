"""The flows that run one job each: a table.

A job's task is imported when the job runs: to register a flow, or to show its form,
nobody has to wait for it.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from prefect import Flow

from flows.cancellation import job_flow
from flows.flow_parameters import parameters_of
from flows.outcome import run_one
from stashhog_core.params import (
    AnalysisParams,
    ApplyPlanParams,
    CheckStashGenerateParams,
    CleanupParams,
    JobParams,
    ProcessDownloadsParams,
    RemoveOrphansParams,
    ReviewPlanParams,
    StashGenerateParams,
    StashScanParams,
    SyncParams,
    SyncScenesParams,
    UndoParams,
    VerifyMirrorParams,
)

Params = TypeVar("Params", bound=JobParams)


def _job(
    name: str,
    params: type[Params],
    description: str,
    *,
    task: str = "",
    arguments: Callable[[Params], Any] = lambda params: params,
    starts_stash_jobs: bool = False,
) -> Flow[..., Any]:
    """Return the flow of one job.

    Args:
        name: Name of the flow and of the job.
        params: What the job can be asked: the flow's parameters.
        description: What Prefect's UI says of the flow.
        task: Name of the task and of its module in `tasks`, if not `name`.
        arguments: Turns the flow's parameters into the task's.
        starts_stash_jobs: Whether a run may leave jobs behind in Stash.
    """
    task = task or name

    def run(given: Params) -> Any:
        function = getattr(import_module(f"tasks.{task}"), task)
        return run_one(name, function, arguments(given))

    run.__name__ = run.__qualname__ = name
    run.__doc__ = description
    made = job_flow(name, starts_stash_jobs=starts_stash_jobs)
    return made(parameters_of(params)(run))


process_downloads = _job(
    "process_downloads",
    ProcessDownloadsParams,
    "Place finished downloads in the library.",
)
stash_scan = _job(
    "stash_scan",
    StashScanParams,
    "Have Stash scan its library; cancelling leaves Stash's scan running.",
    starts_stash_jobs=True,
)
sync = _job(
    "sync",
    SyncParams,
    "Bring the mirror of Stash's scenes, performers, tags and studios up to date.",
)
sync_scenes = _job(
    "sync_scenes",
    SyncScenesParams,
    "Bring these scenes of the mirror up to date, changed or not.",
    task="sync",
    arguments=lambda params: SyncParams(scene_ids=params.scene_ids),
)
verify_mirror = _job(
    "verify_mirror",
    VerifyMirrorParams,
    "Compare randomly chosen scenes, and all counts, with Stash, field by field.",
)
remove_orphans = _job(
    "remove_orphans",
    RemoveOrphansParams,
    "Mark what is newly gone from Stash; remove what an earlier run had marked.",
)
analysis = _job(
    "analysis",
    AnalysisParams,
    "Propose changes to scenes as a plan to review; Stash stays as it is.",
)
review_plan = _job(
    "review_plan",
    ReviewPlanParams,
    "Decide on the changes of a plan; see its tables under the run's artifacts.",
)
apply_plan = _job(
    "apply_plan", ApplyPlanParams, "Bring the approved changes of a plan to Stash."
)
undo_plan = _job(
    "undo_plan",
    UndoParams,
    "Undo applied changes: of a plan, of a scene, or of a detector's version.",
)
stash_generate = _job(
    "stash_generate",
    StashGenerateParams,
    "Have Stash generate previews, sprites and hashes for scenes that lack them.",
    starts_stash_jobs=True,
)
check_stash_generate = _job(
    "check_stash_generate",
    CheckStashGenerateParams,
    "Find the scenes and markers whose generated media is missing.",
)
cleanup = _job(
    "cleanup",
    CleanupParams,
    "Delete old history, and put right what runs that died left open.",
)
