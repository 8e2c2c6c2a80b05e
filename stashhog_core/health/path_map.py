"""The check of the path map: a file that Stash knows is the same file here.

A mapping is known to be right only if a file of Stash's has the same oshash here. Where
the settings lead to no such file, the check searches this machine for the file by its
path, and proposes the mapping that it found.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from stashhog_core.hashing import oshash
from stashhog_core.health.checks import Checkup, Finding, failure, good, warning
from stashhog_core.paths import Mounts, PathMap, is_below
from stashhog_core.settings import Settings
from stashhog_core.stash.documents import ScanFolder
from stashhog_core.stash.payloads import LocatedFile

_SAMPLE_SCENES = 24
_MOST_FOLDERS = 400
# A network disk may take a millisecond for each of the thousands of paths of a search.
_MOST_MISSES = 4
_USUAL = ("/mnt", "/media", "/srv", "/data", "/home", "/volume1", "/share")
_NO_DISKS = {
    *("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue", "bpf"),
    *("debugfs", "tracefs", "securityfs", "pstore", "configfs", "fusectl"),
    *("hugetlbfs", "autofs", "binfmt_misc", "nsfs", "efivarfs"),
}
"""File systems that hold no videos."""


@dataclass(frozen=True)
class Mapping:
    """A prefix of Stash's paths, and the local folder that it stands for."""

    remote: str
    local: str


@dataclass(frozen=True)
class Survey:
    """How the files of some scenes are found here.

    Attributes:
        same: Files that are here, with the same oshash.
        absent: Files that are not here by the path map.
        different: Files with another content than in Stash.
        unreadable: Files that are here, and that this account may not read.
    """

    same: list[LocatedFile]
    absent: list[LocatedFile]
    different: list[LocatedFile]
    unreadable: list[LocatedFile]


def check_path_map(checkup: Checkup) -> Finding | None:
    """Find some files of Stash's on this machine, or say which mapping is missing."""
    files = checkup.stash.some_files(_SAMPLE_SCENES)
    settings = checkup.settings
    library = checkup.scan_rules.stashes
    if not files:
        return _without_scenes(settings, [folder.path for folder in library])
    found = survey(files, PathMap(settings.stash.path_map))
    total = f"{len(files)} files of Stash's library"
    if len(found.same) == len(files):
        return good(f"{total} were found here, with the same content")
    if found.unreadable and not found.same:
        first = found.unreadable[0].path
        return failure(
            f"the file that Stash calls {first} is here, and cannot be read",
            "let this account read the library",
        )
    wrong = [*found.absent, *found.different]
    mappings = proposed_mappings(wrong, library, search_folders(settings))
    if mappings:
        whole = {**settings.stash.path_map, **mappings}
        return failure(
            f"{len(wrong)} of {total} are elsewhere here: "
            + ", ".join(f"{remote} is {local}" for remote, local in mappings.items()),
            f"set STASHHOG_STASH__PATH_MAP={json.dumps(whole)}",
        )
    first = wrong[0].path if wrong else found.unreadable[0].path
    if found.same:
        return warning(
            f"{len(found.same)} of {total} were found here, and {first} was not",
            "see whether a disk is not mounted, or add its folder to "
            "STASHHOG_STASH__PATH_MAP",
        )
    return failure(
        f"none of {total} was found here, such as {first}",
        "mount Stash's library on this machine, and set STASHHOG_STASH__PATH_MAP to "
        'where it is, such as {"/data": "/mnt/videos"}',
    )


def _without_scenes(settings: Settings, roots: Sequence[str]) -> Finding:
    """Judge the path map of a Stash without scenes by the library folder alone."""
    root = settings.downloads.library_root
    if root is None or not roots:
        return good("Stash has no scene yet, so nothing can be compared")
    local = str(Path(root).expanduser())
    there = PathMap(settings.stash.path_map).to_remote(local)
    if any(is_below(there, root) for root in roots):
        return good(f"Stash has no scene yet; placed files appear there in {there}")
    proposal = json.dumps({**settings.stash.path_map, roots[0]: local})
    return warning(
        f"Stash has no scene yet, and its library {roots[0]} is not {local} by the "
        "path map",
        f"set STASHHOG_STASH__PATH_MAP={proposal} if both are the same folder",
    )


def survey(files: Iterable[LocatedFile], path_map: PathMap) -> Survey:
    """Compare files of Stash's with those at their local paths."""
    found = Survey([], [], [], [])
    for file in files:
        local = Path(path_map.to_local(file.path))
        try:
            is_same = local.is_file() and oshash(local) == file.oshash
            if is_same or (local.is_file() and file.oshash is None):
                found.same.append(file)
            elif local.is_file():
                found.different.append(file)
            else:
                found.absent.append(file)
        except PermissionError:
            found.unreadable.append(file)
        except OSError:
            found.absent.append(file)
    return found


def proposed_mappings(
    files: Sequence[LocatedFile],
    library: Iterable[ScanFolder],
    folders: Sequence[Path],
) -> dict[str, str]:
    """Return the mappings, Stash's prefix → local folder, by which files are found.

    Args:
        files: Files that the path map does not lead to.
        library: The folders of Stash's library.
        folders: Local folders in which the ends of the files' paths are tried.
    """
    roots = sorted((folder.path for folder in library), key=len)
    mappings: dict[str, str] = {}
    misses = 0
    for file in files:
        if misses >= _MOST_MISSES:
            break
        known = PathMap(mappings)
        if (local := known.to_local(file.path)) != file.path and _is_same(local, file):
            continue
        mapping = find_mapping(file.path, partial(_is_same, file=file), roots, folders)
        if mapping is None:
            misses += 1
        else:
            mappings.setdefault(mapping.remote, mapping.local)
    return mappings


def find_mapping(
    remote: str,
    is_same: Callable[[str], bool],
    roots: Sequence[str],
    folders: Sequence[Path],
) -> Mapping | None:
    """Search a file by ever shorter ends of its path; None: it is nowhere.

    The mapping is that of the root if all of the path below it is the same here, else
    that of the longest part that differs.

    Args:
        remote: The file, as the other machine names it.
        is_same: Tells whether a local path is this file.
        roots: Folders of the other machine that files lie in.
        folders: Local folders in which the ends of the path are tried.
    """
    parts = PurePosixPath(remote.replace("\\", "/")).parts
    for start in range(1, len(parts)):
        tail = parts[start:]
        for folder in folders:
            local = str(folder.joinpath(*tail))
            if is_same(local):
                return _mapping(remote, local, roots)
    return None


def _mapping(remote: str, local: str, roots: Sequence[str]) -> Mapping:
    for root in roots:
        if is_below(remote, root):
            below = remote[len(root.rstrip("/\\")) :].replace("\\", "/")
            if local.endswith(below) and (folder := local[: -len(below)]):
                return Mapping(root, folder)
    theirs, mine = remote.replace("\\", "/").split("/"), local.split("/")
    while len(theirs) > 2 and len(mine) > 2 and theirs[-1] == mine[-1]:
        theirs.pop()
        mine.pop()
    cut = len("/".join(theirs))
    return Mapping(remote[:cut], "/".join(mine))


def _is_same(local: str, file: LocatedFile) -> bool:
    if file.oshash is None:
        return False
    try:
        return os.path.isfile(local) and oshash(Path(local)) == file.oshash  # noqa: PTH113 - tried often
    except OSError:
        return False


def search_folders(settings: Settings) -> list[Path]:
    """Return local folders in which a library may lie, the likeliest first."""
    given = [
        settings.downloads.library_root,
        *settings.library.allowed_scan_roots,
        settings.downloads.folder,
        *map(Path, settings.stash.path_map.values()),
        *map(Path, settings.downloads.path_map.values()),
    ]
    folders: dict[Path, None] = {}
    for folder in given:
        if folder is not None:
            here = Path(folder).expanduser()
            near = (here, *here.parents, *_children(here), *_children(here.parent))
            folders.update(dict.fromkeys(near))
    mounts = Mounts.now()
    points = (
        [m.point for m in mounts.below("/") if m.kind not in _NO_DISKS]
        if mounts
        else []
    )
    for place in (*points, *_USUAL):
        for folder in (Path(place), *_children(Path(place))):
            folders[folder] = None
            if len(folders) >= _MOST_FOLDERS:
                return list(folders)
    return list(folders)


def _children(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.path for e in entries if e.is_dir())
    except OSError:
        return
    yield from map(Path, names[:50])
