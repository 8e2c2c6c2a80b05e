"""What sync needs of a Stash server."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from stashhog_core.stash.payloads import (
    MarkerStamp,
    Performer,
    Scene,
    SceneFileStamp,
    SceneRelations,
    SceneStamp,
    Studio,
    Tag,
)


class Source(Protocol):
    """Reads a Stash library; `StashClient` is one.

    Every method raises TransientError when the server is away and JobError when it
    refuses the request.
    """

    def scene_stamps(self) -> Iterator[list[SceneStamp]]:
        """Yield id and time of change of every scene, by rising id."""
        ...

    def marker_stamps(self) -> list[MarkerStamp]:
        """Return id, time of change and scene of every marker."""
        ...

    def scene_file_stamps(self, changed_since: str) -> list[SceneFileStamp]:
        """Return the files of each scene with a file Stash changed since then.

        Stash compares the text, to the second, in its own zone.
        """
        ...

    def scene_relations(self) -> Iterator[list[SceneRelations]]:
        """Yield the ids of all that belongs to every scene, by rising id."""
        ...

    def count_scenes(self) -> int:
        """Return the number of scenes."""
        ...

    def scenes(self, ids: Sequence[int]) -> tuple[list[Scene], list[int]]:
        """Return the scenes of these ids and the ids Stash lacks."""
        ...

    def tags(self) -> list[Tag]:
        """Return all tags."""
        ...

    def performers(self) -> list[Performer]:
        """Return all performers."""
        ...

    def studios(self) -> list[Studio]:
        """Return all studios."""
        ...
