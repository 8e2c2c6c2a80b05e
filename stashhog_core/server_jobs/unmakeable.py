"""Media that Stash cannot make: telling it from trouble of Stash, and why.

Of some files Stash never makes everything: clips of a few frames get no cover or no
perceptual hash. Stash calls its job finished all the same. Such a scene must not be
asked for again by every run. But a disk that is full, or files that Stash cannot read
for a while, look the same from outside: these are told apart here.
"""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath

from stashhog_core.background import map_in_threads
from stashhog_core.db.generated import Failed, Unmakeable, primary_files
from stashhog_core.db.session import Database
from stashhog_core.server_jobs.log import LONGEST_REASON, warnings_since
from stashhog_core.server_jobs.media_check import SCENE_KINDS, Lacking
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import LogEntry

logger = logging.getLogger(__name__)

MANY = 20
MANY_SHARE = 0.05
"""More scenes of a job, by number and share, are at first taken for Stash's trouble."""

UNREADABLE = (
    "Stash cannot read the file of this scene; check that its folder is mounted, or "
    "run Clean in Stash if the file is gone"
)
"""Why a scene lacks media whose file Stash does not serve."""

_SHORT_SECONDS = 2.0
# What the machine says, not the file.
_TROUBLE = re.compile(
    r"no space left|disk quota exceeded|read-only file system|permission denied"
    r"|input/output error|transport endpoint|stale file handle|too many open files"
    r"|cannot allocate memory|out of memory|signal: killed|executable file not found"
    r"|database is locked",
    re.IGNORECASE,
)
_WORDS = {
    "cover": ("cover", "screenshot"),
    "preview": ("preview",),
    "webp": ("preview", "webp"),
    "sprite": ("sprite",),
    "vtt": ("sprite", "vtt"),
    "phash": ("phash",),
    "marker video": ("marker",),
    "marker preview": ("marker",),
    "marker screenshot": ("marker",),
}


def why_failed(
    stash: StashClient,
    database: Database,
    lacking: Mapping[int, Lacking],
    *,
    asked: frozenset[str],
    basis: Mapping[int, int],
    total: int,
    since: str,
    at_a_time: int,
) -> tuple[dict[int, str], dict[int, Failed]]:
    """Return why scenes lack media after a job, and which of them Stash cannot do.

    A scene whose file Stash cannot read is not among the latter; nor is any scene if
    Stash's log tells of trouble on its machine.

    The job was for `total` scenes, and was `asked` for these kinds of media; Stash took
    it at the time `since`, as Stash writes it. `basis` is what the media would be made
    of, as the job began.
    """
    log = warnings_since(stash, since)
    trouble = next((e.message for e in log if _TROUBLE.search(e.message)), None)
    unreadable = _unreadable(stash, list(lacking), at_a_time)
    with database.transaction() as session:
        files = primary_files(session, lacking)
    is_doubtful = len(lacking) > max(MANY, MANY_SHARE * total)
    is_alone = len(lacking) >= total
    reasons: dict[int, str] = {}
    failed: dict[int, Failed] = {}
    for scene_id, scene in lacking.items():
        if scene_id not in files:
            reason = "the scene has no file"
        elif scene_id in unreadable:
            reasons[scene_id] = UNREADABLE
            continue
        else:
            reason = _reason(scene.kinds, *files[scene_id], log)
        reasons[scene_id] = reason
        if trouble is not None or scene_id not in basis:
            continue
        # Not even one kind was made, of this scene or of another one: perhaps Stash
        # cannot make anything at present.
        made = (asked & SCENE_KINDS).difference(scene.kinds)
        failed[scene_id] = Failed(
            basis[scene_id],
            Unmakeable(asked, tuple(scene.kinds), reason),
            is_doubtful or (is_alone and not made),
        )
    if trouble is not None:
        logger.warning("Stash's log reports a fault on its machine: %s", trouble)
    return reasons, failed


def _reason(
    kinds: Collection[str], path: str, seconds: float | None, log: Sequence[LogEntry]
) -> str:
    parts = []
    if seconds is not None and seconds < _SHORT_SECONDS:
        parts.append(f"the video is only {seconds:g} s long")
    words = {word for kind in kinds for word in _WORDS.get(kind, ())}
    about = [e.message for e in log if any(w in e.message.lower() for w in words)]
    name = PurePath(path).name
    # Most lines name no file: one is this scene's only if there is no other text.
    named = [message for message in about if name and name in message]
    texts = named or list(dict.fromkeys(about))
    if named or len(texts) == 1:
        parts.append(f"Stash's log says: {' '.join(texts[0].split())}")
    return "; ".join(parts)[:LONGEST_REASON]


def _unreadable(
    stash: StashClient, scene_ids: Sequence[int], at_a_time: int
) -> set[int]:
    """Return the scenes whose file Stash does not serve."""

    def is_served(scene_id: int) -> bool:
        return stash.media_exists(f"/scene/{scene_id}/stream")

    served = list(map_in_threads(is_served, scene_ids, at_a_time, "probe"))
    return {i for i, is_there in zip(scene_ids, served, strict=True) if not is_there}
