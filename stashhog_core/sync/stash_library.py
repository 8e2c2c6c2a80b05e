"""What sync needs of a Stash server."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from stashhog_core.stash.payloads import (
    LibraryListing,
    MarkerStamp,
    SceneStamp,
    StashPerformer,
    StashScene,
    StashStudio,
    StashTag,
)


class StashLibrary(Protocol):
    """Reads a Stash library; `StashClient` is one.

    Every method raises TransientError when the server is away and JobError when it
    refuses the request.
    """

    def library(self, files_changed_since: str) -> LibraryListing:
        """Return the light listings of everything.

        Args:
            files_changed_since: Stash compares it as text, to the second, in its own
            zone, with when a file was changed; empty: no files.
        """
        ...

    def newest_scene(self) -> tuple[int, str]:
        """Return how many scenes there are, and the latest time of change of any."""
        ...

    def scene_stamps(self) -> Iterator[Sequence[SceneStamp]]:
        """Yield id and time of change of every scene, by rising id."""
        ...

    def marker_stamps(self) -> Iterator[MarkerStamp]:
        """Yield id, time of change and scene of every marker, by rising id."""
        ...

    def count_scenes(self) -> int:
        """Return the number of scenes."""
        ...

    def scenes(self, ids: Sequence[int]) -> tuple[list[StashScene], list[int]]:
        """Return the scenes of these ids and the ids Stash lacks."""
        ...

    def scenes_between(self, low: int, high: int) -> list[StashScene]:
        """Return all scenes with ids from `low` to `high`, by rising id."""
        ...

    def tags(self) -> list[StashTag]:
        """Return all tags."""
        ...

    def performers(self) -> list[StashPerformer]:
        """Return all performers."""
        ...

    def studios(self) -> list[StashStudio]:
        """Return all studios."""
        ...
