"""Finding the scenes that lack generated media: the job `check_stash_generate`.

What is complete and has not changed since is not asked about again: 100,000 scenes
would take half a million requests each time.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.generated import (
    mark_generated,
    media_is_made_of,
    unmark_generated,
)
from stashhog_core.db.media_checks import (
    Checked,
    complete_keys,
    incomplete_checks,
    store_checks,
)
from stashhog_core.db.session import Database
from stashhog_core.db.unmakeable_media import (
    Unmakeable,
    forget_unmakeable,
    has_unmakeable,
    unmakeable_of,
)
from stashhog_core.params import CheckStashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.results import CheckStashGenerateResult, ItemFailure
from stashhog_core.server_jobs.unmakeable import worded
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.media_check import Lacking, find_lacking, kinds_asked
from stashhog_core.stash.payloads import SceneMedia

logger = logging.getLogger(__name__)

SAMPLES_SHOWN = 20
"""Incomplete scenes that the result describes."""

UNMAKEABLE_SHOWN = 500
"""Scenes with media that Stash cannot make which the result lists."""

NEEDED_FOR_MARK = frozenset({"cover", "preview", "sprite", "vtt", "phash"})
"""A check that does not look for all of these proves no scene complete."""

_LABEL = "Check generated media"
_SCENES_AT_A_TIME = 500


def check_generate(
    stash: StashClient,
    database: Database,
    params: CheckStashGenerateParams,
    progress: Progress,
    *,
    settings: StashSettings,
) -> CheckStashGenerateResult:
    """Check which scenes lack media; correct the flag `generated` by what is proven.

    Incomplete scenes lose the flag, and a targeted generate can be started for them;
    complete ones get it if everything a scene needs was looked for, and if the mirror
    has no newer file or marker. Scenes are stored page by page, so that a run that
    breaks off has not looked in vain. What Stash has proved unable to make is counted
    apart, and looked for again only with `params.recheck` or after a change. Of a
    further server, whose scenes are not those of the mirror, nothing is stored.

    Args:
        stash: The server that `params.server` names.
        database: The mirror, where the findings are kept.
        params: What to look for.
        progress: Told of each look.
        settings: How many looks are under way at a time.

    Raises:
        TransientError: Stash was away; what was found until then is kept.
    """
    kinds = kinds_asked(params)
    is_mirrored = params.server is None
    memory = _Memory(stash, database, params) if is_mirrored else None
    total = len(params.scene_ids) if params.scene_ids else stash.count_scenes()
    found = _Found()
    for media in _pages(stash, params.scene_ids, found):
        keys = {scene.id: _key(scene, kinds) for scene in media}
        known, settled = memory.of(keys) if memory else ({}, {})
        changed = [
            scene
            for scene in media
            if scene.id not in settled
            and (memory is None or memory.complete.get(scene.id) != keys[scene.id])
        ]
        bar = progress.within(found.seen / total, min(1.0, _after(found, media, total)))
        lacking = find_lacking(
            stash,
            changed,
            kinds,
            bar,
            label=f"{_LABEL}: {found.seen}/{total} scenes: looks",
            at_a_time=settings.probes_at_a_time,
        )
        unmakeable = settled | {
            scene_id: known[scene_id]
            for scene_id, scene in lacking.items()
            if scene_id in known and known[scene_id].explains(scene.kinds)
        }
        found.add(media, changed, lacking, unmakeable)
        if memory is None:
            continue
        complete = [s for s in media if s.id not in lacking and s.id not in settled]
        # Something is missing that Stash has made before: it is to be asked again.
        surprises = [i for i in lacking if i in known and i not in unmakeable]
        with database.transaction() as session:
            store_checks(session, _findings(changed, keys, lacking))
            found.unmarked += len(unmark_generated(session, list(lacking)))
            forget_unmakeable(session, surprises)
            if kinds >= NEEDED_FOR_MARK:
                ids = _still_the_same(session, complete)
                found.marked += len(mark_generated(session, ids))
                forget_unmakeable(session, [i for i in ids if i in known])
    progress.update(1.0, f"{_LABEL}: Completed")
    logger.info(
        "Looked at %d scenes, %d of them lack media; %d were unchanged",
        found.looked_at,
        len(found.incomplete),
        found.seen - found.looked_at,
    )
    if found.unmakeable:
        logger.info(
            "%d scenes have media that Stash cannot make", len(found.unmakeable)
        )
    return found.result()


class _Memory:
    """What earlier checks found of the mirrored server, and what Stash cannot make."""

    def __init__(
        self, stash: StashClient, database: Database, params: CheckStashGenerateParams
    ) -> None:
        self._database = database
        self.complete: Mapping[int, int] = {}
        self._incomplete: Mapping[int, Checked] = {}
        with database.transaction() as session:
            if not params.recheck:
                self.complete = complete_keys(session)
                self._incomplete = incomplete_checks(session)
            self._is_needed = has_unmakeable(session)
        self._version = stash.version() if self._is_needed else ""

    def of(
        self, keys: Mapping[int, int]
    ) -> tuple[dict[int, Unmakeable], dict[int, Unmakeable]]:
        """Return what Stash cannot make of scenes, and those not to be looked at again.

        Those are as they were when nothing else was missing of them.
        """
        if not self._is_needed:
            return {}, {}
        with self._database.transaction() as session:
            known = unmakeable_of(session, keys, self._version)
        settled = {
            scene_id: found
            for scene_id, found in known.items()
            if (last := self._incomplete.get(scene_id)) is not None
            and last.key == keys[scene_id]
            and found.explains(last.missing)
        }
        return known, settled


@dataclass
class _Found:
    seen: int = 0
    looked_at: int = 0
    marked: int = 0
    unmarked: int = 0
    incomplete: dict[int, Lacking] = field(default_factory=dict)
    unmakeable: dict[int, Unmakeable] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)

    def add(
        self,
        media: Sequence[SceneMedia],
        changed: Sequence[SceneMedia],
        lacking: Mapping[int, Lacking],
        unmakeable: Mapping[int, Unmakeable],
    ) -> None:
        self.seen += len(media)
        self.looked_at += len(changed)
        self.unmakeable |= unmakeable
        self.incomplete |= {k: v for k, v in lacking.items() if k not in unmakeable}

    def result(self) -> CheckStashGenerateResult:
        missing = Counter(
            kind for scene in self.incomplete.values() for kind in scene.kinds
        )
        shown = list(self.incomplete.items())[:SAMPLES_SHOWN]
        return CheckStashGenerateResult(
            status="completed_with_errors" if self.gone else "completed",
            scenes_checked=self.looked_at,
            scenes_unchanged=self.seen - self.looked_at,
            scenes_complete=self.seen - len(self.incomplete) - len(self.unmakeable),
            scenes_incomplete=len(self.incomplete),
            scenes_unmakeable=len(self.unmakeable),
            unmakeable=tuple(
                ItemFailure(item=f"scene {i}", reason=worded(of.missing, of.reason))
                for i, of in sorted(self.unmakeable.items())[:UNMAKEABLE_SHOWN]
            ),
            missing=dict(sorted(missing.items())),
            marked=self.marked,
            unmarked=self.unmarked,
            scene_ids=tuple(self.incomplete),
            marker_ids=tuple(
                sorted(
                    i for scene in self.incomplete.values() for i in scene.marker_ids
                )
            ),
            samples=tuple(
                ItemFailure(
                    item=f"scene {scene_id}", reason=f"lacks {', '.join(scene.kinds)}"
                )
                for scene_id, scene in shown
            ),
            errors=tuple(
                ItemFailure(item=f"scene {i}", reason="Stash has no such scene")
                for i in self.gone
            ),
        )


def _pages(
    stash: StashClient, scene_ids: Sequence[int] | None, found: _Found
) -> Iterator[Sequence[SceneMedia]]:
    if scene_ids is None:
        yield from stash.scene_media_pages(_SCENES_AT_A_TIME)
        return
    for ids in batched(dict.fromkeys(scene_ids), _SCENES_AT_A_TIME):
        media, gone = stash.scene_media(ids)
        found.gone += gone
        yield media


def _after(found: _Found, media: Sequence[SceneMedia], total: int) -> float:
    return (found.seen + len(media)) / total if total else 1.0


def _findings(
    changed: Sequence[SceneMedia], keys: dict[int, int], lacking: dict[int, Lacking]
) -> Iterator[Checked]:
    for scene in changed:
        kinds = lacking[scene.id].kinds if scene.id in lacking else ()
        yield Checked(scene.id, keys[scene.id], tuple(kinds))


def _still_the_same(session: Session, scenes: Sequence[SceneMedia]) -> list[int]:
    """Return the scenes of which the mirror has no file or marker not looked at here.

    A sync may have stored a marker after the page was listed.
    """
    mirrored = media_is_made_of(session, [scene.id for scene in scenes])
    same = []
    for scene in scenes:
        oshash, markers = mirrored.get(scene.id, (None, frozenset()))
        hashes = {f.value for file in scene.files[:1] for f in file.fingerprints}
        looked_at = {(marker.id, marker.seconds) for marker in scene.scene_markers}
        if markers <= looked_at and (oshash is None or oshash in hashes):
            same.append(scene.id)
    if changed := len(scenes) - len(same):
        logger.info(
            "%d scenes changed during the check; the next check covers these scenes",
            changed,
        )
    return same


def _key(scene: SceneMedia, kinds: frozenset[str]) -> int:
    """Return what changes with the file, the markers and what is looked for.

    Stash names media by the hash of the first file and the second of the marker.
    """
    hashes = [
        fingerprint.value
        for file in scene.files[:1]
        for fingerprint in file.fingerprints
        if fingerprint.type in {"oshash", "md5"}
    ]
    markers = sorted((marker.id, int(marker.seconds)) for marker in scene.scene_markers)
    text = repr((hashes, markers, sorted(kinds)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
