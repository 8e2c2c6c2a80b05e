"""Probing one file, in a worker process that may crash or be killed."""

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from av.error import FFmpegError

from stashhog_core.errors import ItemError
from stashhog_core.file_index.artwork import Artwork
from stashhog_core.file_index.walk import signed
from stashhog_core.hashing import oshash_of_open
from stashhog_core.media.headers import (
    UNREADABLE,
    VideoFacts,
    read_facts,
    reason,
)
from stashhog_core.media.phash import phash
from stashhog_core.media.pictures import rotation_of, sprite_sheet, thumbnail
from stashhog_core.media.sampler import Sampler
from stashhog_core.paths import to_bytes, to_text

OUT_OF_MEMORY = "Reading the file takes more memory than a worker process may use"
logger = logging.getLogger(__name__)

Verdict = Literal[
    "video", "same", "unreadable", "vanished", "changed", "interrupted", "failed"
]


@dataclass(frozen=True)
class ProbeRequest:
    """A file to probe.

    `known_hashes`: when the file has one of them, nothing else need be read: it was
    only touched, or moved here from where it is gone.
    """

    id: int
    path: str
    size_bytes: int
    mtime_ns: int
    is_new: bool = True
    known_hashes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What is made of each video, and where the pictures go."""

    folder: Path
    thumbnails: bool = True
    sprites: bool = False
    phashes: bool = False


@dataclass(frozen=True)
class ProbeOutcome:
    """What was found.

    Verdicts: video; same (it has a known hash); unreadable (with the problem); vanished
    before it was opened; changed while it was read, so nothing is stored; interrupted:
    the process that read it was ended, and the file is not to blame; failed: the system
    refused to read it (with the problem), which says nothing about its content.
    """

    id: int
    path: str
    verdict: Verdict
    problem: str | None = None
    oshash: str | None = None
    phash: int | None = None
    facts: VideoFacts | None = None
    rotation: int | None = None
    thumbnail_path: str | None = None
    sprite_path: str | None = None
    warnings: tuple[str, ...] = field(default=())


def probe_file(request: ProbeRequest, wanted: Wanted) -> ProbeOutcome:
    """Open a file once and read all that is wanted of it."""
    try:
        # Should a pipe have taken the file's place meanwhile, this does not wait.
        descriptor = os.open(
            to_bytes(request.path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        )
    except FileNotFoundError:
        return ProbeOutcome(request.id, request.path, "vanished")
    except OSError as error:
        return _failed(request, f"The file cannot be opened: {error.strerror}")
    try:
        return _probe_open(request, wanted, descriptor)
    except OSError as error:
        where = f" ({to_text(os.fsdecode(error.filename))})" if error.filename else ""
        return _failed(request, f"The file cannot be read: {error.strerror}{where}")
    except MemoryError:
        return _unreadable(request, OUT_OF_MEMORY)
    finally:
        os.close(descriptor)


def _probe_open(request: ProbeRequest, wanted: Wanted, descriptor: int) -> ProbeOutcome:
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        return _unreadable(request, "This is not a regular file")
    if _key(before) != (request.size_bytes, request.mtime_ns):
        return ProbeOutcome(request.id, request.path, "changed")
    if not request.size_bytes:
        return _unreadable(request, "The file is empty")
    content = oshash_of_open(descriptor)
    if content in request.known_hashes:
        return ProbeOutcome(request.id, request.path, "same", oshash=content)
    try:
        found = _read(request, wanted, descriptor, content)
    except ItemError as error:
        found = _unreadable(request, f"{UNREADABLE}: {error}", content)
    except (FFmpegError, ValueError) as error:
        problem = f"{UNREADABLE}: {reason(error)}"
        found = _unreadable(request, problem, content)
    if _key(os.fstat(descriptor)) != _key(before):
        return ProbeOutcome(request.id, request.path, "changed")
    return found


def _read(
    request: ProbeRequest, wanted: Wanted, descriptor: int, content: str
) -> ProbeOutcome:
    artwork = Artwork(wanted.folder, content)
    made: dict[str, Any] = {}
    warnings: list[str] = []
    with Sampler(f"/dev/fd/{descriptor}") as sampler:
        facts = read_facts(sampler.container, sampler.stream, request.size_bytes)
        duration = facts.duration_seconds
        if wanted.thumbnails:
            with _or_warning("thumbnail", request, warnings):
                picture = thumbnail(sampler, duration)
                made["thumbnail_path"] = artwork.keep_thumbnail(picture.jpeg)
                made["rotation"] = picture.rotation
        else:
            with _or_warning("rotation", request, []):
                made["rotation"] = rotation_of(sampler)
        if wanted.phashes:
            with _or_warning("perceptual hash", request, warnings):
                made["phash"] = signed(phash(sampler, duration))
        if wanted.sprites:
            with _or_warning("sprites", request, warnings):
                sheet = sprite_sheet(sampler, duration)
                made["sprite_path"] = artwork.keep_sprites(sheet)
    return ProbeOutcome(
        request.id,
        request.path,
        "video",
        oshash=content,
        facts=facts,
        warnings=tuple(warnings),
        **made,
    )


@contextmanager
def _or_warning(
    what: str, request: ProbeRequest, warnings: list[str]
) -> Iterator[None]:
    """Turn the failure to make a picture into a warning: the file's facts are kept.

    A picture that cannot be written is no property of the file, and is passed on.
    """
    try:
        yield
    except (ItemError, FFmpegError, ValueError) as error:
        warnings.append(f"No {what}: {reason(error)}")
    except (OSError, MemoryError):
        raise
    except Exception as error:
        logger.exception("Could not make the %s of %s", what, request.path)
        warnings.append(f"No {what}: {type(error).__name__}: {error}")


def _key(facts: os.stat_result) -> tuple[int, int]:
    # No inode number: pools give one file another number each time it is opened.
    return facts.st_size, signed(facts.st_mtime_ns)


def _failed(request: ProbeRequest, problem: str) -> ProbeOutcome:
    return ProbeOutcome(request.id, request.path, "failed", problem=problem)


def _unreadable(
    request: ProbeRequest, problem: str, content: str | None = None
) -> ProbeOutcome:
    return ProbeOutcome(
        request.id, request.path, "unreadable", problem=problem, oshash=content
    )
