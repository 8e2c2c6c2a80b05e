"""The results of the jobs that the Stash server does."""

from datetime import datetime

from pydantic import Field

from stashhog_core.results.base import ItemFailure, JobStatus, Result


class StashJobResult(Result):
    """How a job on the Stash server ended."""

    stash_job_id: str
    status: JobStatus
    message: str = ""
    start_time: datetime
    end_time: datetime
    errors: tuple[ItemFailure, ...] = ()


class StashScanResult(StashJobResult):
    """How a metadata scan on the Stash server ended."""


class StashTaskResult(StashJobResult):
    """How a task of Stash ended that changes scenes, and what the sync after it saw."""

    scenes_created: int = Field(
        default=0, description="Scenes that the sync after the job newly found."
    )
    scenes_updated: int = Field(
        default=0, description="Scenes that the sync after the job found changed."
    )


class StashCleanResult(StashTaskResult):
    """What `stash_clean` found gone, and what Stash removed. Counts are files."""

    dry_run: bool
    files: int = Field(
        default=0, description="Files that Stash knows in the folders of the run."
    )
    gone: int = Field(default=0, description="Files that are not on the disk any more.")
    removed: int = Field(default=0, description="Files that Stash removed.")
    backup: str | None = Field(
        default=None, description="Path of the backup of Stash's database."
    )
    doubts: tuple[str, ...] = Field(
        default=(), description="Why a removal needs a confirmation."
    )
    samples: tuple[ItemFailure, ...] = Field(
        default=(), description="The first 100 files that are gone."
    )
    held: str | None = Field(
        default=None,
        description="Why nothing was removed, and how to confirm the removals.",
    )


class StashBackupResult(Result):
    """The copy of its database that Stash wrote."""

    status: JobStatus
    message: str = ""
    path: str | None = Field(
        default=None,
        description="Where the copy is, as Stash names the path. Empty if Stash's log "
        "does not say so.",
    )
    start_time: datetime
    end_time: datetime


class StashGenerateResult(Result):
    """How a generate job on the Stash server ended, and what it completed."""

    job_id: str
    stash_job_id: str | None
    stash_job_ids: tuple[str, ...] = Field(
        default=(), description="Ids of all Stash jobs of the run."
    )
    status: JobStatus
    scenes_updated_count: int = 0
    scenes_updated: tuple[str, ...] = ()
    start_time: datetime
    end_time: datetime
    duration_seconds: float = Field(
        default=0, description="Duration of the whole run in seconds, including waits."
    )
    scenes_processed: int = Field(
        default=0, description="Scenes for which Stash was asked to generate media."
    )
    success_rate: float | None = Field(
        default=None,
        description="Share of the checked scenes that have all requested media (0 to "
        "1); empty if no scene was checked.",
    )
    failure_rate: float | None = Field(
        default=None,
        description="Share of the checked scenes that lack requested media (0 to 1).",
    )
    unmakeable_count: int = Field(
        default=0,
        description="Scenes with media that Stash cannot make and that is not "
        "requested again.",
    )
    unmakeable: tuple[ItemFailure, ...] = Field(
        default=(),
        description="First 500 of the scenes with media that Stash cannot make, with "
        "the reason.",
    )
    gave_way: bool = Field(
        default=False,
        description="Whether a scan in Stash preempted the job; generated media stays.",
    )
    errors: tuple[ItemFailure, ...] = ()


class CheckStashGenerateResult(Result):
    """Which scenes lack generated media."""

    status: JobStatus
    scenes_checked: int = Field(
        default=0, description="Number of scenes whose media was checked."
    )
    scenes_unchanged: int = Field(
        default=0,
        description="Number of scenes that were complete at the last check "
        "and have not changed since; they are not checked again.",
    )
    scenes_complete: int = 0
    scenes_incomplete: int = 0
    scenes_unmakeable: int = Field(
        default=0,
        description="Scenes that lack only media that Stash cannot make. These scenes "
        "are not counted as incomplete.",
    )
    unmakeable: tuple[ItemFailure, ...] = Field(
        default=(),
        description="First 500 of the scenes with media that Stash cannot make, with "
        "the reason.",
    )
    missing: dict[str, int] = Field(
        default_factory=dict,
        description="Number of scenes that lack media, by kind of media.",
    )
    marked: int = Field(
        default=0, description="Number of scenes that are newly marked as generated."
    )
    unmarked: int = Field(
        default=0,
        description="Number of scenes that are no longer marked as generated.",
    )
    scene_ids: tuple[int, ...] = Field(
        default=(), description="Ids of the incomplete scenes."
    )
    marker_ids: tuple[int, ...] = Field(
        default=(), description="Ids of the markers that lack media."
    )
    samples: tuple[ItemFailure, ...] = Field(
        default=(), description="The first incomplete scenes, with the missing media."
    )
    errors: tuple[ItemFailure, ...] = ()
