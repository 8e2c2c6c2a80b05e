"""What Stash's side says of the library: is its disk there, and what does Stash have?

Before files are placed, `require_mounted` compares the library with the mirror. After a
scan of Stash, `mark_scanned` takes the placed files one step on in the ledger. Then
`confirm_in_stash` looks up the videos in the mirror, and finds out why Stash does not
have some of them: only a file that Stash has is done.
"""

import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    bindparam,
    func,
    select,
    tuple_,
    update,
)

from stashhog_core.batches import batched
from stashhog_core.db.models import DownloadItem, Scene, SceneFile
from stashhog_core.db.session import Database
from stashhog_core.downloads import ledger
from stashhog_core.downloads.ledger import PlacedFile
from stashhog_core.errors import ConfigurationError, ItemError, StashHogError
from stashhog_core.media.headers import UNREADABLE, probe
from stashhog_core.paths import PathMap, from_printable, is_below, printable
from stashhog_core.results import ItemFailure
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import ScanRules

_log = logging.getLogger(__name__)

_AT_ONCE = 1000
_FEW_FILES = 20
"""So many files a person may have removed by hand, and left their scenes in Stash."""

_NOT_SCANNED = "Stash has not scanned its library since"
_GONE = "The file was removed from the library before Stash had it"
_LEFT_OUT = "Stash's scan leaves the file out"
_NOT_TAKEN = (
    "Stash has scanned since, but the mirror does not have the file. If a sync has "
    "followed, check that the file's folder lies in a library path of Stash and in "
    "STASHHOG_STASH__SCAN_PATHS"
)

_PRIVATE = (
    "Only the owner of {} can read it. If Stash runs under another account, change the "
    "permissions and scan again; for new files, set STASHHOG_DOWNLOADS__FOLDER_MODE, "
    "STASHHOG_DOWNLOADS__FILE_MODE, and for hard links the umask of the download client"
)

Placed = tuple[int, datetime | None]
"""A file of the ledger, and when it was placed: placed again, it is another one."""


def awaiting_scan(database: Database) -> list[Placed]:
    """Return the placed files that no scan of Stash has followed yet."""
    query = select(DownloadItem.id, DownloadItem.placed_at)
    query = query.where(DownloadItem.state == "placed")
    with database.transaction() as session:
        return list(map(tuple, session.execute(query)))


def mark_scanned(database: Database, files: Sequence[Placed] | None = None) -> int:
    """Note a successful scan of Stash; return the number of files that waited for it.

    Args:
        database: The database.
        files: Those that were placed when the scan began; others keep waiting. They are
            listed, since times of clocks that were set meanwhile cannot be compared.
            None: the scan saw everything that is placed.
    """
    change = update(DownloadItem).where(DownloadItem.state == "placed")
    change = change.values(state="scanned", scanned_at=func.now())
    if files is not None:
        listed = (
            func.unnest(
                bindparam("ids", [id_ for id_, _ in files], ARRAY(BigInteger)),
                bindparam(
                    "times", [at for _, at in files], ARRAY(DateTime(timezone=True))
                ),
            )
            .table_valued("id", "placed_at")
            .render_derived("listed")
        )
        change = change.where(
            DownloadItem.id == listed.c.id,
            DownloadItem.placed_at.is_not_distinct_from(listed.c.placed_at),
        )
    with database.transaction() as session:
        return len(session.execute(change.returning(DownloadItem.id)).all())


def require_mounted(database: Database, root: Path, path_map: PathMap) -> None:
    """Make sure that the library is not a mount point whose disk is missing.

    Files would be placed below it, on another disk, and be hidden when the library's
    disk is back. A mount point may hold files of its own, such as `.nomedia`. So a
    library is refused if none of the files is there that Stash has below it; if it has
    anything at all, only where these were many: a few may have been removed by hand.

    Raises:
        ConfigurationError: None of the files is there.
    """
    with os.scandir(root) as entries:
        few = _FEW_FILES if any(entries) else 0
    # With the separator of Stash's machine.
    prefix = path_map.to_remote(str(root / "x"))[:-1]
    known = 0
    for path in _mirrored_paths(database, prefix):
        if not _is_gone(path_map.to_local(path)):
            return
        known += 1
    if known > few:
        raise ConfigurationError(
            f"Stash has {known} files below the library folder, but none is there",
            where=printable(str(root)),
            remedy="mount the disk of the library. If you have moved or removed all "
            "files on purpose, let Stash scan and clean its library, then run a sync",
        )


def _mirrored_paths(database: Database, prefix: str) -> Iterator[str]:
    """Yield the paths of the mirror that begin with a prefix, as Stash writes them.

    No transaction is open while the caller looks at the disk.
    """
    key = tuple_(SceneFile.scene_id, SceneFile.file_id)
    query = (
        select(SceneFile.scene_id, SceneFile.file_id, SceneFile.path)
        .join(Scene, Scene.id == SceneFile.scene_id)
        .where(
            Scene.missing_since.is_(None),
            SceneFile.path.startswith(prefix, autoescape=True),
        )
        .order_by(SceneFile.scene_id, SceneFile.file_id)
        .limit(_AT_ONCE)
    )
    last = (-1, -1)
    while True:
        with database.transaction() as session:
            rows = session.execute(query.where(key > last)).all()
        yield from (row.path for row in rows)
        if len(rows) < _AT_ONCE:
            return
        last = rows[-1].scene_id, rows[-1].file_id


def _is_gone(path: str) -> bool:
    """Tell whether nothing has this path; what cannot be looked at may be there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


@dataclass(frozen=True)
class NotInStash:
    """The files of the library that Stash is not known to have.

    Attributes:
        videos: The videos among them, and why Stash does not have them.
        awaiting_scan: How many files no scan of Stash has followed yet. More than none
            after a run that placed nothing means that an earlier run was stopped
            between placing and scanning.
    """

    videos: list[ItemFailure]
    awaiting_scan: int


def confirm_in_stash(
    database: Database,
    path_map: PathMap,
    scan_rules: Callable[[], ScanRules | None] = lambda: None,
    *,
    scanned_only: bool = False,
) -> NotInStash:
    """Look up every placed video in the mirror of Stash, by path and by oshash.

    A video that was scanned but cannot be read is reported once and then given up:
    Stash will never have it. All others are looked up again next time.

    Args:
        database: The database, perhaps just synced.
        path_map: Stash's path prefixes to the local ones.
        scan_rules: Returns what Stash's scan takes, None if it does not answer; called
            only if a video is missed.
        scanned_only: Only videos that a scan has followed. A scan is still to come for
            the others, even if Stash has the same bytes elsewhere.
    """
    with database.transaction() as session:
        files = ledger.files_not_in_stash(session)
    videos = [
        file
        for file in files
        if file.oshash is not None and (file.state == "scanned" or not scanned_only)
    ]
    awaiting_scan = sum(file.state == "placed" for file in files)
    missing = []
    rules: ScanRules | None = None
    is_asked = False
    for batch in batched(videos, _AT_ONCE):
        with database.transaction() as session:
            found = ledger.mark_in_stash(
                session,
                [video.id for video in batch],
                [path_map.to_remote(video.target_path) for video in batch],
            )
        missed = [video for video in batch if video.id not in found]
        awaiting_scan -= sum(v.id in found and v.state == "placed" for v in batch)
        if not is_asked and any(video.state == "scanned" for video in missed):
            rules, is_asked = scan_rules(), True
        # Files are looked into between the transactions.
        reasons = {video.id: _reason(video, path_map, rules) for video in missed}
        scanned = {
            video.id: reasons[video.id] for video in missed if video.state == "scanned"
        }
        hopeless = {
            id_: why for id_, why in scanned.items() if why.startswith(UNREADABLE)
        }
        with database.transaction() as session:
            ledger.note(session, scanned)
            ledger.block(session, hopeless)
        missing += [
            ItemFailure(item=video.target_path, reason=reasons[video.id])
            for video in missed
        ]
    return NotInStash(missing, awaiting_scan)


def known_not_in_stash(database: Database) -> NotInStash:
    """Return the videos that Stash has scanned past, and why, without looking again."""
    with database.transaction() as session:
        files = ledger.files_not_in_stash(session)
    scanned = [
        ItemFailure(item=file.target_path, reason=file.reason or _NOT_TAKEN)
        for file in files
        if file.state == "scanned"
    ]
    return NotInStash(scanned, len(files) - len(scanned))


def ask_scan_rules(settings: StashSettings) -> ScanRules | None:
    """Ask Stash what its scan takes; None if it does not answer at once."""
    try:
        with StashClient(settings, retry_delays_seconds=()) as stash:
            return stash.scan_rules()
    except StashHogError as error:
        _log.info("Could not read from Stash which files its scan accepts: %s", error)
        return None


def _reason(video: PlacedFile, path_map: PathMap, rules: ScanRules | None) -> str:
    if video.state == "placed":
        return _NOT_SCANNED
    known = video.reason or ""
    if known.startswith(UNREADABLE):
        return known
    path = from_printable(video.target_path)
    try:
        if not path.exists():
            # Perhaps the library is not mounted now: it is looked for again.
            return _GONE
        if rules is not None:
            stash_path = path_map.to_remote(video.target_path)
            if (why := why_left_out(stash_path, rules)) is not None:
                return f"{_LEFT_OUT}: {why}"
            folders = [Path(path_map.to_local(s.path)) for s in rules.stashes]
            if (private := _private_part(path, folders)) is not None:
                return _PRIVATE.format(printable(str(private)))
        is_known = rules is None and known.startswith(_LEFT_OUT)
        if is_known or known == _NOT_TAKEN:
            return known
        probe(path)
    except ItemError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - what we cannot read, Stash perhaps can
        _log.exception("%s cannot be read", path)
    return _NOT_TAKEN


def _private_part(path: Path, folders: Sequence[Path]) -> Path | None:
    """Return the part of a path that only its owner can read; None: there is none.

    Args:
        path: A video.
        folders: The folders of Stash's library; only what is below them is looked at.
    """
    for part in (path, *path.parents):
        if not any(part != top and part.is_relative_to(top) for top in folders):
            return None
        if not part.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            return part
    return None


def why_left_out(stash_path: str, rules: ScanRules) -> str | None:
    """Return why a scan by these rules leaves a video out; None: it does not.

    `stash_path` is the video as Stash names it.
    """
    folders = [folder for folder in rules.stashes if is_below(stash_path, folder.path)]
    if not folders:
        known = ", ".join(folder.path for folder in rules.stashes) or "none"
        return (
            "the file's folder is in none of Stash's library paths "
            f"({known}); add the folder in Stash, or correct STASHHOG_STASH__PATH_MAP"
        )
    _, dot, extension = stash_path.rpartition(".")
    if not dot or extension.casefold() not in map(str.casefold, rules.video_extensions):
        return (
            f".{extension} is not among the video extensions in Stash's settings "
            "(Library); add the extension there and scan again"
        )
    if all(folder.exclude_video for folder in folders):
        return f"the library path {folders[0].path} of Stash leaves videos out"
    for pattern in rules.excludes:
        if _matches(pattern, stash_path):
            return (
                f"the file's path matches {pattern!r}, one of Stash's exclusion "
                "patterns"
            )
    return None


def _matches(pattern: str, path: str) -> bool:
    try:
        return bool(pattern.strip()) and re.search(pattern, path, re.I) is not None
    except re.error:
        # Go knows expressions that Python does not.
        return False
