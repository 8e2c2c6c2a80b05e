"""What the mirror holds of scenes, and which fields of it differ from Stash."""

from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from dataclasses import dataclass
from typing import Any

from sqlalchemy import SelectBase, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    Marker,
    MarkerTag,
    Scene,
    SceneFile,
    SceneFingerprint,
    ScenePerformer,
    SceneTag,
)
from stashhog_core.db.reading import THESE, read_rows, read_these
from stashhog_core.stash.payloads import StashScene
from stashhog_core.sync import rows
from stashhog_core.sync.compare import Hash, content_hash
from stashhog_core.sync.local_edits import edits_of, with_edits
from stashhog_core.sync.rows import Row


@dataclass(frozen=True)
class Children:
    """A table of rows that belong to scenes.

    Attributes:
        model: The table.
        columns: Its columns, as in the rows.
        rows_of: Makes the rows of a scene.
        key: The first so many columns are the primary key.
        scene: Which column names the scene.
    """

    model: Any
    columns: Sequence[str]
    rows_of: Callable[[StashScene], list[Row]]
    key: int
    scene: int = 0


CHILDREN: Mapping[str, Children] = {
    "files": Children(SceneFile, rows.FILE_COLUMNS, rows.file_rows, key=2),
    "hashes": Children(
        SceneFingerprint, rows.FINGERPRINT_COLUMNS, rows.fingerprint_rows, key=3
    ),
    "tags": Children(SceneTag, ("scene_id", "tag_id"), rows.tag_link_rows, key=2),
    "performers": Children(
        ScenePerformer, ("scene_id", "performer_id"), rows.performer_link_rows, key=2
    ),
    "markers": Children(Marker, rows.MARKER_COLUMNS, rows.marker_rows, key=1, scene=1),
}
MARKER_TAGS = "tags of markers"

_SCENES = select(
    *(getattr(Scene, name) for name in rows.SCENE_COLUMNS), Scene.content
).where(Scene.id == THESE)
_IDS = select(Scene.id, Scene.missing_since.is_not(None))
_OF_SCENES: Mapping[str, SelectBase] = {
    name: select(*(getattr(table.model, column) for column in table.columns)).where(
        table.model.scene_id == THESE
    )
    for name, table in CHILDREN.items()
} | {
    MARKER_TAGS: select(MarkerTag.marker_id, MarkerTag.tag_id, Marker.scene_id)
    .join(Marker, Marker.id == MarkerTag.marker_id)
    .where(Marker.scene_id == THESE)
}


def mirrored_scenes(session: Session, scene_ids: Sequence[int]) -> dict[int, Row]:
    """Return the rows of these scenes by id, without those that are not mirrored.

    What the columns of scenes are followed by is the hash of their content.
    """
    return {row[0]: row for row in read_these(session, _SCENES, scene_ids)}


def mirrored_ids(session: Session, ids: Sequence[int]) -> dict[int, bool]:
    """Return which of the scenes are mirrored, and whether each is known to be gone.

    Args:
        session: Open session.
        ids: The scenes; of a range, all that lie in it.
    """
    if isinstance(ids, range):
        within = _IDS.where(Scene.id.between(ids[0], ids[-1]))
        return dict(read_rows(session, within))
    return dict(read_these(session, _IDS.where(Scene.id == THESE), ids))


def mirrored_children(
    session: Session, name: str, scene_ids: Sequence[int]
) -> list[Row]:
    """Return the rows of one table that belong to these scenes.

    An additional tag of a marker is followed by the marker's scene.
    """
    return read_these(session, _OF_SCENES[name], scene_ids)


def scene_differences(
    session: Session, scenes: Sequence[StashScene]
) -> Iterator[tuple[int, str, Any, Any]]:
    """Yield scene, field, Stash's value and the mirror's for all that differs.

    Local edits count as right.
    """
    ids = [scene.id for scene in scenes]
    edits = edits_of(session, ids)
    scenes = [with_edits(scene, edits[scene.id]) for scene in scenes]
    mirrored = mirrored_scenes(session, ids)
    for scene in scenes:
        if scene.id not in mirrored:
            yield scene.id, "scene", "it", None
            continue
        row, mine = rows.scene_row(scene), mirrored[scene.id][:-1]
        # Hardly any differs: comparing field by field takes ten times as long.
        if row != mine:
            for found in differing_fields(rows.SCENE_COLUMNS, row, mine):
                yield scene.id, *found
    for name, table in CHILDREN.items():
        theirs = {row for scene in scenes for row in table.rows_of(scene)}
        here = set(mirrored_children(session, name, ids))
        yield from _row_differences(name, theirs, here, table.scene, mirrored)
    theirs = {row for scene in scenes for row in rows.marker_tag_rows(scene)}
    here = set(mirrored_children(session, MARKER_TAGS, ids))
    yield from _row_differences(MARKER_TAGS, theirs, here, -1, mirrored)


def _row_differences(
    name: str,
    theirs: Set[rows.Row],
    mine: Set[rows.Row],
    scene: int,
    mirrored: Collection[int],
) -> Iterator[tuple[int, str, Any, Any]]:
    """Yield each mirrored scene whose rows of one table differ, and which do.

    Args:
        name: The table.
        theirs: The rows of Stash's scenes.
        mine: The mirror's.
        scene: Which column names the scene.
        mirrored: Scenes that the mirror has.
    """
    if theirs == mine:
        return
    lacking, surplus = grouped(theirs - mine, scene), grouped(mine - theirs, scene)
    for id_ in (lacking.keys() | surplus.keys()).intersection(mirrored):
        yield id_, name, lacking.get(id_, set()), surplus.get(id_, set())


def grouped(found: Iterable[rows.Row], column: int) -> dict[int, set[rows.Row]]:
    """Return the rows by the id in one of their columns."""
    groups: dict[int, set[rows.Row]] = {}
    for row in found:
        groups.setdefault(row[column], set()).add(row)
    return groups


def differing_fields(
    columns: Sequence[str], theirs: rows.Row, mine: rows.Row
) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, Stash's value and the mirror's of the fields that differ."""
    for name, stash_value, own_value in zip(columns, theirs, mine, strict=True):
        if stash_value != own_value:
            yield name, stash_value, own_value


@dataclass(frozen=True)
class KnownScenes:
    """What tells that scenes are still as they were stored."""

    contents: Mapping[int, Hash]
    """Scene → hash of its content, unless it is to be stored whatever that is."""
    markers: Mapping[int, set[tuple[int, str]]]
    """Scene → ids and times of change of its markers, unless it has none."""

    def has(self, scene: StashScene) -> bool:
        """Tell whether a scene is mirrored as it was fetched."""
        if self.contents.get(scene.id) != content_hash(scene):
            return False
        markers = {(marker.id, marker.updated_at) for marker in scene.scene_markers}
        return self.markers.get(scene.id, set()) == markers


def is_empty(session: Session) -> bool:
    """Tell whether no scene is mirrored."""
    return session.scalar(select(Scene.id).limit(1)) is None


_CONTENTS = select(Scene.id, Scene.content).where(
    Scene.id == THESE, Scene.content.is_not(None), Scene.missing_since.is_(None)
)
_MARKERS = select(Marker.scene_id, Marker.id, Marker.stash_updated_text).where(
    Marker.scene_id == THESE
)


def known_scenes(session: Session, scene_ids: Iterable[int]) -> KnownScenes:
    """Return what is known of these scenes."""
    ids = list(scene_ids)
    contents = dict(read_these(session, _CONTENTS, ids))
    markers: dict[int, set[tuple[int, str]]] = {}
    for scene_id, id_, updated_text in read_these(session, _MARKERS, ids):
        markers.setdefault(scene_id, set()).add((id_, updated_text))
    return KnownScenes(contents, markers)
