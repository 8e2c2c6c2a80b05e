"""Looking whether Stash has the media of scenes, many looks at a time.

Stash has no filter for previews, sprites and the like, and reports success whatever
became of them: each is asked for by its address, one byte of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from stashhog_core.background import map_in_threads
from stashhog_core.params import CheckStashGenerateParams, StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import SceneMedia

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

    Args:
        stash: The server.
        media: The scenes and where their media would be.
        kinds: What to look for.
        progress: Told of each look.
        label: How messages start.
        at_a_time: How many looks are under way at once.
    """
    lacking: dict[int, Lacking] = {}
    if "phash" in kinds:
        for scene_id in stash.scenes_lacking_phash([scene.id for scene in media]):
            lacking.setdefault(scene_id, Lacking()).add("phash")
    probes = [probe for scene in media for probe in _probes(scene, kinds)]
    found = _look(stash, probes, progress, label, at_a_time)
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


def _look(
    stash: StashClient,
    probes: Sequence[_Probe],
    progress: Progress,
    label: str,
    at_a_time: int,
) -> list[bool]:
    def look(probe: _Probe) -> bool:
        return probe.address is not None and stash.media_exists(probe.address)

    found: list[bool] = []
    with closing(map_in_threads(look, probes, at_a_time, "probe")) as answers:
        for exists in answers:
            found.append(exists)
            progress.items(len(found), len(probes), label)
    return found
