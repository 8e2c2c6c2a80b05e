"""What the jobs that run by themselves, and those that tidy up, can be asked to do."""

from typing import Annotated

from pydantic import Field

from stashhog_core.stash_params import JobParams, SceneIds


class SyncScenesParams(JobParams):
    """Which scenes `sync_scenes` mirrors."""

    scene_ids: SceneIds = Field(
        description="The scenes, changed or not; the baseline does not move."
    )


class AutoVideoAnalysisParams(JobParams):
    """How many scenes `auto_video_analysis` takes at a time."""

    batch_size: int = Field(
        default=50, ge=1, le=1000, description="Scenes per run, the newest."
    )


class AutoPlanApplyParams(JobParams):
    """Which plans `auto_plan_apply` applies."""

    plan_prefix_filter: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        description="Only plans whose name starts with one of these; none: all.",
    )
    auto_approve_all_changes: bool = Field(
        default=False,
        description="First approve every pending change of them; recorded as "
        "automatic.",
    )


class CleanupParams(JobParams):
    """How `cleanup` goes about it."""

    dry_run: bool = Field(
        default=False, description="List what would be removed; change nothing."
    )
    confirm_removals: bool = Field(
        default=False, description="Allow a run that was held for too many removals."
    )


class RemoveOrphansParams(JobParams):
    """Which rows `remove_orphans` takes away when Stash has them no longer."""

    remove_scenes: bool = Field(default=True, description="Scenes.")
    remove_performers: bool = Field(default=True, description="Performers.")
    remove_tags: bool = Field(default=True, description="Tags.")
    remove_studios: bool = Field(default=True, description="Studios.")
    dry_run: bool = Field(
        default=False, description="List what is gone from Stash; change nothing."
    )
    confirm_removals: bool = Field(
        default=False, description="Allow a run that was held for too many removals."
    )
