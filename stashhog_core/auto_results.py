"""What the jobs that run by themselves, and those that tidy up, give back."""

from pydantic import Field

from stashhog_core.results import AppliedChanges, ItemFailure, JobStatus, Result


class AutoApplyResult(AppliedChanges):
    """What `auto_plan_apply` did."""

    plan_ids: tuple[int, ...] = Field(default=(), description="Plans it worked on.")


class CleanupResult(Result):
    """What `cleanup` removed and settled; of a dry run, what it would."""

    status: JobStatus
    dry_run: bool = False
    removed: dict[str, int] = Field(
        default_factory=dict, description="Rows, runs and files of each kind."
    )
    settled: dict[str, int] = Field(
        default_factory=dict, description="What runs that died had left open."
    )
    samples: tuple[str, ...] = Field(
        default=(), description="The oldest 20 of each kind that is removed."
    )
    held: str | None = Field(
        default=None, description="Why something was kept, and how to confirm."
    )
    errors: tuple[ItemFailure, ...] = ()


class RemoveOrphansResult(Result):
    """Which rows of the mirror `remove_orphans` found gone from Stash, by kind."""

    status: JobStatus
    dry_run: bool = False
    marked: dict[str, int] = Field(
        default_factory=dict,
        description="Newly found gone: marked as missing, removed by a later run.",
    )
    removed: dict[str, int] = Field(
        default_factory=dict,
        description="Found gone by an earlier run as well: removed; of a dry run: "
        "would be.",
    )
    samples: tuple[str, ...] = Field(
        default=(), description="The first 100 that are gone."
    )
    held: str | None = Field(
        default=None, description="Why nothing was removed, and how to confirm."
    )
    errors: tuple[ItemFailure, ...] = ()
