"""Which files of a download go into the library."""

import bisect
import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stashhog_core.downloads.sources import SourceFile
from stashhog_core.paths import is_in_hidden
from stashhog_core.settings import get_settings

SHORTEST_SECONDS = 30.0

# fmt: off
# Subtitles, scripts of interactive videos, pictures.
_SIDECARS = frozenset({
    ".ass", ".idx", ".smi", ".srt", ".ssa", ".sub", ".sup", ".vtt", ".funscript",
    ".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp",
})
# fmt: on
_ARCHIVES = re.compile(
    r"\.(rar|[r-z]\d\d|zipx?|7z|(7z\.|zip\.)?[01]\d\d|7z\.\d{3}|ace|arj|cab|lzh"
    r"|tar|tgz|tbz2?|txz|gz|bz2|xz|zst|lz|lzma|iso|img|nrg|mdf)$"
)
"""Parts of RAR go on from `.r99` to `.s00`; programs that split a file write `.001`."""
_SAMPLE = re.compile(r"samples?\d*([-._].*)?$|.*[-._(\[]samples?\d*[)\]]?$")
"""Of a name without its extension. In the middle, or after a space, it is a title."""

_SAMPLE_FOLDERS = {"sample", "samples"}
_LARGEST_SAMPLE = 0.2
"""Size of the largest sample, as a part of what it is a sample of."""

_UNPACKED = 0.9
"""What is unpacked is at least so large as a part of its archives, which may hold data
for repairs; videos can hardly be compressed further."""
_ARCHIVE_ENDING = re.compile(rf"(\.part\d+)?(\.tar)?{_ARCHIVES.pattern}", re.IGNORECASE)
_JUNK_FOLDERS = {"__macosx", "@eadir", "$recycle.bin"}


@dataclass(frozen=True)
class SelectedFiles:
    """The files of a download, sorted by what happens to them.

    Attributes:
        take: Videos and what goes along with them.
        archives: What must be unpacked first.
        short: Videos that are shorter than asked for.
        left_out: Samples, junk, and everything Stash has no use for.
        samples: Those of the files left out that would be taken by another name.
        is_packed: The archives hold the main content: the videos are too small to be
            what comes out of them, or too few.
    """

    take: tuple[SourceFile, ...]
    archives: tuple[SourceFile, ...]
    short: tuple[SourceFile, ...]
    left_out: tuple[SourceFile, ...]
    samples: tuple[SourceFile, ...] = ()
    is_packed: bool = False


def select_files(
    files: Sequence[SourceFile],
    duration_seconds: Callable[[SourceFile], float | None] | None = None,
    shortest_seconds: float = SHORTEST_SECONDS,
    junk_patterns: Sequence[str] = (),
) -> SelectedFiles:
    """Sort the files of one download.

    Args:
        files: All of them.
        duration_seconds: Tells a video's length, None when unknown, to leave out the
            short ones. None: length does not matter.
        shortest_seconds: Length of the shortest video that is taken.
        junk_patterns: Names of files and folders to leave out, with `*` and `?`.
    """
    take: list[SourceFile] = []
    short: list[SourceFile] = []
    archives, left_out, samples, left_samples = [], [], [], []
    videos: list[int] = []
    extensions = get_settings().library.video_extensions
    patterns = [pattern.lower() for pattern in junk_patterns]

    def add_video(file: SourceFile) -> None:
        videos.append(file.size_bytes)
        seconds = None if duration_seconds is None else duration_seconds(file)
        is_short = seconds is not None and seconds < shortest_seconds
        (short if is_short else take).append(file)

    for file in files:
        path = file.relative_path.lower()
        extension = _extension(path)
        if _is_junk(path, patterns):
            left_out.append(file)
        elif extension[1:] in extensions:
            if _is_called_sample(path):
                samples.append(file)
            else:
                add_video(file)
        elif extension in _SIDECARS:
            take.append(file)
        elif _ARCHIVES.search(path):
            archives.append(file)
        else:
            left_out.append(file)
    archive_bytes = sum(file.size_bytes for file in archives)
    longest = max([*videos, archive_bytes])
    for file in samples:
        # A sample is one only next to the real thing.
        if file.size_bytes <= longest * _LARGEST_SAMPLE:
            left_out.append(file)
            left_samples.append(file)
        else:
            add_video(file)
    return SelectedFiles(
        tuple(take),
        tuple(archives),
        tuple(short),
        tuple(left_out),
        tuple(left_samples),
        is_packed=sum(videos) < archive_bytes * _UNPACKED
        or not _are_unpacked(archives, videos),
    )


def is_archive(path: str) -> bool:
    """Tell by its name whether a file is an archive, or a part of one."""
    return _ARCHIVES.search(path.lower()) is not None


def archive_stem(name: str) -> str:
    """Return the name of an archive without what makes it one, or a part of one."""
    return _ARCHIVE_ENDING.sub("", name)


def _are_unpacked(archives: Sequence[SourceFile], videos: Sequence[int]) -> bool:
    """Tell whether each archive has videos, in bytes, of its size for itself.

    Of twenty episodes, nineteen that were unpacked do not stand for the last one. An
    archive that is small compared with the largest file holds extras.
    """
    sizes: Counter[str] = Counter()
    for file in archives:
        sizes[archive_stem(file.relative_path).casefold()] += file.size_bytes
    left = sorted(videos)
    extras_bytes = _LARGEST_SAMPLE * max([*left, *sizes.values()], default=0)
    for size in sorted(sizes.values(), reverse=True):
        if size <= extras_bytes:
            break
        wanted = size * _UNPACKED
        fitting = bisect.bisect_left(left, wanted)
        if fitting < len(left):
            del left[fitting]
            continue
        # Several videos came out of it.
        while left and wanted > 0:
            wanted -= left.pop(0)
        if wanted > 0:
            return False
    return True


def is_video(file: SourceFile) -> bool:
    """Tell by its name whether a file is a video."""
    extension = _extension(file.relative_path.lower())
    return extension[1:] in get_settings().library.video_extensions


def _is_called_sample(path: str) -> bool:
    *folders, name = path.split("/")
    stem = name.rpartition(".")[0]
    return not _SAMPLE_FOLDERS.isdisjoint(folders) or bool(_SAMPLE.match(stem))


def _is_junk(path: str, patterns: Sequence[str]) -> bool:
    if is_in_hidden(path):
        return True
    names = path.split("/")
    if not _JUNK_FOLDERS.isdisjoint(names):
        return True
    return bool(patterns) and any(
        fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names
    )


def _extension(path: str) -> str:
    """Return the extension of a path in lower case, with its dot."""
    stem, dot, extension = path.rpartition("/")[2].rpartition(".")
    return dot + extension if stem else ""
