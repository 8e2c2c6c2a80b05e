"""Which files of a download go into the library."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stashhog_core.downloads.sources import SourceFile

SHORTEST_SECONDS = 30.0

# fmt: off
VIDEOS = frozenset({
    ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob",
    ".webm", ".wmv", ".xvid",
})
# Subtitles, scripts of interactive videos, pictures.
_SIDECARS = frozenset({
    ".ass", ".idx", ".smi", ".srt", ".ssa", ".sub", ".sup", ".vtt", ".funscript",
    ".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp",
})
# fmt: on
_ARCHIVES = re.compile(
    r"\.(rar|r\d\d|s\d\d|zip|z\d\d|7z|7z\.\d{3}|tar|tgz|tbz2?|txz|gz|bz2|xz|zst|iso)$"
)
_SAMPLE = re.compile(r"(^|[\W_])samples?([\W_]|$)")
_JUNK_FOLDERS = {"__macosx", "@eadir", "$recycle.bin"}


@dataclass(frozen=True)
class Choice:
    """The files of a download, sorted by what happens to them.

    Attributes:
        take: Videos and what goes along with them.
        archives: What must be unpacked first.
        short: Videos that are shorter than asked for.
        left_out: Samples, junk, and everything Stash has no use for.
    """

    take: tuple[SourceFile, ...]
    archives: tuple[SourceFile, ...]
    short: tuple[SourceFile, ...]
    left_out: tuple[SourceFile, ...]


def choose(
    files: Sequence[SourceFile],
    duration_seconds: Callable[[SourceFile], float | None] | None = None,
) -> Choice:
    """Sort the files of one download.

    Args:
        files: All of them.
        duration_seconds: Tells a video's length, None when unknown, to leave out the
            short ones. None: length does not matter.
    """
    take, archives, short, left_out = [], [], [], []
    longest = max(
        (file.size_bytes for file in files if is_video(file) and not _is_sample(file)),
        default=0,
    )
    for file in files:
        if _is_junk(file):
            left_out.append(file)
        elif is_video(file):
            # A sample is one only beside the real thing.
            if _is_sample(file) and file.size_bytes < longest:
                left_out.append(file)
            elif _is_short(file, duration_seconds):
                short.append(file)
            else:
                take.append(file)
        elif _extension(file) in _SIDECARS:
            take.append(file)
        elif _ARCHIVES.search(file.relative_path.lower()):
            archives.append(file)
        else:
            left_out.append(file)
    return Choice(tuple(take), tuple(archives), tuple(short), tuple(left_out))


def is_video(file: SourceFile) -> bool:
    """Tell by its name whether a file is a video."""
    return _extension(file) in VIDEOS


def _is_short(
    file: SourceFile, duration_seconds: Callable[[SourceFile], float | None] | None
) -> bool:
    if duration_seconds is None:
        return False
    seconds = duration_seconds(file)
    return seconds is not None and seconds < SHORTEST_SECONDS


def _is_sample(file: SourceFile) -> bool:
    return _SAMPLE.search(file.relative_path.lower()) is not None


def _is_junk(file: SourceFile) -> bool:
    names = file.relative_path.lower().split("/")
    return any(name.startswith(".") or name in _JUNK_FOLDERS for name in names)


def _extension(file: SourceFile) -> str:
    name = file.relative_path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return dot + extension.lower() if stem else ""
