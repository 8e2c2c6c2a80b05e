"""What the mirror holds of scenes, as the rows that their payloads are turned into."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
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
from stashhog_core.db.reading import THESE, read_these
from stashhog_core.stash import payloads
from stashhog_core.sync import rows
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
    rows_of: Callable[[payloads.Scene], list[Row]]
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
_OF_SCENES: Mapping[str, Select[Any]] = {
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


def mirrored_children(
    session: Session, name: str, scene_ids: Sequence[int]
) -> list[Row]:
    """Return the rows of one table that belong to these scenes.

    A further tag of a marker is followed by the marker's scene.
    """
    return read_these(session, _OF_SCENES[name], scene_ids)
