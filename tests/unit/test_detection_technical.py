"""Detector `technical`: tags from the file's facts."""

from dataclasses import replace

import pytest

from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts
from stashhog_core.detection.technical import TAG_NAMES, classify, propose

FILE = PrimaryFile("/data/a.mp4", 600.0, 640, 360, 25.0, "h264", "aac", None)
STASH = {"1080p": (1, "1080p"), "fhd": (1, "1080p"), "vertical": (7, "Vertical")}


def in_stash(name: str) -> tuple[int, str] | None:
    return STASH.get(name.lower())


def nowhere(name: str) -> tuple[int, str] | None:
    return None


def classes(**facts: object) -> set[str]:
    return {kind for kind, _ in classify(replace(FILE, **facts))}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (640, 360, set()),
        (854, 480, {"480p"}),
        (1280, 720, {"720p"}),
        (1920, 1080, {"1080p"}),
        (1918, 1072, {"1080p"}),
        (1920, 800, {"1080p"}),
        (2560, 1440, {"1440p"}),
        (3840, 2160, {"4k"}),
        (7680, 4320, {"8k"}),
        (1080, 1920, {"1080p", "portrait"}),
        (1080, 1080, {"1080p", "square"}),
        (0, 0, set()),
        (None, None, set()),
    ],
)
def test_size(width: int | None, height: int | None, expected: set[str]) -> None:
    """The smaller side counts, cut bars are added, unknown sizes say nothing."""
    assert classes(width=width, height=height) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"frame_rate": 59.94}, {"60fps"}),
        ({"frame_rate": 50.0}, set()),
        ({"frame_rate": 240.0}, {"60fps"}),
        ({"frame_rate": 1000.0}, set()),
        ({"frame_rate": None}, set()),
        ({"audio_codec": ""}, {"silent"}),
        ({"audio_codec": "", "width": 0, "height": 0}, set()),
        ({"duration_seconds": 299.9}, {"short"}),
        ({"duration_seconds": 2400.0}, {"long"}),
        ({"duration_seconds": 0.0}, set()),
        ({"duration_seconds": None}, set()),
    ],
)
def test_other_facts(facts: dict[str, object], expected: set[str]) -> None:
    """Frame rate, sound and length; what Stash does not know puts into no class.

    A rate above 240 is no camera's: short Matroska files give such averages.
    """
    assert classes(**facts) == expected


SIZES = [
    (854, 480),
    (1280, 720),
    (1920, 1080),
    (2560, 1440),
    (3840, 2160),
    (7680, 4320),
    (1080, 1080),
    (720, 1280),
]


def test_every_class_has_a_name() -> None:
    """No class can come up that has no tag name."""
    found = set()
    for width, height in SIZES:
        for seconds in (10.0, 5000.0):
            found |= classes(
                width=width,
                height=height,
                frame_rate=60.0,
                audio_codec="",
                duration_seconds=seconds,
            )

    for codec in ("hevc", "av1", "vp9"):
        found |= classes(video_codec=codec, hdr="HLG")
    found |= {kind for kind, _ in classify(FILE, "film_vr180")}
    assert found == set(TAG_NAMES)


def test_tag_that_stash_knows_is_taken_by_any_of_its_names() -> None:
    """The user's own tag is used rather than a new one of another name."""
    scene = SceneFacts(id=1, file=replace(FILE, width=1080, height=1920))

    proposals = propose(scene, in_stash, create_missing=True)

    assert [p.proposed.stored for p in proposals] == [
        {"id": 1, "name": "1080p"},
        {"id": 7, "name": "Vertical"},
    ]


def test_missing_tag_is_proposed_only_if_it_may_be_created() -> None:
    """Without leave to create tags, what Stash lacks is not proposed."""
    scene = SceneFacts(id=1, file=replace(FILE, width=1280, height=720))

    allowed = propose(scene, nowhere, create_missing=True)

    assert [p.proposed.stored for p in allowed] == [{"id": None, "name": "720p"}]
    assert propose(scene, nowhere, create_missing=False) == []


def test_own_names_of_classes() -> None:
    """A user's name replaces ours; an empty one switches the class off."""
    scene = SceneFacts(id=1, file=replace(FILE, width=720, height=1280))

    proposals = propose(
        scene, nowhere, create_missing=True, names={"720p": "HD", "portrait": ""}
    )

    assert [p.proposed.as_text for p in proposals] == ["HD"]


def test_what_the_scene_has_is_not_proposed() -> None:
    """A tag that is there is left out; so is everything of a scene without a file."""
    scene = SceneFacts(
        id=1, file=replace(FILE, width=1920, height=1080), tag_ids=frozenset([1])
    )

    assert propose(scene, in_stash, create_missing=True) == []
    assert propose(SceneFacts(id=2), in_stash, create_missing=True) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"video_codec": "hevc"}, {"hevc"}),
        ({"video_codec": "H265"}, {"hevc"}),
        ({"video_codec": "av1"}, {"av1"}),
        ({"hdr": "PQ"}, {"hdr"}),
        ({"hdr": None}, set()),
    ],
)
def test_codec_and_hdr(facts: dict[str, object], expected: set[str]) -> None:
    """Common codecs and plain pictures have no class."""
    assert classes(**facts) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Jade Kush_180_180x180_3dh_LR", True),
        ("Summer Day - VR180", True),
        ("summer.day.180.lr", True),
        ("film_MKX200", True),
        ("Summer Day 360", False),
        ("Room 180", False),
        ("VRoom", False),
    ],
)
def test_vr_is_recognized_by_the_name(name: str, expected: bool) -> None:
    """Marks of VR players count; a mere number does not."""
    assert ("vr" in {kind for kind, _ in classify(FILE, name)}) is expected


def test_rare_classes_create_no_tags() -> None:
    """Few want a tag for each codec: only what is known or named by the user."""
    scene = SceneFacts(id=1, file=replace(FILE, video_codec="hevc"))

    assert propose(scene, nowhere, create_missing=True) == []
    named = propose(scene, nowhere, True, {"hevc": "Small File"})
    assert [p.proposed.as_text for p in named] == ["Small File"]
