"""Checking which scenes lack generated media: the job `check_stash_generate`.

Stash has no filter for previews, sprites and the like, and reports success whatever
became of them: each medium is asked for by its address, one byte of it, many requests
at a time. A scene that was complete and has not changed since is not checked again:
100,000 scenes would take half a million requests each time.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from stashhog_core.background import map_in_threads
from stashhog_core.batches import batched
from stashhog_core.db.generated import (
    Checked,
    Unmakeable,
    complete_keys,
    forget_unmakeable,
    has_unmakeable,
    incomplete_checks,
    mark_generated,
    media_is_made_of,
    store_checks,
    unmakeable_of,
    unmark_generated,
)
from stashhog_core.db.session import Database
from stashhog_core.params import CheckStashGenerateParams, StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.results import CheckStashGenerateResult, ItemFailure
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import SceneMedia

logger = logging.getLogger(__name__)

FLAGS = {
    "cover": "covers",
    "preview": "previews",
    "webp": "image_previews",
    "sprite": "sprites",
    "vtt": "sprites",
    "phash": "phashes",
    "marker video": "markers",
    "marker preview": "marker_image_previews",
    "marker screenshot": "marker_screenshots",
}
"""Each kind of media, and the parameter that asks for it."""

_MARKER_ADDRESSES = {
    "marker video": "stream",
    "marker preview": "preview",
    "marker screenshot": "screenshot",
}
_SCENE_ADDRESSES = {
    "cover": "screenshot",
    "preview": "preview",
    "webp": "webp",
    "sprite": "sprite",
    "vtt": "vtt",
}
SCENE_KINDS = frozenset({*_SCENE_ADDRESSES, "phash"})
"""The kinds of media that a scene has, with or without markers."""

SAMPLES_SHOWN = 20
"""Incomplete scenes that the result describes."""

UNMAKEABLE_SHOWN = 500
"""Scenes with media that Stash cannot make which the result lists."""

NEEDED_FOR_MARK = frozenset({"cover", "preview", "sprite", "vtt", "phash"})
"""A check that leaves one of these out proves no scene complete."""

_LABEL = "Check generated media"
_SCENES_AT_A_TIME = 500


@dataclass
class Lacking:
    """What a scene lacks, and which of its markers lack something."""

    kinds: list[str] = field(default_factory=list)
    marker_ids: list[int] = field(default_factory=list)

    def add(self, kind: str, marker_id: int | None = None) -> None:
        """Note a missing kind, once."""
        if kind not in self.kinds:
            self.kinds.append(kind)
        if marker_id is not None and marker_id not in self.marker_ids:
            self.marker_ids.append(marker_id)


@dataclass(frozen=True)
class _Probe:
    scene_id: int
    kind: str
    address: str | None
    marker_id: int | None = None


def kinds_asked(
    params: StashGenerateParams | CheckStashGenerateParams,
) -> frozenset[str]:
    """Return the kinds that Stash makes when it is asked for these parameters."""
    asked = {kind for kind, flag in FLAGS.items() if getattr(params, flag)}
    # Stash makes the animated ones beside the video ones, or not at all.
    if not params.previews:
        asked.discard("webp")
    if not params.markers:
        asked -= _MARKER_ADDRESSES.keys()
    return frozenset(asked)


def find_lacking(
    stash: StashClient,
    media: Sequence[SceneMedia],
    kinds: frozenset[str],
    progress: Progress,
    *,
    label: str,
    at_a_time: int,
) -> dict[int, Lacking]:
    """Return what is missing, by scene; complete scenes are left out.

    `label` is how messages start, `at_a_time` how many requests run at once.
    """
    lacking: dict[int, Lacking] = {}
    if "phash" in kinds:
        for scene_id in stash.scenes_lacking_phash([scene.id for scene in media]):
            lacking.setdefault(scene_id, Lacking()).add("phash")
    probes = [probe for scene in media for probe in _probes(scene, kinds)]
    found = _ask(stash, probes, progress, label, at_a_time)
    for probe, exists in zip(probes, found, strict=True):
        if not exists:
            scene = lacking.setdefault(probe.scene_id, Lacking())
            scene.add(probe.kind, probe.marker_id)
    return dict(sorted(lacking.items()))


def _probes(scene: SceneMedia, kinds: frozenset[str]) -> Iterator[_Probe]:
    for kind, name in _SCENE_ADDRESSES.items():
        if kind in kinds:
            yield _Probe(scene.id, kind, getattr(scene.paths, name))
    for marker in scene.scene_markers:
        for kind, name in _MARKER_ADDRESSES.items():
            if kind in kinds:
                yield _Probe(scene.id, kind, getattr(marker, name), marker.id)


def _ask(
    stash: StashClient,
    probes: Sequence[_Probe],
    progress: Progress,
    label: str,
    at_a_time: int,
) -> list[bool]:
    def ask(probe: _Probe) -> bool:
        return probe.address is not None and stash.media_exists(probe.address)

    found: list[bool] = []
    with closing(map_in_threads(ask, probes, at_a_time, "probe")) as answers:
        for exists in answers:
            found.append(exists)
            progress.items(len(found), len(probes), label)
    return found


def worded(missing: Sequence[str], reason: str = "") -> str:
    """Return what a scene lacks, and why if that is known."""
    return f"lacks {', '.join(missing)}" + (f": {reason}" if reason else "")


def listed_unmakeable(found: Mapping[int, Unmakeable]) -> tuple[ItemFailure, ...]:
    """Return for a result what Stash cannot make, by scene, up to a limit."""
    return tuple(
        ItemFailure(item=f"scene {i}", reason=worded(of.missing, of.reason))
        for i, of in sorted(found.items())[:UNMAKEABLE_SHOWN]
    )


def check_generate(
    stash: StashClient,
    database: Database,
    params: CheckStashGenerateParams,
    progress: Progress,
    *,
    settings: StashSettings,
) -> CheckStashGenerateResult:
    """Check which scenes lack media; correct the flag `generated` by the outcome.

    Incomplete scenes lose the flag, and a targeted generate can be started for them;
    complete ones get it if everything a scene needs was checked, and if the mirror has
    no newer file or marker. Scenes are stored page by page, so that the work of a run
    that breaks off is kept. Media that Stash cannot make is counted separately, and
    checked again only with `params.recheck` or after a change. `stash` is the server
    that `params.server` names: nothing is stored of an additional one, whose scenes are
    not those of the mirror.

    Raises:
        TransientError: Stash was away; what was found until then is kept.
    """
    kinds = kinds_asked(params)
    is_mirrored = params.server is None
    memory = _EarlierChecks(stash, database, params) if is_mirrored else None
    # At least one: scenes may come after they were counted.
    total = len(params.scene_ids or ()) or stash.count_scenes() or 1
    found = _CheckFindings()
    for media in _pages(stash, params.scene_ids, found):
        keys = {scene.id: _key(scene, kinds) for scene in media}
        known, unchanged = memory.of(keys) if memory else ({}, {})
        changed = [
            scene
            for scene in media
            if scene.id not in unchanged
            and (memory is None or memory.complete.get(scene.id) != keys[scene.id])
        ]
        listed = found.listed + len(media)
        bar = progress.within(found.listed / total, min(1.0, listed / total))
        lacking = find_lacking(
            stash,
            changed,
            kinds,
            bar,
            label=f"{_LABEL}: {found.listed}/{total} scenes: media",
            at_a_time=settings.probes_at_a_time,
        )
        unmakeable = unchanged | {
            scene_id: known[scene_id]
            for scene_id, scene in lacking.items()
            if scene_id in known and known[scene_id].explains(scene.kinds)
        }
        found.add(media, changed, lacking, unmakeable)
        if memory is None:
            continue
        complete = [s for s in media if s.id not in lacking and s.id not in unchanged]
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
        "Checked %d scenes: %d lack media. %d unchanged scenes were skipped",
        found.checked,
        len(found.incomplete),
        found.listed - found.checked,
    )
    if found.unmakeable:
        logger.info(
            "%d scenes have media that Stash cannot make", len(found.unmakeable)
        )
    return found.result()


class _EarlierChecks:
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
        """Return what Stash cannot make of scenes, and which need no other check.

        The latter are as they were when nothing else was missing of them.
        """
        if not self._is_needed:
            return {}, {}
        with self._database.transaction() as session:
            known = unmakeable_of(session, keys, self._version)
        unchanged = {
            scene_id: found
            for scene_id, found in known.items()
            if (last := self._incomplete.get(scene_id)) is not None
            and last.key == keys[scene_id]
            and found.explains(last.missing)
        }
        return known, unchanged


@dataclass
class _CheckFindings:
    listed: int = 0
    checked: int = 0
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
        self.listed += len(media)
        self.checked += len(changed)
        self.unmakeable |= unmakeable
        self.incomplete |= {k: v for k, v in lacking.items() if k not in unmakeable}

    def result(self) -> CheckStashGenerateResult:
        missing = Counter(
            kind for scene in self.incomplete.values() for kind in scene.kinds
        )
        shown = list(self.incomplete.items())[:SAMPLES_SHOWN]
        return CheckStashGenerateResult(
            status="completed_with_errors" if self.gone else "completed",
            scenes_checked=self.checked,
            scenes_unchanged=self.listed - self.checked,
            scenes_complete=self.listed - len(self.incomplete) - len(self.unmakeable),
            scenes_incomplete=len(self.incomplete),
            scenes_unmakeable=len(self.unmakeable),
            unmakeable=listed_unmakeable(self.unmakeable),
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
                ItemFailure(item=f"scene {i}", reason=worded(scene.kinds))
                for i, scene in shown
            ),
            errors=tuple(
                ItemFailure(item=f"scene {i}", reason="Stash has no such scene")
                for i in self.gone
            ),
        )


def _pages(
    stash: StashClient, scene_ids: Sequence[int] | None, found: _CheckFindings
) -> Iterator[Sequence[SceneMedia]]:
    if scene_ids is None:
        yield from stash.scene_media_pages(_SCENES_AT_A_TIME)
        return
    for ids in batched(dict.fromkeys(scene_ids), _SCENES_AT_A_TIME):
        media, gone = stash.scene_media(ids)
        found.gone += gone
        yield media


def _findings(
    changed: Sequence[SceneMedia], keys: dict[int, int], lacking: dict[int, Lacking]
) -> Iterator[Checked]:
    for scene in changed:
        kinds = lacking[scene.id].kinds if scene.id in lacking else ()
        yield Checked(scene.id, keys[scene.id], tuple(kinds))


def _still_the_same(session: Session, scenes: Sequence[SceneMedia]) -> list[int]:
    """Return the scenes of which the mirror has no file or marker not checked here.

    A sync may have stored a marker after the page was listed.
    """
    mirrored = media_is_made_of(session, [scene.id for scene in scenes])
    same = []
    for scene in scenes:
        oshash, markers = mirrored.get(scene.id, (None, frozenset()))
        hashes = {f.value for file in scene.files[:1] for f in file.fingerprints}
        checked = {(marker.id, marker.seconds) for marker in scene.scene_markers}
        if markers <= checked and (oshash is None or oshash in hashes):
            same.append(scene.id)
    if changed := len(scenes) - len(same):
        logger.info(
            "%d scenes changed during the check; the next check covers these scenes",
            changed,
        )
    return same


def _key(scene: SceneMedia, kinds: frozenset[str]) -> int:
    """Return what changes with the file, the markers and the kinds of media.

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
