"""How certain it is that a scene of a stash-box is this scene."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.detection.match_evidence import (
    AMBIGUOUS,
    has_phash,
    judge,
    phash_number,
)
from stashhog_core.detection.scene_facts import FileHash, PrimaryFile, SceneFacts
from stashhog_core.settings import Settings
from stashhog_core.stash.box_payloads import (
    RemoteFingerprint,
    RemoteName,
    RemotePerformer,
    RemoteScene,
)

THRESHOLD = Settings().analysis.confidence_threshold
PHASH = 0xBA9A47EF8D0219B2
OSHASH = "ce2613dcc019e324"


def scene(
    phash: int | str | None = PHASH,
    oshash: str = OSHASH,
    seconds: float | None = 61.4,
    path: str = "/data/1.mp4",
) -> SceneFacts:
    """Return a scene with one file and its hashes."""
    hashes = [FileHash("oshash", oshash, seconds)]
    if phash is not None:
        value = phash if isinstance(phash, str) else f"{phash:x}"
        hashes.append(FileHash("phash", value, seconds))
    file = PrimaryFile(path, seconds, 640, 360, 25, "h264", "aac", oshash)
    return SceneFacts(1, hashes=tuple(hashes), file=file)


def remote(
    *prints: tuple[str, str, int], duration: int | None = None, **more: object
) -> RemoteScene:
    """Return a scene of a stash-box with these hashes."""
    fingerprints = tuple(
        RemoteFingerprint(algorithm=algorithm, hash=value, duration=seconds)
        for algorithm, value, seconds in prints
    )
    return RemoteScene(fingerprints=fingerprints, duration=duration, **more)  # type: ignore[arg-type]


def apart(bits: int) -> str:
    """Return a perceptual hash that differs in so many bits."""
    return f"{PHASH ^ (2**bits - 1):x}"


def confidence(scene: SceneFacts, remote: RemoteScene, candidates: int = 1) -> float:
    return judge(scene, remote, candidates=candidates).confidence


@pytest.mark.parametrize(
    ("prints", "expected"),
    [
        ([("OSHASH", OSHASH, 61)], 0.95),
        ([("MD5", OSHASH, 61)], 0.3),
        ([("OSHASH", OSHASH, 61), ("PHASH", apart(3), 61)], 0.97),
        ([("PHASH", apart(0), 61)], 0.92),
        ([("PHASH", apart(2), 61)], 0.9),
        ([("PHASH", apart(4), 61)], 0.85),
        ([("PHASH", apart(5), 61)], 0.55),
        ([("PHASH", apart(9), 61)], 0.3),
        ([("PHASH", apart(9), 61), ("PHASH", apart(1), 61)], 0.9),
        # Another duration of more than a few seconds.
        ([("PHASH", apart(0), 64)], 0.87),
        ([("PHASH", apart(0), 70)], 0.62),
        ([("OSHASH", OSHASH, 9999)], 0.85),
        # The best hash counts, with its own duration.
        ([("PHASH", apart(0), 70), ("PHASH", apart(0), 61)], 0.92),
        ([("PHASH", apart(0), 70), ("PHASH", apart(3), 61)], 0.62),
    ],
    ids=str,
)
def test_hashes_and_durations(
    prints: list[tuple[str, str, int]], expected: float
) -> None:
    """The table of docs/analysis.md, one row after the other."""
    assert confidence(scene(), remote(*prints)) == pytest.approx(expected)


def test_a_black_video_proves_nothing() -> None:
    """All black videos have the hash 0, and so match each other."""
    black = remote(("PHASH", "0", 61))

    assert confidence(scene(phash="0"), black) == pytest.approx(0.3)
    assert not has_phash(scene(phash="0").hashes)
    assert not has_phash(scene(phash=None).hashes)
    assert has_phash(scene().hashes)


def test_a_hash_that_many_scenes_share_proves_nothing() -> None:
    """An intro that hundreds of videos begin with says nothing about this one."""
    found = remote(("PHASH", apart(0), 61))

    match = judge(scene(), found, candidates=1, worthless={PHASH})

    assert match.confidence == pytest.approx(0.3)
    assert match.evidence["hashes"] == "none that proves anything"
    exact = remote(("OSHASH", OSHASH, 61))
    assert judge(scene(), exact, candidates=1, worthless={PHASH}).confidence > 0.9


def test_leading_zeros_do_not_matter() -> None:
    """Hashes are compared as numbers: Stash writes them without leading zeros."""
    found = remote(("PHASH", "00000000000000ff", 61))

    assert confidence(scene(phash="ff"), found) == pytest.approx(0.92)


@pytest.mark.parametrize("value", ["", "xyz", "-1", "1" * 17, "12 "[:2] + "g"])
def test_what_is_no_hash(value: str) -> None:
    """A text that is no hash of 64 bits is none, and compares with nothing."""
    assert phash_number(value) is None
    assert confidence(scene(), remote(("PHASH", value, 61))) == pytest.approx(0.3)
    assert confidence(scene(phash=value), remote(("PHASH", "ff", 61))) < THRESHOLD


def test_the_name_of_the_file_agrees() -> None:
    """Title, date, performers and studio in the name add a little, and are named."""
    named = scene(path="/data/BlueHarbor.23.04.05.Ada.Winter.Harbor.Morning.mp4")
    found = remote(
        ("PHASH", apart(4), 61),
        title="Harbor Morning",
        date="2023-04-05",
        studio=RemoteName(name="Blue Harbor"),
        performers=(RemotePerformer(name="Ada Winter"), RemotePerformer(name="Nobody")),
    )

    match = judge(named, found, candidates=1)

    assert match.evidence["file name agrees with"] == "title, date, performers, studio"
    assert match.confidence == pytest.approx(0.91)
    assert confidence(scene(), found) == pytest.approx(0.85)


def test_a_short_name_agrees_by_chance() -> None:
    """`Ada` in `Nevada` says nothing, and a year alone is no date."""
    named = scene(path="/data/nevada 2023.mp4")
    found = remote(
        ("PHASH", apart(0), 61),
        title="Ada",
        date="2023",
        performers=(RemotePerformer(name="Ada"),),
    )

    assert "file name agrees with" not in judge(named, found, candidates=1).evidence


def test_the_second_file_of_a_scene() -> None:
    """Each file counts with its own hashes and its own duration."""
    two = SceneFacts(
        1,
        hashes=(FileHash("phash", "ff", 10.0), FileHash("phash", f"{PHASH:x}", 61.0)),
    )

    assert confidence(two, remote(("PHASH", apart(1), 61))) == pytest.approx(0.9)


numbers = st.integers(0, 2**64 - 1)
seconds = st.integers(0, 10**6)


@given(
    st.lists(st.tuples(numbers, seconds), max_size=5),
    numbers,
    st.none() | st.floats(0, 10**6),
    st.integers(1, 3000),
)
def test_any_hashes(
    prints: list[tuple[int, int]], own: int, duration: float | None, candidates: int
) -> None:
    """Always from 0 to 1; one of several candidates is never certain enough."""
    found = remote(*(("PHASH", f"{value:x}", length) for value, length in prints))

    match = judge(scene(phash=own, seconds=duration), found, candidates=candidates)

    assert 0 <= match.confidence <= 1
    if candidates > 1:
        assert match.confidence <= AMBIGUOUS < THRESHOLD


@given(numbers, st.integers(0, 64), st.integers(0, 64))
def test_a_larger_distance_is_never_more_certain(
    own: int, one: int, other: int
) -> None:
    """Confidence falls with the distance of the perceptual hashes."""
    near, far = sorted((one, other))
    certain, less = (
        confidence(
            scene(phash=own),
            remote(("PHASH", f"{own ^ ((1 << bits) - 1):x}", 61)),
        )
        for bits in (near, far)
    )
    zeros = {own ^ ((1 << bits) - 1) for bits in (near, far)} | {own}
    if 0 not in zeros:
        assert certain >= less
