"""The result cache: raw outputs of readers, and which detectors examined a content.

The key of a content is its oshash, so that a file is not read again after it was
renamed, moved or imported again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.merge import upsert
from stashhog_core.db.models import DetectorMark, TaggerResult
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.hashing import oshash
from stashhog_core.paths import PathMap


@dataclass(frozen=True)
class RawOutput:
    """The output of a reader for one content."""

    content_hash: str
    tagger: str
    configuration: str
    output: Mapping[str, Any]


@dataclass(frozen=True)
class ExaminedMark:
    """A version of a detector has examined a content."""

    content_hash: str
    detector: str
    version: str


def content_hash(scene: SceneFacts, path_map: PathMap) -> str | None:
    """Return the oshash of the scene's file, from Stash or else from the file.

    None: Stash has none and the file cannot be read here, so nothing can be cached.
    """
    if scene.file is None:
        return None
    if scene.file.oshash:
        return scene.file.oshash
    try:
        return oshash(Path(path_map.to_local(scene.file.path)))
    except OSError:
        return None


def raw_outputs(
    session: Session, hashes: Sequence[str], tagger: str, configuration: str
) -> dict[str, Mapping[str, Any]]:
    """Return the stored outputs of a reader with this configuration."""
    rows = session.execute(
        select(TaggerResult.content_hash, TaggerResult.output).where(
            TaggerResult.tagger == tagger,
            TaggerResult.configuration == configuration,
            TaggerResult.content_hash.in_(hashes),
        )
    )
    return {row[0]: row[1] for row in rows}


def store_outputs(session: Session, outputs: Iterable[RawOutput]) -> None:
    """Store raw outputs; a new output replaces the stored output of its key."""
    rows = {(o.content_hash, o.tagger, o.configuration): vars(o) for o in outputs}
    upsert(session, TaggerResult, rows.values(), stamped="created_at")


def store_marks(session: Session, marks: Iterable[ExaminedMark]) -> None:
    """Record which detectors have examined which contents."""
    rows = {(mark.content_hash, mark.detector): vars(mark) for mark in marks}
    upsert(session, DetectorMark, rows.values(), stamped="seen_at")
