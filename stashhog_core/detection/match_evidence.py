"""How certain it is that a scene of a stash-box is this scene: rules without I/O.

Stash says that a stash-box has matched something, and not what, nor how well. So the
hashes that both know are compared here. The table is in docs/analysis.md.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stashhog_core.detection.letters import fold
from stashhog_core.detection.scene_facts import FileHash, SceneFacts
from stashhog_core.plans.proposals import CANDIDATES
from stashhog_core.stash.box_payloads import RemoteScene

PHASH_BITS = 64

AMBIGUOUS = 0.6
"""Highest confidence of a candidate that is not the only one."""

_EXACT = 0.95
_EXACT_AND_PHASH = 0.97
_BY_DISTANCE = ((0, 0.92), (2, 0.9), (4, 0.85), (8, 0.55))
"""Largest distance of two perceptual hashes, and the confidence up to it."""

_NO_EVIDENCE = 0.3
_CLOSE_DISTANCE = 4

_NEAR_SECONDS = 2.0
_FAR_SECONDS = 5.0
_DEDUCTION_SLIGHT = 0.05
_DEDUCTION_EXACT = 0.1
_DEDUCTION_PHASH = 0.3

_FOR_EACH_NAME = 0.02
_MOST_FOR_NAMES = 0.06
_HIGHEST = 0.99
_LEAST_LETTERS = 5
"""Shorter names occur in file names by chance."""

_DIGITS = re.compile(r"\D+")


@dataclass(frozen=True)
class Match:
    """What speaks for a candidate.

    Attributes:
        confidence: 0 to 1.
        certainty: The confidence if the candidate were the only one.
        evidence: The facts that the confidence is computed from, as people read them.
    """

    confidence: float
    certainty: float
    evidence: dict[str, Any]


@dataclass(frozen=True)
class _Hashes:
    """How the hashes agree: the exact kinds that are equal, and the phash's distance.

    `duration_difference` is the smallest difference, in seconds, between a file and the
    video whose hash agrees best; None: not known.
    """

    exact: tuple[str, ...]
    distance: int | None
    duration_difference: float | None


def judge(
    scene: SceneFacts,
    remote: RemoteScene,
    *,
    candidates: int,
    worthless: Collection[int] = (),
) -> Match:
    """Compare a scene with a candidate of a stash-box.

    Args:
        scene: The scene.
        remote: The candidate.
        candidates: Number of candidates that the stash-box has for the scene.
        worthless: Perceptual hashes that prove nothing, because many scenes have them.
    """
    hashes = _compare(scene, remote, worthless)
    certainty = _of_hashes(hashes) - _of_duration(hashes)
    agreeing = list(_agreeing(scene.file_name, remote))
    certainty += min(_MOST_FOR_NAMES, _FOR_EACH_NAME * len(agreeing))
    certainty = min(_HIGHEST, certainty)
    confidence = certainty if candidates == 1 else min(AMBIGUOUS, certainty)
    evidence: dict[str, Any] = {"hashes": _in_words(hashes)}
    if hashes.duration_difference is not None:
        evidence["duration differs by"] = f"{hashes.duration_difference:.0f} s"
    if agreeing:
        evidence["file name agrees with"] = ", ".join(agreeing)
    evidence[CANDIDATES] = candidates
    return Match(confidence, certainty, evidence)


def phash_number(value: str) -> int | None:
    """Return a perceptual hash as a number; None: the text is no such hash."""
    try:
        number = int(value, 16)
    except ValueError:
        return None
    return number if 0 <= number < 2**PHASH_BITS else None


def has_phash(hashes: Iterable[FileHash]) -> bool:
    """Tell whether any file has a perceptual hash that is not of a black video."""
    return any(h.kind == "phash" and phash_number(h.value) for h in hashes)


def _compare(
    scene: SceneFacts, remote: RemoteScene, worthless: Collection[int]
) -> _Hashes:
    exact: dict[str, None] = {}
    distance: int | None = None
    of_exact: list[float] = []
    of_phash: list[float] = []
    for own in scene.hashes:
        for theirs in remote.fingerprints or ():
            if own.kind != theirs.algorithm.lower():
                continue
            apart = _difference(own.duration_seconds, theirs.duration)
            if own.kind != "phash":
                if own.value.lower() == theirs.hash.lower():
                    exact[own.kind] = None
                    of_exact += apart
                continue
            bits = _distance(own.value, theirs.hash, worthless)
            if bits is None or (distance is not None and bits > distance):
                continue
            if distance is None or bits < distance:
                distance, of_phash = bits, []
            of_phash += apart
    apart = of_exact or of_phash
    if not apart:
        files = [h.duration_seconds for h in scene.hashes]
        apart = [d for own_ in files for d in _difference(own_, remote.duration)]
    return _Hashes(tuple(exact), distance, min(apart, default=None))


def _difference(own: float | None, theirs: int | None) -> list[float]:
    """Return the difference of two durations; nothing if one is not known."""
    return [abs(own - theirs)] if own and theirs else []


def _distance(own: str, theirs: str, worthless: Collection[int]) -> int | None:
    """Return in how many bits two perceptual hashes differ; None: nothing is proved.

    All black videos have the hash 0.
    """
    one, other = phash_number(own), phash_number(theirs)
    if not one or not other or one in worthless:
        return None
    return (one ^ other).bit_count()


def _of_hashes(hashes: _Hashes) -> float:
    distance = hashes.distance
    if hashes.exact:
        is_close = distance is not None and distance <= _CLOSE_DISTANCE
        return _EXACT_AND_PHASH if is_close else _EXACT
    for most, confidence in _BY_DISTANCE:
        if distance is not None and distance <= most:
            return confidence
    return _NO_EVIDENCE


def _of_duration(hashes: _Hashes) -> float:
    """Return the deduction for another duration, or for one that is not known."""
    apart = hashes.duration_difference
    proves_nothing = not hashes.exact and hashes.distance is None
    if proves_nothing or (apart is not None and apart <= _NEAR_SECONDS):
        return 0.0
    if apart is None or apart <= _FAR_SECONDS:
        return 0.0 if hashes.exact else _DEDUCTION_SLIGHT
    return _DEDUCTION_EXACT if hashes.exact else _DEDUCTION_PHASH


def _agreeing(file_name: str, remote: RemoteScene) -> Iterator[str]:
    """Yield what of a candidate stands in the name of the file."""
    letters = fold(file_name)

    def occurs(name: str | None) -> bool:
        wanted = fold(name or "")
        return len(wanted) >= _LEAST_LETTERS and wanted in letters

    if occurs(remote.title):
        yield "title"
    digits = _DIGITS.sub("", remote.date or "")
    # Releases write two digits of the year as well.
    if len(digits) == len("20230405") and digits[2:] in _DIGITS.sub("", file_name):
        yield "date"
    if any(occurs(performer.name) for performer in remote.performers or ()):
        yield "performers"
    if remote.studio is not None and occurs(remote.studio.name):
        yield "studio"


def _in_words(hashes: _Hashes) -> str:
    words = [f"{kind} is the same" for kind in hashes.exact]
    if hashes.distance is not None:
        words.append(f"phash differs in {hashes.distance} of {PHASH_BITS} bits")
    return " and ".join(words) or "none that proves anything"
