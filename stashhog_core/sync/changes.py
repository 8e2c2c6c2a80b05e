"""The rows that Stash changed since some time, compared with the mirror."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import TagParent
from stashhog_core.db.reading import any_of, read_these
from stashhog_core.db.session import Database
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import (
    Glance,
    LibraryChanges,
    MarkerStamp,
    SceneStamp,
    TagChildren,
)
from stashhog_core.sync.compare import (
    compare_scenes,
    scenes_of_changed_markers,
)
from stashhog_core.sync.differences import Differences
from stashhog_core.sync.glance import KeptGlance, adds_up
from stashhog_core.sync.read_ahead import THESE_MARKERS, THESE_SCENES
from stashhog_core.sync.survey import scenes_with_other_files


class Changes(Differences):
    """What differs, once it is proved that all of it is among the changed rows.

    Args:
        glance: What Stash showed before the changes were listed.
        library: The changes.
    """

    def __init__(self, glance: Glance, library: LibraryChanges) -> None:
        super().__init__(library)
        self.total = glance.kinds["scene"].total
        self.newest_text = glance.kinds["scene"].newest_text

    @property
    def lists_everything(self) -> bool:
        """Only what was changed was listed."""
        return False

    def compare_scenes(self) -> set[int]:
        """Return all scenes to fetch: they were compared at once."""
        return self.scenes.to_fetch

    def compare_markers(self) -> set[int]:
        """Return no further scenes: those of markers are among the others."""
        return set()


def find_changes(
    stash: StashClient,
    database: Database,
    kept: KeptGlance,
    glance: Glance,
    to_fetch: Sequence[int],
) -> Changes | None:
    """Return what differs; None: more has changed than the changed rows show.

    All rows that Stash changed since the kept glance are listed and compared. They are
    all that changed if they explain the numbers of rows; a removal they do not explain.
    An edit of a tag may also put others under it, and moves the time of none of those:
    then all tags are listed, and those are compared, too.

    Args:
        stash: The Stash server.
        database: The mirror.
        kept: The glance with which the mirror was last complete.
        glance: That of now; there is no reason to list everything.
        to_fetch: Scenes that are fetched whatever Stash says of them.
    """
    library = stash.changes(kept.lowest_since)
    scenes = list(chain.from_iterable(library.pages))
    markers = list(chain.from_iterable(library.marker_pages))
    listed = {
        "scene": [stamp.id for stamp in scenes],
        "marker": [stamp.id for stamp in markers],
        "tag": [tag.id for tag in library.tags],
        "performer": [performer.id for performer in library.performers],
        "studio": [studio.id for studio in library.studios],
        "file": library.file_ids,
    }
    if not all(
        adds_up(kept.kinds[kind], glance.kinds[kind], ids)
        for kind, ids in listed.items()
    ):
        return None
    with database.transaction() as session:
        moved = _moved_children(session, library.children)
    if moved.difference(listed["tag"]):
        tags = [tag for tag in stash.tags() if tag.id in moved.union(listed["tag"])]
        library = replace(library, tags=tags)
    changes = Changes(glance, library)
    with database.transaction() as session:
        _compare(session, changes, scenes, markers)
        changes.scenes.file.update(scenes_with_other_files(session, library.files))
    changes.scenes.changed.update(set(to_fetch) - changes.scenes.to_fetch)
    return changes


def _compare(
    session: Session,
    changes: Changes,
    scenes: Sequence[SceneStamp],
    markers: Sequence[MarkerStamp],
) -> None:
    rows = read_these(session, THESE_SCENES, [stamp.id for stamp in scenes])
    changes.scenes.add(
        compare_scenes(
            {stamp.id: stamp.updated_at for stamp in scenes},
            {id_: known for id_, known, _ in rows},
            {id_ for id_, _, is_missing in rows if is_missing},
        )
    )
    known = read_these(session, THESE_MARKERS, [stamp.id for stamp in markers])
    changes.scenes.marker.update(
        scenes_of_changed_markers(
            [(stamp.id, stamp.scene.id, stamp.updated_at) for stamp in markers],
            {id_: (scene_id, text) for id_, scene_id, text in known},
        )
    )
    changes.compare_entities(session)


def _moved_children(session: Session, listed: Sequence[TagChildren]) -> set[int]:
    """Return the tags that are under one of these in Stash or here, but not in both."""
    theirs = {(tag.id, child.id) for tag in listed for child in tag.children}
    links = select(TagParent.parent_id, TagParent.tag_id).where(
        TagParent.parent_id == any_of(tag.id for tag in listed)
    )
    mine = {(parent_id, tag_id) for parent_id, tag_id in session.execute(links)}
    return {tag_id for _, tag_id in theirs ^ mine}
