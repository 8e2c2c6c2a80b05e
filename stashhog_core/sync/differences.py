"""What a comparison of Stash with the mirror has found."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from sqlalchemy.orm import Session

from stashhog_core.db.scenes import scenes_of_entities
from stashhog_core.stash.payloads import LibraryListing
from stashhog_core.sync.compare import (
    EntityDifference,
    SceneDifference,
    compare_entities,
)
from stashhog_core.sync.entities import (
    KINDS,
    EntityListing,
    listing_of,
    local_entities,
)


class Differences(ABC):
    """What of Stash differs from the mirror.

    What it says of scenes is whole once `compare_scenes` and then `compare_markers`
    have been called.

    Args:
        library: The listings that are compared; of scenes and markers, pages may still
            be to come.
    """

    def __init__(self, library: LibraryListing) -> None:
        self.listings: Mapping[str, EntityListing] = {
            "tag": listing_of("tag", library.tags),
            "performer": listing_of("performer", library.performers),
            "studio": listing_of("studio", library.studios),
        }
        self.entities = {kind: EntityDifference() for kind in KINDS}
        self.scenes = SceneDifference()
        self.total = 0
        """How many scenes Stash has, or were listed so far."""
        self.newest_text = ""
        """The latest time of change of any scene, as Stash wrote it."""

    def compare_entities(self, session: Session) -> None:
        """Compare tags, performers and studios, and find the scenes that follow."""
        for kind, listing in self.listings.items():
            ids = None if self.lists_everything else listing.rows.keys()
            found = compare_entities(
                listing.names(), local_entities(session, kind, ids)
            )
            self.entities[kind] = found
            self.scenes.entity.update(
                scenes_of_entities(session, kind, found.touches_scenes)
            )

    @property
    @abstractmethod
    def lists_everything(self) -> bool:
        """Whether all that Stash has was listed; else, what was changed since."""

    @abstractmethod
    def compare_scenes(self) -> set[int]:
        """Compare the scenes; return those to fetch, but for markers."""

    @abstractmethod
    def compare_markers(self) -> set[int]:
        """Compare the markers; return further scenes to fetch."""

    @property
    def has_missing(self) -> bool:
        """Whether rows wait to be removed."""
        return bool(self.scenes.missing) or any(
            found.missing for found in self.entities.values()
        )

    @property
    def touched(self) -> set[int]:
        """Scenes that are to be fetched, though their own time did not move."""
        return self.scenes.entity | self.scenes.file
