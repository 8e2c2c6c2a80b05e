"""The scan job: from folders to files and scenes."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sandbox.stash.faults import Faults
from sandbox.stash.filters import Input
from sandbox.stash.generating import Generator, Item
from sandbox.stash.jobs import Job
from sandbox.stash.library import Library, Writer
from sandbox.stash.media import MediaError, VideoFacts, probe
from sandbox.stash.outputs import Outputs
from stashhog_core.hashing import oshash
from stashhog_core.settings import STASH_VIDEO_EXTENSIONS

_VIDEO_SUFFIXES = frozenset(f".{extension}" for extension in STASH_VIDEO_EXTENSIONS)
_CAPTION_SUFFIXES = (".srt", ".vtt")
_GENERATE_FLAGS = {
    "scanGenerateCovers": "covers",
    "scanGeneratePreviews": "previews",
    "scanGenerateImagePreviews": "imagePreviews",
    "scanGenerateSprites": "sprites",
    "scanGeneratePhashes": "phashes",
}


class Scanner:
    """Walks the library's folders and keeps files and scenes up to date."""

    def __init__(
        self,
        library: Library,
        folders: Callable[[], Sequence[Path]],
        faults: Faults,
        generator: Generator,
    ) -> None:
        self._library = library
        self._folders = folders
        self._faults = faults
        self._generator = generator
        self._outputs = Outputs(library.generated)

    def run(self, job: Job, given: Input) -> None:
        """Scan; the job ends well whatever the paths and files are like."""
        job.progress = None
        since = given.get("filter") or {}
        oldest = since.get("minModTime")
        with job.sub_task("Walking directory tree"):
            wanted = self._existing(given.get("paths") or map(str, self._folders()))
            paths = [
                path
                for path in dict.fromkeys(p for w in wanted for p in self._walked(w))
                if oldest is None or _is_newer(path, oldest)
            ]
        flags = {
            kind: True for flag, kind in _GENERATE_FLAGS.items() if given.get(flag)
        }
        total, done = len(paths), 0
        for path in paths:
            if job.stopped.is_set():
                return
            job.progress = done / total
            scene_id = None
            with job.sub_task(f"Scanning {_text(path)}"):
                self._faults.pause(job)
                try:
                    scene_id = self._scan(path, rescan=bool(given.get("rescan")))
                except (MediaError, OSError) as error:
                    self._library.log(
                        "Error", _text(f"error processing {path}: {error}")
                    )
            done += 1
            job.progress = done / total
            if scene_id is not None and flags:
                items = list(self._generator.items({"sceneIDs": [scene_id], **flags}))
                # The total grows while the scan goes on, so progress goes back too.
                total += len(items)
                for item in items:
                    self._generate(job, item)
                    done += 1
                    job.progress = done / total

    def _existing(self, texts: Iterable[str]) -> list[Path]:
        """Return the paths that may be walked; the others go to the log."""
        found = []
        for text in texts:
            path = Path(text)
            is_inside = any(path.is_relative_to(folder) for folder in self._folders())
            if not text or not is_inside:
                message = f"{text} is not in the configured stash paths"
                self._library.log("Warning", message)
            elif not path.exists() or (path.is_file() and text.endswith("/")):
                message = f"error scanning {text}: lstat {text}: no such file"
                self._library.log("Error", message)
            else:
                found.append(path)
        return found

    def _walked(self, path: Path) -> Iterator[Path]:
        """Yield the videos below a folder, and note all folders on the way."""
        if path.is_file():
            if path.suffix.lower() in _VIDEO_SUFFIXES:
                yield path
            return
        entries = sorted(path.iterdir())
        with self._library.transaction() as writer:
            known = "SELECT 1 FROM folders WHERE path = ?"
            if not self._library.value(known, [_text(path)]):
                if (renamed := self._renamed(entries)) is not None:
                    _rename(writer, renamed, _text(path))
                writer.run("INSERT OR IGNORE INTO folders VALUES (?)", [_text(path)])
        for entry in entries:
            if entry.is_dir() or entry.is_file():
                yield from self._walked(entry)

    def _renamed(self, entries: Sequence[Path]) -> str | None:
        """Return the folder that now has another name and these files.

        The real server takes a folder that is gone for it if half of its files are
        here: with the same name, size and time.
        """
        found: Counter[str] = Counter()
        for entry in entries:
            if not entry.is_file():
                continue
            stat = entry.stat()
            mod_time = self._library.clock.from_timestamp(stat.st_mtime)
            for (path,) in self._library.rows(
                "SELECT path FROM files WHERE basename = ? AND size = ? "
                "AND mod_time = ?",
                [_text(entry.name), stat.st_size, mod_time],
            ):
                found[str(Path(path).parent)] += 1
        for folder, number in found.most_common():
            files = self._library.value(
                "SELECT COUNT(*) FROM files WHERE path = ? || '/' || basename", [folder]
            )
            if number >= files // 2 and not Path(folder).exists():
                return folder
        return None

    def _generate(self, job: Job, item: Item) -> None:
        with job.sub_task(f"Generating {item.kind} for {item.subject}"):
            self._faults.pause(job)
            self._generator.make_one(item)

    def _scan(self, path: Path, *, rescan: bool) -> int | None:
        """Take up one file; return its scene if the file is new or has changed."""
        stat = path.stat()
        mod_time = self._library.clock.from_timestamp(stat.st_mtime)
        if not stat.st_size:
            self._library.log("Info", f"Skipping zero-length file: {_text(path)}")
            return None
        known = self._library.rows(
            "SELECT id, mod_time, size FROM files WHERE path = ?", [_text(path)]
        )
        if known:
            self._note_captions(path, known[0][0])
            self._note_funscript(path, known[0][0])
            if self._scene_of(known[0][0]) is None:
                # Its scene was destroyed and the file was kept.
                return self._give_scene(known[0][0])
            if not rescan and known[0][1:] == (mod_time, stat.st_size):
                return None
        elif not self._library.value(
            "SELECT 1 FROM folders WHERE path = ?", [_text(path.parent)]
        ):
            raise MediaError(f'parent folder for "{path}" doesn\'t exist')
        facts = probe(path)
        columns = {
            "basename": _text(path.name),
            "size": stat.st_size,
            "mod_time": mod_time,
            "interactive": int(_has_funscript(path)),
            **_columns(facts),
        }
        content = oshash(path)
        with self._library.transaction() as writer:
            if known:
                return self._replace(writer, known[0][0], content, columns)
            return self._add(writer, path, content, columns)

    def _give_scene(self, file_id: int) -> int:
        with self._library.transaction() as writer:
            stamps = {"created_at": writer.now, "updated_at": writer.now}
            scene_id = writer.insert("scenes", stamps)
            link = {"scene_id": scene_id, "file_id": file_id, "position": 0}
            writer.insert("scenes_files", link)
        return scene_id

    def _note_captions(self, path: Path, file_id: int) -> None:
        """Take up subtitles: only of files known before, as in the real server."""
        columns = ("language_code", "caption_type", "filename")
        now = sorted(_captions(path))
        before = self._library.rows(
            f"SELECT {', '.join(columns)} FROM captions WHERE file_id = ?", [file_id]
        )
        if now != sorted(before):
            with self._library.transaction() as writer:
                writer.run("DELETE FROM captions WHERE file_id = ?", [file_id])
                for values in now:
                    row = dict(zip(columns, values, strict=True))
                    writer.insert("captions", {"file_id": file_id, **row})

    def _note_funscript(self, path: Path, file_id: int) -> None:
        """Take up a funscript that came or went; no time of change moves."""
        now = int(_has_funscript(path))
        with self._library.transaction() as writer:
            writer.run(
                "UPDATE files SET interactive = ? WHERE id = ? AND interactive <> ?",
                [now, file_id, now],
            )

    def _replace(
        self, writer: Writer, file_id: int, content: str, columns: dict[str, Any]
    ) -> int | None:
        """Keep file and scene; a perceptual hash goes stale, as in the real server."""
        before = self._library.value(
            "SELECT value FROM fingerprints WHERE file_id = ? AND type = 'oshash'",
            [file_id],
        )
        writer.update("files", [file_id], {**columns, "updated_at": writer.now})
        if before != content:
            writer.run(
                "UPDATE fingerprints SET value = ? "
                "WHERE file_id = ? AND type = 'oshash'",
                [content, file_id],
            )
            self._outputs.rename(before, content)
        return self._scene_of(file_id)

    def _add(
        self, writer: Writer, path: Path, content: str, columns: dict[str, Any]
    ) -> int | None:
        same = self._library.rows(
            "SELECT files.id, path FROM files JOIN fingerprints ON file_id = files.id "
            "WHERE type = 'oshash' AND value = ? ORDER BY files.id",
            [content],
        )
        for file_id, old_path in same:
            if not Path(old_path).exists():
                self._library.log(
                    "Info", f"{old_path} moved to {_text(path)}. Updating..."
                )
                moved = {"path": _text(path), **columns, "updated_at": writer.now}
                writer.update("files", [file_id], moved)
                return None
        stamps = {"created_at": writer.now, "updated_at": writer.now}
        file_id = writer.insert("files", {"path": _text(path), **columns, **stamps})
        writer.run(
            "INSERT INTO fingerprints VALUES (?, 'oshash', ?)", [file_id, content]
        )
        scene_id = self._scene_of(same[0][0]) if same else None
        if scene_id is None:
            scene_id = writer.insert("scenes", stamps)
        else:
            writer.update("scenes", [scene_id], {"updated_at": writer.now})
        position = self._library.value(
            "SELECT COUNT(*) FROM scenes_files WHERE scene_id = ?", [scene_id]
        )
        link = {"scene_id": scene_id, "file_id": file_id, "position": position}
        writer.insert("scenes_files", link)
        return scene_id

    def _scene_of(self, file_id: int) -> int | None:
        scene_id: int | None = self._library.value(
            "SELECT scene_id FROM scenes_files WHERE file_id = ?", [file_id]
        )
        return scene_id


def _rename(writer: Writer, old: str, new: str) -> None:
    """Give a folder, and all in it, another path; no time of change moves."""
    for table in ("folders", "files"):
        writer.run(
            f"UPDATE {table} SET path = ? || substr(path, ?) "
            "WHERE path = ? OR substr(path, 1, ?) = ?",
            [new, len(old) + 1, old, len(old) + 1, f"{old}/"],
        )


def _text(path: Path | str) -> str:
    """Return a path as the real server shows it: bytes that are not UTF-8 are lost."""
    return os.fsencode(path).decode("utf-8", "replace")


def _has_funscript(path: Path) -> bool:
    return path.with_suffix(".funscript").exists()


def _is_newer(path: Path, oldest: str) -> bool:
    moment = datetime.fromisoformat(oldest)
    return path.stat().st_mtime >= moment.timestamp()


def _columns(facts: VideoFacts) -> dict[str, Any]:
    return {
        "duration": facts.duration,
        "format": facts.format,
        "video_codec": facts.video_codec,
        "audio_codec": facts.audio_codec,
        "width": facts.width,
        "height": facts.height,
        "frame_rate": facts.frame_rate,
        "bit_rate": facts.bit_rate,
    }


def _captions(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (language, kind, name) of the subtitle files beside a video.

    `name.en.srt` is English; of `name.srt` the language is not known: "00".
    """
    for other in sorted(path.parent.glob(f"{_literal(path.stem)}.*")):
        if other.suffix.lower() in _CAPTION_SUFFIXES:
            middle = other.name[len(path.stem) + 1 : -len(other.suffix)]
            if not middle or re.fullmatch("[a-z]{2,3}", middle):
                yield middle or "00", other.suffix[1:].lower(), _text(other.name)


def _literal(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
