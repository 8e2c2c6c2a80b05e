"""Probing one file, in a worker process that may crash or be killed."""

import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from stashhog_core.media.sampler import OutOfTimeError, Sampler
from stashhog_core.paths import to_bytes, to_text

FILE_LIMIT_SECONDS = 30.0
"""Longest time for one file, unless a scan allows more."""

KILL_SECONDS = 4.0
"""Longest time that it takes to end a worker."""

OUT_OF_MEMORY = "Reading the file takes more memory than a worker process may use"

# In the rest of a file's time, the worker ends what it is at and hands over the facts.
_SHARE_OF_PICTURES = 0.8

_OPTIONS = {
    "thumbnails": "thumbnail",
    "sprites": "sprites",
    "phashes": "perceptual hash",
}
_MORE_TIME = "A scan with a higher file_timeout_seconds tries again"
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
    """What is made of each video, and where the pictures go.

    `pictures`: false if only what the headers say is wanted. `file_limit_seconds` is
    the longest time for one file, killing its worker included.
    """

    folder: Path
    thumbnails: bool = True
    sprites: bool = False
    phashes: bool = False
    pictures: bool = True
    file_limit_seconds: float = FILE_LIMIT_SECONDS

    @property
    def options(self) -> dict[str, str]:
        """Return the fields of what is made, each with the words for it."""
        return {name: words for name, words in _OPTIONS.items() if getattr(self, name)}


@dataclass(frozen=True)
class ProbeOutcome:
    """What was found.

    `not_made` holds each option that failed, and the number of seconds that the file
    was allowed if the time was too short.

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
    warnings: tuple[str, ...] = ()
    not_made: dict[str, float | None] = field(default_factory=dict)


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
    failures = _Failures(request, wanted)
    seconds = _SHARE_OF_PICTURES * (wanted.file_limit_seconds - KILL_SECONDS)
    deadline = time.monotonic() + seconds
    with Sampler(f"/dev/fd/{descriptor}", deadline=deadline) as sampler:
        facts = read_facts(sampler.container, sampler.stream, request.size_bytes)
        duration = facts.duration_seconds
        if wanted.thumbnails:
            with failures.of("thumbnails"):
                picture = thumbnail(sampler, duration)
                made["thumbnail_path"] = artwork.keep_thumbnail(picture.jpeg)
                made["rotation"] = picture.rotation
        elif wanted.pictures:
            with failures.of("rotation"):
                made["rotation"] = rotation_of(sampler)
        if wanted.sprites:
            with failures.of("sprites"):
                sheet = sprite_sheet(sampler, duration)
                made["sprite_path"] = artwork.keep_sprites(sheet)
        # It decodes most, so it comes last: time may run out.
        if wanted.phashes:
            with failures.of("phashes"):
                made["phash"] = signed(phash(sampler, duration))
        if sampler.shows_dolby_vision:
            # No header that PyAV shows tells it of all such videos.
            facts = replace(facts, hdr="Dolby Vision")
    return ProbeOutcome(
        request.id,
        request.path,
        "video",
        oshash=content,
        facts=facts,
        warnings=failures.warnings(),
        not_made=failures.not_made,
        **made,
    )


def without_pictures(
    outcome: ProbeOutcome, wanted: Wanted, *, problem: str, in_time: bool
) -> ProbeOutcome:
    """Add to the facts of a file why nothing was made of its pictures.

    Args:
        outcome: Of a probe without pictures.
        wanted: What should have been made.
        problem: What happened, a sentence without its full stop.
        in_time: Whether more time would not help.
    """
    options = wanted.options
    if outcome.verdict != "video" or not options:
        return outcome
    what = _listed(list(options.values()))
    remedy = "" if in_time else f". {_MORE_TIME}"
    limit = None if in_time else wanted.file_limit_seconds
    return replace(
        outcome,
        warnings=(*outcome.warnings, f"No {what}: {problem}{remedy}"),
        not_made=dict.fromkeys(options, limit),
    )


def _listed(words: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


class _Failures:
    """Turns failures to make something of a video into warnings; the facts are kept."""

    def __init__(self, request: ProbeRequest, wanted: Wanted) -> None:
        self._request = request
        self._limit = wanted.file_limit_seconds
        self._reasons: dict[str, str] = {}
        self.not_made: dict[str, float | None] = {}

    @contextmanager
    def of(self, option: str) -> Iterator[None]:
        """Note a failure in the block; an option is a field of `Wanted`.

        A picture that cannot be written is no property of the file, and is passed on.
        """
        try:
            yield
        except OutOfTimeError:
            self._note(option, None, self._limit)
        except (ItemError, FFmpegError, ValueError) as error:
            self._note(option, reason(error))
        except MemoryError:
            self._note(option, OUT_OF_MEMORY)
        except OSError:
            raise
        except Exception as error:
            logger.exception("Could not make %s of %s", option, self._request.path)
            self._note(option, f"{type(error).__name__}: {error}")

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each option that failed; one for all that time cut."""
        late = [_OPTIONS[name] for name in self.not_made if name not in self._reasons]
        warnings = [
            f"No {_OPTIONS[name]}: {why}" for name, why in self._reasons.items()
        ]
        if late:
            warnings.append(
                f"No {_listed(late)}: reading the pictures takes longer than the "
                f"{self._limit:g} s that the scan allows for a file. {_MORE_TIME}"
            )
        return tuple(warnings)

    def _note(self, option: str, why: str | None, limit: float | None = None) -> None:
        if option not in _OPTIONS:
            # Nobody asked for the rotation.
            return
        self.not_made[option] = limit
        if why is not None:
            self._reasons[option] = why


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
