"""Facts about scenes that the detectors use, read from the mirror."""

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
class FileHash:
    """A hash of one of the files of a scene, with the duration of this file.

    Attributes:
        kind: oshash, phash or md5.
        value: As Stash has it: a phash has no leading zeros.
    """

    kind: str
    value: str
    duration_seconds: float | None = None


@dataclass(frozen=True)
class SceneFacts:
    """A scene of the mirror. `file` is None for a scene without files.

    Attributes:
        hashes: The hashes of all files, in order.
        box_ids: Stash-box → the id of the scene there.
    """

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
    director: str = ""
    urls: tuple[str, ...] = ()
    organized: bool = False
    hashes: tuple[FileHash, ...] = ()
    box_ids: Mapping[str, str] = field(default_factory=dict)

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

    def primary_file(self) -> PrimaryFile:
        """Return the file of the scene.

        Raises:
            ItemError: The scene has no file.
        """
        if self.file is None:
            raise ItemError(
                "The scene has no file",
                remedy="delete the scene in Stash, or scan its folder again",
            )
        return self.file

    def local_file(self, path_map: PathMap) -> Path:
        """Return the path of the scene's file on this machine.

        Raises:
            ItemError: The scene has no file, or the file is not on this machine; then
                the error names the missing mapping.
        """
        stash_path = self.primary_file().path
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
    """Return the scenes of the mirror among `scene_ids`, in seven queries."""
    ids = list(scene_ids)
    files = _primary_files(session, ids)
    tags = _members(session, SceneTag.scene_id, SceneTag.tag_id, ids)
    performers = _members(
        session, ScenePerformer.scene_id, ScenePerformer.performer_id, ids
    )
    markers = _markers(session, ids)
    hashes = _hashes(session, ids)
    rows = session.execute(
        select(
            Scene.id,
            Scene.title,
            Scene.details,
            Scene.studio_id,
            Scene.missing_since,
            Scene.date,
            Scene.code,
            Scene.director,
            Scene.urls,
            Scene.organized,
            Scene.stash_ids,
        ).where(Scene.id.in_(ids))
    )
    return {
        row.id: SceneFacts(
            id=row.id,
            title=row.title,
            details=row.details,
            studio_id=row.studio_id,
            tag_ids=frozenset(tags[row.id]),
            performer_ids=frozenset(performers[row.id]),
            markers=tuple(markers[row.id]),
            file=files.get(row.id),
            missing=row.missing_since is not None,
            date=row.date or "",
            code=row.code or "",
            director=row.director,
            urls=tuple(row.urls),
            organized=row.organized,
            hashes=tuple(hashes[row.id]),
            box_ids={box["endpoint"]: box["stash_id"] for box in row.stash_ids},
        )
        for row in rows
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


def _hashes(session: Session, ids: list[int]) -> dict[int, list[FileHash]]:
    hashes: dict[int, list[FileHash]] = defaultdict(list)
    rows = session.execute(
        select(
            SceneFingerprint.scene_id,
            SceneFingerprint.kind,
            SceneFingerprint.value,
            SceneFile.duration_seconds,
        )
        .join(
            SceneFile,
            (SceneFile.scene_id == SceneFingerprint.scene_id)
            & (SceneFile.file_id == SceneFingerprint.file_id),
        )
        .where(SceneFingerprint.scene_id.in_(ids))
        .order_by(SceneFingerprint.scene_id, SceneFile.position, SceneFingerprint.kind)
    )
    for scene_id, kind, value, duration in rows:
        hashes[scene_id].append(FileHash(kind, value, duration))
    return hashes


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
