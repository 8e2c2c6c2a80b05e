"""The generate job."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.stash.errors import ApiError
from sandbox.stash.faults import Faults
from sandbox.stash.filters import Input
from sandbox.stash.finding import number
from sandbox.stash.jobs import Job
from sandbox.stash.library import Library, Row
from sandbox.stash.media import (
    MediaError,
    perceptual_hash,
    write_cover,
    write_frame,
    write_image_preview,
    write_preview,
    write_sprite,
)
from sandbox.stash.outputs import Outputs

_DEFAULT_SEGMENTS = 12
_MARKER_FLAGS = ("markers", "markerImagePreviews", "markerScreenshots")


@dataclass(frozen=True)
class Item:
    """One thing to make: `kind` and `subject` word the sub-task."""

    kind: str
    subject: str
    make: Callable[[], None]


@dataclass(frozen=True)
class SceneFile:
    """The primary file of a scene to make media for."""

    scene_id: int
    title: str
    path: Path
    oshash: str


class Generator:
    """Makes media for scenes and markers of a library."""

    def __init__(self, library: Library, faults: Faults) -> None:
        self._library = library
        self._faults = faults
        self._outputs = Outputs(library.generated)

    def run(self, job: Job, given: Input) -> None:
        """Make what a GenerateMetadataInput asks for.

        The job ends well whatever happens to its items. When nothing is to be made,
        or one of the ids is unknown, its progress stays null.
        """
        job.progress = None
        try:
            items = list(self.items(given))
        except ApiError as error:
            self._library.log("Error", str(error))
            return
        self.make(job, items)

    def make(self, job: Job, items: list[Item]) -> None:
        """Make items one after the other.

        A stop lets the one at work and one more end, as those that wait for a slot in
        the real server do.
        """
        last_chances = 1
        for done, item in enumerate(items):
            if job.stopped.is_set():
                if not last_chances:
                    return
                last_chances -= 1
            job.progress = done / len(items)
            with job.sub_task(f"Generating {item.kind} for {item.subject}"):
                self._faults.pause(job)
                self.make_one(item)
            job.progress = (done + 1) / len(items)

    def items(self, given: Input) -> Iterator[Item]:
        """Yield what is asked for and not there yet.

        Raises:
            ApiError: An id is no number.
        """
        scene_ids = [number(i) for i in given.get("sceneIDs") or []]
        marker_ids = [number(i) for i in given.get("markerIDs") or []]
        if not scene_ids and not marker_ids:
            # Nothing named means everything: the trap of the real server.
            scene_ids = self._library.ids("SELECT id FROM scenes ORDER BY id")
        elif not self._all_known(scene_ids):
            return
        for scene in self._scenes(scene_ids):
            yield from self._scene_items(scene, given)
        for marker_id in marker_ids:
            if not self._library.value(
                "SELECT 1 FROM scene_markers WHERE id = ?", [marker_id]
            ):
                raise ApiError(f"scene marker with id {marker_id} not found")
            yield from self._marker_items("id = ?", marker_id, given)

    def _all_known(self, scene_ids: list[int]) -> bool:
        found = self._library.value(
            "SELECT COUNT(*) FROM scenes WHERE id IN (SELECT value FROM json_each(?))",
            [json.dumps(scene_ids)],
        )
        return bool(found == len(set(scene_ids)))

    def _scenes(self, scene_ids: list[int]) -> list[SceneFile]:
        rows = self._library.rows(
            "SELECT scene_id, title, path, value FROM scenes "
            "JOIN scenes_files ON scene_id = scenes.id AND position = 0 "
            "JOIN files ON files.id = file_id "
            "JOIN fingerprints USING (file_id) WHERE type = 'oshash' "
            "AND scene_id IN (SELECT value FROM json_each(?)) ORDER BY scene_id",
            [json.dumps(scene_ids)],
        )
        return [SceneFile(row[0], row[1], Path(row[2]), row[3]) for row in rows]

    def _scene_items(self, scene: SceneFile, given: Input) -> Iterator[Item]:
        overwrite = bool(given.get("overwrite"))
        path, outputs = scene.path, self._outputs
        preview = outputs.preview(scene.oshash)
        webp = outputs.image_preview(scene.oshash)
        sprite, vtt = outputs.sprite(scene.oshash), outputs.vtt(scene.oshash)

        def is_wanted(name: str, *targets: Path) -> bool:
            lacking = not all(target.exists() for target in targets)
            return bool(given.get(name)) and (overwrite or lacking)

        if is_wanted("covers", outputs.cover(scene.scene_id)):
            subject = scene.title or str(path)
            yield Item("cover", subject, lambda: self._make_cover(scene))
        if is_wanted("sprites", sprite, vtt):
            yield Item("sprites", str(path), lambda: write_sprite(path, sprite, vtt))
        if is_wanted("previews", preview):
            options = given.get("previewOptions") or {}
            segments = options.get("previewSegments") or _DEFAULT_SEGMENTS
            yield Item(
                "preview", str(path), lambda: write_preview(path, preview, segments)
            )
        if given.get("previews") and is_wanted("imagePreviews", webp):
            yield Item(
                "image preview", str(path), lambda: write_image_preview(path, webp)
            )
        if any(given.get(flag) for flag in _MARKER_FLAGS):
            yield from self._marker_items("scene_id = ?", scene.scene_id, given)
        if given.get("phashes"):
            yield from self._phash_items(scene.scene_id, overwrite)

    def _phash_items(self, scene_id: int, overwrite: bool) -> Iterator[Item]:
        rows = self._library.rows(
            "SELECT file_id, path, EXISTS (SELECT 1 FROM fingerprints AS f "
            "WHERE f.file_id = s.file_id AND type = 'phash') "
            "FROM scenes_files AS s JOIN files ON files.id = file_id "
            "WHERE scene_id = ? ORDER BY position",
            [scene_id],
        )
        for file_id, path, has_phash in rows:
            if overwrite or not has_phash:
                yield Item("phash", path, _bound(self._make_phash, file_id, path))

    def _marker_items(self, condition: str, value: int, given: Input) -> Iterator[Item]:
        """Yield one item for all markers, even if there is nothing to make for them."""
        rows = self._library.rows(
            "SELECT seconds, path, duration, value FROM scene_markers "
            "JOIN scenes_files USING (scene_id) JOIN files ON files.id = file_id "
            "JOIN fingerprints USING (file_id) WHERE position = 0 AND type = 'oshash' "
            f"AND scene_markers.{condition} ORDER BY scene_markers.id",
            [value],
        )
        if rows:
            path = rows[0][1]
            yield Item("markers", path, lambda: self._make_markers(rows, given))

    def _make_markers(self, rows: Sequence[Row], given: Input) -> None:
        kinds = [
            (".mp4", "markers", _write_marker_video),
            (".webp", "markerImagePreviews", _write_marker_webp),
            (".jpg", "markerScreenshots", write_frame),
        ]
        for seconds, path, duration, oshash in rows:
            if seconds > duration:
                message = (
                    f"scene marker at {seconds:.2f} seconds exceeds video duration"
                )
                self._library.log("Warning", f"{message} of {duration:.2f}, skipping")
                continue
            for suffix, flag, write in kinds:
                target = self._outputs.marker(oshash, seconds, suffix)
                if given.get(flag) and (given.get("overwrite") or not target.exists()):
                    write(Path(path), target, seconds)

    def make_one(self, item: Item) -> None:
        """Make an item; a failure goes to the log and nowhere else."""
        try:
            if self._faults.fails(item.kind, item.subject):
                raise MediaError("exit status 1")
            item.make()
        except MediaError as error:
            # As in the real server, nothing but the log tells of it.
            self._library.log("Error", f"Error generating {item.kind}: {error}")

    def _make_cover(self, scene: SceneFile) -> None:
        write_cover(scene.path, self._outputs.cover(scene.scene_id))
        with self._library.transaction() as writer:
            writer.run("INSERT OR IGNORE INTO covers VALUES (?)", [scene.scene_id])
            writer.update("scenes", [scene.scene_id], {"updated_at": writer.now})

    def _make_phash(self, file_id: int, path: str) -> None:
        value = perceptual_hash(Path(path))
        with self._library.transaction() as writer:
            writer.run(
                "INSERT OR REPLACE INTO fingerprints VALUES (?, 'phash', ?)",
                [file_id, value],
            )


def _bound(make: Callable[..., None], *arguments: object) -> Callable[[], None]:
    return lambda: make(*arguments)


def _write_marker_video(video: Path, target: Path, seconds: float) -> None:
    write_preview(video, target, segments=2)


def _write_marker_webp(video: Path, target: Path, seconds: float) -> None:
    write_image_preview(video, target)
