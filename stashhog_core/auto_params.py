"""What the jobs that run by themselves, and those that tidy up, can be asked to do."""

from typing import Annotated

from pydantic import Field

from stashhog_core.stash_params import JobParams, SceneIds


class SyncScenesParams(JobParams):
    """Which scenes `sync_scenes` mirrors."""

    scene_ids: SceneIds = Field(
        description="Ids of the scenes to sync, whether the scenes have changed or "
        "not. The next incremental sync is not affected."
    )


class AutoVideoAnalysisParams(JobParams):
    """How many scenes `auto_video_analysis` takes at a time."""

    batch_size: int = Field(
        default=50,
        ge=1,
        le=1000,
        description="Maximum number of scenes that one run analyzes, newest first, 1 "
        "to 1000; default 50.",
    )


class AutoPlanApplyParams(JobParams):
    """Which plans `auto_plan_apply` applies."""

    plan_prefix_filter: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        description="Apply only plans whose name starts with one of these texts. If "
        "empty, all plans are applied.",
    )
    auto_approve_all_changes: bool = Field(
        default=False,
        description="Approve every open change of these plans before applying; the "
        "plans record these approvals as automatic. Default: off.",
    )


class CleanupParams(JobParams):
    """How `cleanup` goes about it."""

    dry_run: bool = Field(
        default=False,
        description="List what the run would remove, but change nothing. Default: off.",
    )
    confirm_removals: bool = Field(
        default=False,
        description="Allow a run whose removals exceed the removal limit. Default: "
        "off.",
    )


class RemoveOrphansParams(JobParams):
    """Which rows `remove_orphans` takes away when Stash has them no longer."""

    remove_scenes: bool = Field(
        default=True, description="Remove scenes that Stash no longer has. Default: on."
    )
    remove_performers: bool = Field(
        default=True,
        description="Remove performers that Stash no longer has. Default: on.",
    )
    remove_tags: bool = Field(
        default=True, description="Remove tags that Stash no longer has. Default: on."
    )
    remove_studios: bool = Field(
        default=True,
        description="Remove studios that Stash no longer has. Default: on.",
    )
    dry_run: bool = Field(
        default=False,
        description="List what is gone from Stash, but change nothing. Default: off.",
    )
    confirm_removals: bool = Field(
        default=False,
        description="Allow a run whose removals exceed the removal limit. Default: "
        "off.",
    )
