"""Detector `names`: what counts as a name, and how sure it is."""

import pytest

from stashhog_core.detection.known_names import propose
from stashhog_core.detection.name_finder import Kind, KnownName, NameFinder
from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts

ALL: set[Kind] = {"performers", "studio", "tags"}
FINDER = NameFinder(
    [
        KnownName("performers", 1, "Jade Kush", "Jade Kush"),
        KnownName("performers", 2, "Summer", "Summer"),
        KnownName("performers", 3, "Vespera", "Vespera"),
        KnownName("performers", 4, "Mia Storm", "Stormy Mia"),
        KnownName("studio", 1, "Golden Hour", "Golden Hour"),
        KnownName("tags", 1, "Outdoor", "Outdoor"),
        KnownName("tags", 2, "1080p", "1080p"),
        KnownName("tags", 3, "Video", "Video"),
        KnownName("tags", 4, "Data", "Data"),
    ]
)


def scene(path: str, **facts: object) -> SceneFacts:
    file = PrimaryFile(path, 60, 640, 360, 25, "h264", "aac", None)
    return SceneFacts(id=1, file=file, **facts)  # type: ignore[arg-type]


def names(a_scene: SceneFacts, kinds: set[Kind] = ALL) -> set[str]:
    proposals = propose(a_scene, FINDER, kinds, ["/data"])
    return {proposal.proposed.as_text for proposal in proposals}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/data/Golden Hour/Jade Kush.mp4", {"Golden Hour", "Jade Kush"}),
        ("/data/A Summer Day.mp4", set()),
        ("/data/Summer - Day.mp4", {"Summer"}),
        ("/data/Vespera - Day.mp4", {"Vespera"}),
        ("/data/A vespera day.mp4", set()),
        ("/data/day (stormy mia).mp4", {"Mia Storm"}),
        ("/data/outdoor.day.1080p.video.mp4", {"Outdoor"}),
    ],
)
def test_what_counts_as_a_name(path: str, found: set[str]) -> None:
    """Single words need a place of their own; fillers and facts never count."""
    assert names(scene(path)) == found


def test_only_the_kinds_asked_for() -> None:
    """A switched-off kind is not proposed."""
    one = scene("/data/Golden Hour/Jade Kush outdoor.mp4")

    assert names(one, {"tags"}) == {"Outdoor"}


def test_title_and_details_are_read() -> None:
    """Names stand in Stash's texts as well as in paths."""
    assert names(scene("/data/1.mp4", title="Jade Kush", details="Outdoor fun")) == {
        "Jade Kush",
        "Outdoor",
    }


def test_library_roots_are_no_evidence() -> None:
    """The folder that holds everything says nothing; below it, folders do."""
    assert names(scene("/data/1.mp4")) == set()
    assert names(scene("/data/data/1.mp4")) == {"Data"}


def test_what_the_scene_has_is_not_proposed() -> None:
    """Existing tags and performers are left out, and a set studio stays."""
    one = scene(
        "/data/Golden Hour/Jade Kush outdoor.mp4",
        studio_id=9,
        tag_ids=frozenset([1]),
        performer_ids=frozenset([1]),
    )

    assert names(one) == set()


def test_evidence_shows_rule_and_characters() -> None:
    """A reviewer sees where the name stands."""
    (proposal,) = propose(scene("/data/With_Jade.Kush.mp4"), FINDER, ALL, ["/data"])

    assert proposal.evidence == {
        "rule": "known name in the file name",
        "reason": "a full name",
        "text": "With_Jade.Kush",
        "span": [5, 14],
    }


def test_confidence_follows_the_form_of_the_match() -> None:
    """Full names are surer than aliases, and files surer than folders and prose."""

    def sure(path: str, **facts: object) -> float:
        (proposal,) = propose(scene(path, **facts), FINDER, ALL, ["/data"])
        return proposal.confidence

    full = sure("/data/Jade Kush.mp4")
    assert full > sure("/data/stormy mia.mp4")
    assert (
        full > sure("/data/Jade Kush/1.mp4") > sure("/data/1.mp4", details="Jade Kush")
    )
