"""Facts about scenes that the detectors use, read from the mirror."""

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    LibraryFile,
    Marker,
    Scene,
    SceneFile,
    SceneFingerprint,
    ScenePerformer,
    SceneTag,
    Tag,
)
from stashhog_core.errors import ItemError
from stashhog_core.paths import PathMap


@dataclass(frozen=True)
class PrimaryFile:
    """The primary file of a scene, as Stash probed it."""

    path: str
    duration_seconds: float | None
    width: int | None
    height: int | None
    frame_rate: float | None
    video_codec: str
    audio_codec: str
    oshash: str | None
    hdr: str | None = None
    """Kind of high dynamic range, if the directory scan has indexed the file."""


@dataclass(frozen=True)
class MarkerFacts:
    """A marker of a scene; `tag` is the case-folded name of its primary tag."""

    tag: str
    title: str
    seconds: float


@dataclass(frozen=True)
class SceneFacts:
    """A scene of the mirror. `file` is None for a scene without files."""

    id: int
    title: str = ""
    details: str = ""
    studio_id: int | None = None
    tag_ids: frozenset[int] = frozenset()
    performer_ids: frozenset[int] = frozenset()
    markers: tuple[MarkerFacts, ...] = ()
    file: PrimaryFile | None = None
    missing: bool = False
    date: str = ""
    code: str = ""

    @cached_property
    def file_name(self) -> str:
        """The file's name without its extension; empty without a file."""
        return file_stem(self.file.path) if self.file else ""

    def folder_name(self, roots: Sequence[str]) -> str:
        """Return the folders of the file below the root that contains the file."""
        if self.file is None:
            return ""
        folders = _folders(_posix(self.file.path).rpartition("/")[0])
        below = [r for r in map(_folders, map(_posix, roots)) if _begins(folders, r)]
        return "/".join(folders[max(map(len, below), default=0) :])

    def local_file(self, path_map: PathMap) -> Path:
        """Return the path of the scene's file on this machine.

        Raises:
            ItemError: The scene has no file, or the file is not on this machine; then
                the error names the missing mapping.
        """
        if self.file is None:
            raise ItemError("The scene has no file")
        stash_path = self.file.path
        path = Path(path_map.to_local(stash_path))
        if path.is_file():
            return path
        mapped = ""
        if str(path) != stash_path:
            mapped = f", to which STASHHOG_STASH__PATH_MAP maps {stash_path}"
        folder = posixpath.dirname(stash_path.replace("\\", "/"))
        raise ItemError(
            f"This machine has no file {path}{mapped}",
            remedy="mount Stash's library on this machine, or map its folder: "
            f'STASHHOG_STASH__PATH_MAP={{"{folder}": "/folder/on/this/machine"}}',
        )


def read_scenes(session: Session, scene_ids: Sequence[int]) -> dict[int, SceneFacts]:
    """Return the scenes of the mirror among `scene_ids`, in six queries."""
    ids = list(scene_ids)
    files = _primary_files(session, ids)
    tags = _members(session, SceneTag.scene_id, SceneTag.tag_id, ids)
    performers = _members(
        session, ScenePerformer.scene_id, ScenePerformer.performer_id, ids
    )
    markers = _markers(session, ids)
    rows = session.execute(
        select(
            Scene.id,
            Scene.title,
            Scene.details,
            Scene.studio_id,
            Scene.missing_since,
            Scene.date,
            Scene.code,
        ).where(Scene.id.in_(ids))
    )
    return {
        scene_id: SceneFacts(
            id=scene_id,
            title=title,
            details=details,
            studio_id=studio_id,
            tag_ids=frozenset(tags[scene_id]),
            performer_ids=frozenset(performers[scene_id]),
            markers=tuple(markers[scene_id]),
            file=files.get(scene_id),
            missing=missing_since is not None,
            date=date or "",
            code=code or "",
        )
        for scene_id, title, details, studio_id, missing_since, date, code in rows
    }


def _primary_files(session: Session, ids: list[int]) -> dict[int, PrimaryFile]:
    rows = session.execute(
        select(
            SceneFile.scene_id,
            SceneFile.path,
            SceneFile.duration_seconds,
            SceneFile.width,
            SceneFile.height,
            SceneFile.frame_rate,
            SceneFile.video_codec,
            SceneFile.audio_codec,
            SceneFingerprint.value,
            select(LibraryFile.hdr)
            .where(LibraryFile.oshash == SceneFingerprint.value)
            .limit(1)
            .scalar_subquery(),
        )
        .outerjoin(
            SceneFingerprint,
            (SceneFingerprint.scene_id == SceneFile.scene_id)
            & (SceneFingerprint.file_id == SceneFile.file_id)
            & (SceneFingerprint.kind == "oshash"),
        )
        .where(SceneFile.scene_id.in_(ids))
        .order_by(SceneFile.scene_id, SceneFile.position.desc())
    )
    # The primary file has the lowest position: it comes last and overwrites others.
    return {row[0]: PrimaryFile(*row[1:]) for row in rows}


def _members(
    session: Session, scene_column: object, member_column: object, ids: list[int]
) -> dict[int, list[int]]:
    members: dict[int, list[int]] = defaultdict(list)
    rows = session.execute(
        select(scene_column, member_column).where(scene_column.in_(ids))  # type: ignore[call-overload, attr-defined]
    )
    for scene_id, member_id in rows:
        members[scene_id].append(member_id)
    return members


def _markers(session: Session, ids: list[int]) -> dict[int, list[MarkerFacts]]:
    markers: dict[int, list[MarkerFacts]] = defaultdict(list)
    rows = session.execute(
        select(Marker.scene_id, Tag.name, Marker.title, Marker.seconds)
        .outerjoin(Tag, Tag.id == Marker.primary_tag_id)
        .where(Marker.scene_id.in_(ids))
    )
    for scene_id, tag, title, seconds in rows:
        markers[scene_id].append(
            MarkerFacts((tag or "").casefold(), title.casefold(), seconds)
        )
    return markers


def file_stem(path: str) -> str:
    """Return a file's name without its extension, also for a path of Windows."""
    name = _posix(path).rpartition("/")[2]
    dot = name.rfind(".")
    # `.hidden` and `name.` have no extension.
    return name[:dot] if 0 < dot < len(name) - 1 else name


def _folders(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _begins(folders: list[str], root: list[str]) -> bool:
    return folders[: len(root)] == root


def _posix(path: str) -> str:
    """Return a path with forward slashes, also for a path of Windows."""
    # On other systems a backslash is part of a file's name.
    windows = path[1:2] == ":" or path.startswith("\\\\")
    return path.replace("\\", "/") if windows else path
