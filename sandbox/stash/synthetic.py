"""A made-up library of any size, the same for the same size."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sandbox.stash.library import Library, Writer

_TAGS = 300
_PERFORMERS = 400
_STUDIOS = 50
_MARKED_SHARE = 5
"""Every so-manieth scene has two markers."""

_CHUNK = 5000
_STAMP = "2026-01-01T00:00:00Z"


def fill(library: Library, scenes: int, folder: Path) -> None:
    """Fill an empty library; one that has scenes stays as it is."""
    if library.value("SELECT 1 FROM scenes LIMIT 1"):
        return
    with library.transaction() as writer:
        _named(writer)
        for first in range(1, scenes + 1, _CHUNK):
            last = min(first + _CHUNK, scenes + 1)
            _scenes(writer, range(first, last), folder)
        writer.run(_FOLDERS)


_FOLDERS = """
INSERT OR IGNORE INTO folders
SELECT DISTINCT rtrim(rtrim(path, replace(path, '/', '')), '/') FROM files
"""


def _named(writer: Writer) -> None:
    stamps = (_STAMP, _STAMP)
    writer.many(
        "INSERT INTO tags (id, name, created_at, updated_at) VALUES (?, ?, ?, ?)",
        ((i, f"Tag {i:04d}", *stamps) for i in range(1, _TAGS + 1)),
    )
    writer.many(
        "INSERT INTO tag_aliases (tag_id, alias) VALUES (?, ?)",
        ((i, f"Label {i:04d}") for i in range(1, _TAGS + 1, 3)),
    )
    writer.many(
        "INSERT INTO tags_relations (parent_id, child_id) VALUES (?, ?)",
        ((i // 10 + 1, i) for i in range(40, _TAGS + 1, 2)),
    )
    writer.many(
        "INSERT INTO performers (id, name, created_at, updated_at) VALUES (?, ?, ?, ?)",
        ((i, f"Performer {i:04d}", *stamps) for i in range(1, _PERFORMERS + 1)),
    )
    writer.many(
        "INSERT INTO performer_aliases (performer_id, alias) VALUES (?, ?)",
        ((i, f"P. {i:04d}") for i in range(1, _PERFORMERS + 1, 4)),
    )
    writer.many(
        "INSERT INTO studios (id, name, parent_id, created_at, updated_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (
            (i, f"Studio {i:03d}", i % 5 + 1 if i > 10 else None, *stamps)
            for i in range(1, _STUDIOS + 1)
        ),
    )


def _scenes(writer: Writer, ids: range, folder: Path) -> None:
    made = [_Scene(i, folder) for i in ids]

    def insert(table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(columns.split(",")))
        writer.many(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)

    insert(
        "scenes",
        "id, title, details, date, rating, organized, studio_id, "
        "created_at, updated_at",
        (scene.row for scene in made),
    )
    insert(
        "files",
        "id, path, basename, size, mod_time, duration, format, video_codec, "
        "audio_codec, width, height, frame_rate, bit_rate, created_at, updated_at",
        (scene.file_row for scene in made),
    )
    insert(
        "fingerprints",
        "file_id, type, value",
        (row for scene in made for row in scene.fingerprint_rows),
    )
    insert(
        "scenes_files", "scene_id, file_id, position", ((s.id, s.id, 0) for s in made)
    )
    insert(
        "scenes_tags", "scene_id, tag_id", ((s.id, tag) for s in made for tag in s.tags)
    )
    insert(
        "performers_scenes",
        "scene_id, performer_id",
        ((s.id, who) for s in made for who in s.performers),
    )
    insert(
        "scene_urls",
        "scene_id, position, url",
        ((s.id, 0, f"https://example.invalid/scenes/{s.id}") for s in made),
    )
    insert(
        "scene_markers",
        "title, seconds, scene_id, primary_tag_id, created_at, updated_at",
        (row for scene in made for row in scene.marker_rows),
    )


class _Scene:
    """One scene; every number in it follows from its id."""

    def __init__(self, scene_id: int, folder: Path) -> None:
        chance = random.Random(scene_id)
        self.id = scene_id
        # Rows were not all touched in one second: a day's worth of them at a time.
        day, second = divmod(scene_id * 7, 86_400)
        hour, rest = divmod(second, 3600)
        stamp = (
            f"2026-{day // 28 % 12 + 1:02d}-{day % 28 + 1:02d}"
            f"T{hour:02d}:{rest // 60:02d}:{rest % 60:02d}Z"
        )
        height = chance.choice((480, 720, 1080, 2160))
        duration = round(chance.uniform(30, 3600), 2)
        studio = chance.randint(1, _STUDIOS) if chance.random() < 0.8 else None
        self.tags = chance.sample(range(1, _TAGS + 1), chance.randint(0, 9))
        self.performers = chance.sample(range(1, _PERFORMERS + 1), chance.randint(0, 3))
        self._hash = f"{chance.getrandbits(64):016x}"
        self._phash = f"{chance.getrandbits(64):x}"
        self._stamp = stamp
        self.row = (
            scene_id,
            f"Scene number {scene_id}",
            f"Made-up details of scene {scene_id}.",
            stamp[:10],
            chance.choice((None, 20, 60, 100)),
            scene_id % 7 == 0,
            studio,
            stamp,
            stamp,
        )
        name = f"scene-{scene_id:07d}.mp4"
        self.file_row = (
            scene_id,
            str(folder / f"{scene_id // 1000:04d}" / name),
            name,
            int(duration * 250_000),
            stamp,
            duration,
            "mp4",
            "h264",
            "aac",
            height * 16 // 9,
            height,
            chance.choice((24.0, 25.0, 29.97, 60.0)),
            2_000_000,
            stamp,
            stamp,
        )

    @property
    def fingerprint_rows(self) -> Iterator[tuple[Any, ...]]:
        yield self.id, "oshash", self._hash
        if self.id % 3:
            yield self.id, "phash", self._phash

    @property
    def marker_rows(self) -> Iterator[tuple[Any, ...]]:
        if self.id % _MARKED_SHARE == 0:
            for seconds in (5.5, 20.0):
                tag = self.id % _TAGS + 1
                stamp = self._stamp
                yield "Marker", seconds, self.id, tag, stamp, stamp
