"""What was seen already: raw outputs by content, and which detector saw which content.

Content is named by its oshash, so that a file is not looked at twice when it is
renamed, moved or imported again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.models import DetectorMark, TaggerResult
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.hashing import oshash
from stashhog_core.paths import PathMap


@dataclass(frozen=True)
class RawOutput:
    """What a tagger said about one content."""

    content_hash: str
    tagger: str
    configuration: str
    output: Mapping[str, Any]


@dataclass(frozen=True)
class Mark:
    """This version of this detector has seen this content."""

    content_hash: str
    detector: str
    version: str


def content_hash(scene: SceneFacts, path_map: PathMap) -> str | None:
    """Return the oshash of the scene's file: Stash's, else our own.

    None: Stash has none and the file cannot be read here, so nothing can be kept.
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
    """Return what this tagger, so configured, said about these contents before."""
    rows = session.execute(
        select(TaggerResult.content_hash, TaggerResult.output).where(
            TaggerResult.tagger == tagger,
            TaggerResult.configuration == configuration,
            TaggerResult.content_hash.in_(hashes),
        )
    )
    return {row[0]: row[1] for row in rows}


def keep_outputs(session: Session, outputs: Iterable[RawOutput]) -> None:
    """Keep raw outputs; a newer one of the same key replaces the older."""
    rows = {(o.content_hash, o.tagger, o.configuration): o for o in outputs}
    if not rows:
        return
    statement = insert(TaggerResult).values(
        [
            {
                "content_hash": o.content_hash,
                "tagger": o.tagger,
                "configuration": o.configuration,
                "output": o.output,
            }
            for o in rows.values()
        ]
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["content_hash", "tagger", "configuration"],
            set_={"output": statement.excluded.output, "created_at": func.now()},
        )
    )


def keep_marks(session: Session, marks: Iterable[Mark]) -> None:
    """Record that these detectors have seen these contents."""
    rows = {(mark.content_hash, mark.detector): mark for mark in marks}
    if not rows:
        return
    statement = insert(DetectorMark).values(
        [
            {
                "content_hash": mark.content_hash,
                "detector": mark.detector,
                "version": mark.version,
            }
            for mark in rows.values()
        ]
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["content_hash", "detector"],
            set_={"version": statement.excluded.version, "seen_at": func.now()},
        )
    )
