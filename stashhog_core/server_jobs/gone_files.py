"""Which files that Stash knows are gone from the disk, and whether that can be true.

Stash's clean deletes the scene of every file that it does not find, with its id and all
that people have entered. A disk that is not mounted looks to Stash like files that were
deleted. So StashHog looks for the files itself first, where Stash's paths are here.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stashhog_core.background import map_in_threads
from stashhog_core.errors import JobError
from stashhog_core.params import removal_limit
from stashhog_core.paths import PathMap, is_below
from stashhog_core.stash.client import StashClient

logger = logging.getLogger(__name__)

NOT_FOUND = "the file is not on the disk"

_AT_A_TIME = 16
_MOUNT = (
    "mount the folder, or set STASHHOG_STASH__PATH_MAP if StashHog finds the folder "
    "elsewhere"
)


@dataclass(frozen=True)
class FilesCheck:
    """What was found of the files below some folders.

    Attributes:
        files: How many files Stash knows there.
        folders: How many folders Stash knows there.
        gone: The files that Stash's clean would remove, with the reason.
        gone_folders: The folders that it would remove.
        doubts: Sentences that say why a removal needs a confirmation.
    """

    files: int
    folders: int
    gone: Mapping[str, str]
    gone_folders: frozenset[str]
    doubts: tuple[str, ...]


def check_files(
    stash: StashClient, paths: Sequence[str], path_map: Mapping[str, str]
) -> FilesCheck:
    """Look for every file that Stash knows below some folders.

    Args:
        stash: The server.
        paths: The folders, as Stash names them; all inside of Stash's library: what is
            outside, Stash would remove whether it is there or not.
        path_map: Prefixes of Stash's paths and the local folders they stand for.

    Raises:
        JobError: A folder of the library with files that Stash knows is absent, empty,
            or without any of these files; or a file cannot be looked for.
    """
    roots = stash.library_roots()
    to_local = PathMap(path_map).to_local
    files = _below(paths, (path for page in stash.file_pages() for path in page))
    folders = _below(paths, stash.folder_paths())
    is_there = dict(zip(files, _are_there(files, to_local), strict=True))
    gone = {path: NOT_FOUND for path, found in is_there.items() if not found}
    for root in roots:
        known = _below([root], files)
        if known:
            _check_root(root, to_local(root), sum(map(is_there.__getitem__, known)))
    doubts = list(_empty_folders(gone, to_local))
    limit = removal_limit(len(files))
    if len(gone) > limit:
        doubts.append(
            f"{len(gone)} of {len(files)} files are gone, more than the removal limit "
            f"of {limit}"
        )
    gone_folders = {
        path
        for path, found in zip(folders, _are_there(folders, to_local), strict=True)
        if not found
    }
    return FilesCheck(
        len(files), len(folders), gone, frozenset(gone_folders), tuple(doubts)
    )


def _below(folders: Sequence[str], paths: Iterable[str]) -> list[str]:
    return [p for p in paths if any(is_below(p, folder) for folder in folders)]


def _are_there(paths: Sequence[str], to_local: Callable[[str], str]) -> list[bool]:
    """Tell of each path whether something is there.

    Raises:
        JobError: One cannot be looked for.
    """

    def is_there(path: str) -> bool:
        try:
            os.lstat(to_local(path))
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            # It is in an archive, which is there.
            return True
        except OSError as error:
            raise JobError(
                f"StashHog cannot check whether {path} is there ({error.strerror})",
                where=to_local(path),
                remedy="let StashHog read the folder, or limit the run by `paths`",
            ) from error
        return True

    return list(map_in_threads(is_there, paths, _AT_A_TIME, "files"))


def _check_root(root: str, local: str, found: int) -> None:
    """Raise if a folder of the library looks as if its disk were not mounted."""
    try:
        is_empty = next(Path(local).iterdir(), None) is None
    except OSError as error:
        raise JobError(
            f"The folder {root} of Stash's library cannot be read ({error.strerror})",
            where=local,
            remedy=_MOUNT,
        ) from error
    if is_empty:
        what = f"The folder {root} of Stash's library is empty"
    elif not found:
        what = f"None of the files that Stash knows in {root} is there"
    else:
        return
    raise JobError(what, where=local, remedy=_MOUNT)


def _empty_folders(
    gone: Iterable[str], to_local: Callable[[str], str]
) -> Iterator[str]:
    """Yield a sentence for each empty folder in which files are gone.

    It may be the place of a disk that is not mounted.
    """
    numbers: dict[Path, int] = {}
    for path in gone:
        folder = Path(to_local(path)).parent
        while not folder.exists():
            folder = folder.parent
        numbers[folder] = numbers.get(folder, 0) + 1
    for folder, number in numbers.items():
        if next(folder.iterdir(), None) is None:
            yield (
                f"the folder {folder}, in which {number} files are gone, is empty and "
                "may be the place of a disk that is not mounted"
            )
