"""The auto-tag job: tags, performers and studios whose names stand in a path."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sandbox.stash.errors import ApiError
from sandbox.stash.faults import Faults
from sandbox.stash.filters import Input
from sandbox.stash.finding import number
from sandbox.stash.jobs import Job
from sandbox.stash.library import Library, Writer

_ALL = "*"
_KINDS = ("performer", "studio", "tag")
_LINKS = {
    "performer": ("performers_scenes", "performer_id"),
    "tag": ("scenes_tags", "tag_id"),
}


class AutoTagger:
    """Adds what a path names to its scene, unless the scene is organized.

    Names match whole words, with or without separators between their own words.
    Aliases count for tags and studios, and not for performers.
    """

    def __init__(self, library: Library, faults: Faults) -> None:
        self._library = library
        self._faults = faults

    def run(self, job: Job, given: Input) -> None:
        """Tag; ids that there are not end up in the log, and the job ends well."""
        job.progress = None
        wanted = {kind: given.get(f"{kind}s") or [] for kind in _KINDS}
        below = [Path(path) for path in given.get("paths") or ()]
        if all(not ids or ids[0] == _ALL for ids in wanted.values()):
            self._by_file(job, [kind for kind in _KINDS if wanted[kind]], below)
        else:
            self._by_object(job, wanted, below)

    def _by_file(self, job: Job, kinds: Sequence[str], below: Sequence[Path]) -> None:
        scenes = self._scenes(below)
        for done, (scene_id, path) in enumerate(scenes, 1):
            if job.stopped.is_set():
                self._library.log("Info", "Stopping auto-tag due to user request")
                return
            self._faults.pause(job)
            for kind in kinds:
                found = [
                    (position, row_id)
                    for row_id in self._usable(kind)
                    if (position := _position(self._names(kind, row_id), path)) >= 0
                ]
                if kind == "studio":
                    # The one that stands last.
                    found = sorted(found)[-1:]
                for _, row_id in found:
                    self._add(kind, row_id, scene_id)
            job.progress = done / len(scenes)

    def _by_object(
        self, job: Job, wanted: dict[str, list[str]], below: Sequence[Path]
    ) -> None:
        counts = [
            len(self._usable(kind)) if ids == [_ALL] else len(ids)
            for kind, ids in wanted.items()
        ]
        total, done = sum(counts), 0
        job.progress = 0 if total else None
        for kind, ids in wanted.items():
            for text in ids:
                for row_id in self._named(kind, text):
                    if job.stopped.is_set():
                        return
                    self._faults.pause(job)
                    names = self._names(kind, row_id)
                    for scene_id, path in self._scenes(below):
                        if _position(names, path) >= 0:
                            self._add(kind, row_id, scene_id)
                    done += 1
                    job.progress = done / total

    def _named(self, kind: str, text: str) -> list[int]:
        """Return the rows that an id of the input stands for."""
        if text == _ALL:
            return self._usable(kind)
        try:
            row_id = number(text)
        except ApiError as error:
            self._library.log(
                "Error", f"auto-tag error: parsing {kind} id {text}: {error}"
            )
            return []
        if self._library.value(f"SELECT 1 FROM {kind}s WHERE id = ?", [row_id]) is None:
            self._library.log(
                "Error", f"auto-tag error: {kind} with id {text} not found"
            )
        return [row_id] if row_id in self._usable(kind) else []

    def _usable(self, kind: str) -> list[int]:
        return self._library.ids(
            f"SELECT id FROM {kind}s WHERE NOT ignore_auto_tag ORDER BY id"
        )

    def _names(self, kind: str, row_id: int) -> list[str]:
        names: list[str] = [
            self._library.value(f"SELECT name FROM {kind}s WHERE id = ?", [row_id])
        ]
        if kind != "performer":
            rows = self._library.rows(
                f"SELECT alias FROM {kind}_aliases WHERE {kind}_id = ?", [row_id]
            )
            names += [alias for (alias,) in rows]
        return names

    def _scenes(self, below: Sequence[Path]) -> list[tuple[int, str]]:
        rows = self._library.rows(
            "SELECT scenes.id, path FROM scenes "
            "JOIN scenes_files ON scene_id = scenes.id AND position = 0 "
            "JOIN files ON files.id = file_id WHERE NOT organized ORDER BY scenes.id"
        )
        return [
            (scene_id, path)
            for scene_id, path in rows
            if not below or any(Path(path).is_relative_to(folder) for folder in below)
        ]

    def _add(self, kind: str, row_id: int, scene_id: int) -> None:
        with self._library.transaction() as writer:
            if _is_added(writer, kind, row_id, scene_id):
                writer.update("scenes", [scene_id], {"updated_at": writer.now})
                self._library.log("Info", f"Added {kind} {row_id} to scene {scene_id}")


def _is_added(writer: Writer, kind: str, row_id: int, scene_id: int) -> bool:
    """Link a row to a scene; return whether that is new. A studio never replaces."""
    if kind == "studio":
        return bool(
            writer.run(
                "UPDATE scenes SET studio_id = ? WHERE id = ? AND studio_id IS NULL",
                [row_id, scene_id],
            )
        )
    table, column = _LINKS[kind]
    return bool(
        writer.run(
            f"INSERT OR IGNORE INTO {table} (scene_id, {column}) VALUES (?, ?)",
            [scene_id, row_id],
        )
    )


def _position(names: Iterable[str], path: str) -> int:
    """Return where one of the names stands last in a path; -1: nowhere."""
    found = -1
    for name in names:
        words = r"[.\-_ ]*".join(re.escape(word) for word in name.lower().split(" "))
        edge = r"(?:^|$|[\W_])"
        for match in re.finditer(rf"(?=({edge}{words}{edge}))", path.lower()):
            found = max(found, match.start())
    return found
