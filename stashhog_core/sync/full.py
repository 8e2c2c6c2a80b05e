"""What a full sync finds: it fetches all scenes, and lists none of them before."""

from collections.abc import Iterator

from stashhog_core.db.session import Database
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import KindGlance, LibraryListing
from stashhog_core.sync.differences import Differences

HIGHEST_ID = 2**31 - 1
"""Stash takes no higher number."""

_WIDEST = 4
"""A range is so many times as wide as a page at the most: memory stays bounded where
most of the scenes lie close together, and the others far apart."""


class WholeLibrary(Differences):
    """All that Stash has. Scenes are compared as they are fetched.

    Args:
        library: The tags, performers and studios.
        scenes: What Stash showed of scenes before.
    """

    def __init__(self, library: LibraryListing, scenes: KindGlance) -> None:
        super().__init__(library)
        self.newest_text = scenes.newest_text
        self.expected = scenes.total
        """How many scenes there are to fetch."""
        self._newest_id = scenes.newest_id

    @property
    def lists_everything(self) -> bool:
        """Everything is fetched."""
        return True

    def ranges(self, page_size: int) -> Iterator[range]:
        """Yield ranges of ids that hold every scene, each about a page of them.

        The last one is for scenes that are created meanwhile.
        """
        even = page_size * self._newest_id // max(1, self.expected)
        width = min(max(page_size, even), _WIDEST * page_size)
        after_newest = self._newest_id + 1
        for first in range(1, after_newest, width):
            yield range(first, min(first + width, after_newest))
        yield range(after_newest, HIGHEST_ID + 1)

    def compare_scenes(self) -> set[int]:
        """Return none: all are fetched."""
        return set()

    def compare_markers(self) -> set[int]:
        """Return none: markers come with their scenes."""
        return set()


def whole_library(stash: StashClient, database: Database) -> WholeLibrary:
    """Compare all but the scenes, and find out how many of them there are."""
    library = LibraryListing(
        pages=iter(()),
        marker_pages=iter(()),
        tags=stash.tags(),
        performers=stash.performers(),
        studios=stash.studios(),
        files=(),
        folders=None,
    )
    found = WholeLibrary(library, stash.newest_scene())
    with database.transaction() as session:
        found.compare_entities(session)
    return found
