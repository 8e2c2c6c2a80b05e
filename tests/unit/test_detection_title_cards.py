"""Detector `title_cards`: names on cards and in the file's name."""

from pathlib import Path
from typing import Any

import pytest

from stashhog_core.detection.name_finder import KINDS, Kind, KnownName, NameFinder
from stashhog_core.detection.ocr import TextLine, load_ocr
from stashhog_core.detection.readers import StashNames
from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts
from stashhog_core.detection.title_cards import TitleCards
from stashhog_core.errors import ItemError
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import Proposal, best_of, evidence_in_words
from tests.support.media import write_cards

FINDER = NameFinder(
    [
        KnownName("performers", 1, "Jade Kush", "Jade Kush"),
        KnownName("performers", 2, "Summer", "Summer"),
        KnownName("performers", 3, "Mia Storm", "Stormy Mia"),
        KnownName("studio", 1, "Golden Hour Films", "Golden Hour Films"),
        KnownName("tags", 1, "Outdoor", "Outdoor"),
        KnownName("tags", 2, "Beach", "Beach"),
        KnownName("tags", 3, "Night", "Night"),
    ]
)
STASH_NAMES = StashNames(FINDER, lambda name: None, create_missing_tags=True)


def scene(path: str, **facts: Any) -> SceneFacts:
    file = PrimaryFile(path, 60, 640, 360, 25, "h264", "aac", None)
    return SceneFacts(id=1, file=file, **facts)


def unread(pictures: object) -> list[list[TextLine]]:
    raise AssertionError("nothing was to be read")


def proposals_for(
    *lines: tuple[float, str, float], path: str = "/data/1.mp4"
) -> list[Proposal]:
    """Return the proposals for cards with lines of (second, text, score)."""
    output = {
        "lines": [
            {"second": s, "text": text, "score": score} for s, text, score in lines
        ]
    }
    reader = TitleCards(unread, PathMap({}))
    return best_of(reader.propose(scene(path), output, STASH_NAMES))


def test_card_names_studio_performer_and_tags() -> None:
    """All that a card says is proposed, each with its second, text and score."""
    proposals = proposals_for(
        (1.0, "GOLDEN HOUR FILMS", 0.99),
        (1.0, "presents", 0.99),
        (4.0, "Starring Jade Kush", 0.97),
        (4.0, "Outdoor, Beach", 0.9),
    )

    assert [(p.field, p.proposed.as_text, p.confidence) for p in proposals] == [
        ("studio", "Golden Hour Films", 0.99),
        ("performers", "Jade Kush", 0.97),
        ("tags", "Outdoor", 0.9),
        ("tags", "Beach", 0.9),
    ]
    assert proposals[1].evidence == {
        "rule": "name on a title card",
        "reason": "a full name",
        "second": 4.0,
        "text": "Starring Jade Kush",
        "score": 0.97,
    }


def test_evidence_says_how_many_pictures_were_seen() -> None:
    """A reviewer reads from it how much of the video a proposal rests on."""
    line = {"second": 4.0, "text": "Jade Kush", "score": 0.97}
    output = {"pictures_seen": 13, "pictures_asked": 120, "lines": [line]}

    (proposal,) = TitleCards(unread, PathMap({})).propose(
        scene("/data/1.mp4"), output, STASH_NAMES
    )

    assert evidence_in_words(proposal.evidence) == (
        'name on a title card at 4 s: "Jade Kush", a full name, score 0.97, '
        "13 of 120 pictures seen"
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_the_requested_kinds_are_proposed(kind: Kind) -> None:
    """What cards and file names show of other kinds was not asked for."""
    lines = [
        {"second": 1.0, "text": text, "score": 0.9}
        for text in ("GOLDEN HOUR FILMS", "Starring Jade Kush", "Outdoor, Beach")
    ]
    reader = TitleCards(unread, PathMap({}), {kind})

    found = reader.propose(
        scene("/data/Golden Hour Films - Jade Kush.mp4"), {"lines": lines}, STASH_NAMES
    )

    assert {proposal.field for proposal in found} == {kind}


@pytest.mark.slow
def test_pictures_are_counted_for_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sums are among the costs; a video that shows hardly anything is warned of."""
    write_cards(tmp_path / "1.mp4", [(2.0, ["One"]), (1.0, ["Two"])])
    cards = [(1.0, [f"Card {number}"]) for number in range(100)]
    whole = write_cards(tmp_path / "whole.mkv", cards, frames_per_second=1)
    content = whole.read_bytes()
    (tmp_path / "2.mkv").write_bytes(content[: len(content) // 40])
    reader = TitleCards(
        lambda pictures: [[] for _ in pictures], PathMap({"/data": str(tmp_path)})
    )

    first = reader.read(scene("/data/1.mp4"))
    assert not caplog.records
    second = reader.read(scene("/data/2.mkv"))

    assert (first["pictures_seen"], first["pictures_asked"]) == (2, 3)
    assert second["pictures_seen"] < 5
    assert second["pictures_asked"] == 100
    assert reader.costs() == {
        "pictures_seen": 2 + second["pictures_seen"],
        "pictures_asked": 103,
    }
    (warning,) = caplog.records
    assert f"only {second['pictures_seen']} of 100 pictures" in warning.getMessage()


def test_name_may_run_over_two_lines() -> None:
    """The worse of the two lines says how sure the name is."""
    (proposal,) = proposals_for((1.0, "JADE", 0.99), (1.0, "KUSH", 0.8))

    assert (proposal.proposed.as_text, proposal.confidence) == ("Jade Kush", 0.8)
    assert proposal.evidence["text"] == "JADE / KUSH"


def card_proposals(*lines: tuple[str, tuple[int, int, int, int]]) -> list[Proposal]:
    """Return the proposals for one card with lines of (text, place)."""
    output = {
        "lines": [
            {"second": 1.0, "text": text, "score": 0.97, "box": box}
            for text, box in lines
        ]
    }
    reader = TitleCards(unread, PathMap({}))
    return best_of(reader.propose(scene("/data/1.mp4"), output, STASH_NAMES))


def test_names_that_stand_beside_each_other_are_read_down() -> None:
    """Each over two lines; a word of one and a word of the other are no name."""
    proposals = card_proposals(
        ("Jade", (100, 100, 160, 120)),
        ("Golden", (300, 100, 380, 120)),
        ("Kush", (100, 125, 160, 145)),
        ("Hour", (310, 125, 370, 145)),
        ("Films", (310, 150, 370, 170)),
    )

    assert [(p.proposed.as_text, p.evidence["text"]) for p in proposals] == [
        ("Jade Kush", "Jade / Kush"),
        ("Golden Hour Films", "Golden / Hour / Films"),
    ]


def test_lines_far_below_one_another_are_no_column() -> None:
    """More than a line's height between two lines parts what they say."""
    assert (
        card_proposals(
            ("Jade", (100, 100, 160, 120)),
            ("Nurse", (300, 100, 380, 120)),
            ("Kush", (100, 150, 160, 170)),
        )
        == []
    )


def test_letters_far_apart_are_one_line() -> None:
    """Text recognition may take each letter for a line."""
    proposals = proposals_for(*((1.0, letter, 0.9) for letter in "JADEKUSH"))

    assert [p.proposed.as_text for p in proposals] == ["Jade Kush"]
    assert (
        proposals_for(*((1.0, letter, 0.9) for letter in "JAD"), (1.0, "EK", 0.9)) == []
    )


def test_lines_of_different_cards_are_not_joined() -> None:
    """A word of one card and a word of the next are no name."""
    assert proposals_for((1.0, "JADE", 0.99), (2.0, "KUSH", 0.99)) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Starring Summer", ["Summer"]),
        ("A Summer to remember", []),
        ("GoldenHourFilms", ["Golden Hour Films"]),
        ("stormy mia", ["Mia Storm"]),
        pytest.param("Tags: Kitchen, Night", ["Night"], id="list-of-tags"),
        pytest.param("Late in the Night", [], id="filler-word"),
    ],
)
def test_single_words_need_room_on_a_card(text: str, names: list[str]) -> None:
    """On a card even an everyday word is a name, if it stands alone."""
    assert [p.proposed.as_text for p in proposals_for((1.0, text, 0.95))] == names


def test_tag_among_other_words_is_less_sure() -> None:
    """It may be part of a sentence."""
    (proposal,) = proposals_for((1.0, "Fun at the beach today", 0.95))

    assert proposal.confidence == pytest.approx(0.76)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/data/Golden Hour Films - Jade Kush.mp4", ["Golden Hour Films", "Jade Kush"]),
        ("/data/stormy mia outdoor.mp4", []),
        ("/data/Jade Kush/1.mp4", []),
    ],
)
def test_file_name_is_one_more_card(path: str, names: list[str]) -> None:
    """Full main names count in it; aliases, tags and folders are `names`' business."""
    assert [p.proposed.as_text for p in proposals_for(path=path)] == names


def test_missing_file_says_which_mapping_is_missing(tmp_path: Path) -> None:
    """The error names the setting and the path where the file should be."""
    nowhere = TitleCards(unread, PathMap({}))
    mapped = TitleCards(unread, PathMap({"/data": str(tmp_path)}))

    with pytest.raises(ItemError, match=r'STASHHOG_STASH__PATH_MAP=\{"/data": '):
        nowhere.read(scene("/data/1.mp4"))
    with pytest.raises(
        ItemError, match=rf"no file {tmp_path}/1\.mp4, to which STASHHOG"
    ):
        mapped.read(scene("/data/1.mp4"))


def test_scene_without_file_is_an_item_error() -> None:
    """Stash can hold scenes without files."""
    with pytest.raises(ItemError, match="no file"):
        TitleCards(unread, PathMap({})).read(SceneFacts(id=1))


@pytest.mark.slow
def test_real_cards_are_read(tmp_path: Path) -> None:
    """From pixels to proposals: a drawn card is decoded, read and matched."""
    cards = [
        (1.0, []),
        (3.0, ["Golden Hour Films", "presents"]),
        (3.0, ["Starring", "Jade Kush", "Outdoor, Beach"]),
    ]
    write_cards(tmp_path / "1.mp4", cards)
    reader = TitleCards(load_ocr(), PathMap({"/data": str(tmp_path)}))
    one = scene("/data/1.mp4")

    output = reader.read(one)
    proposals = best_of(reader.propose(one, output, STASH_NAMES))

    assert output["pictures"] == 2
    for line in output["lines"]:
        left, top, right, bottom = line["box"]
        assert 0 <= left < right <= 640
        assert 0 <= top < bottom <= 360
    assert {(p.proposed.as_text, p.evidence["second"]) for p in proposals} == {
        ("Golden Hour Films", 1.0),
        ("Jade Kush", 4.0),
        ("Outdoor", 4.0),
        ("Beach", 4.0),
    }
    assert all(p.confidence >= 0.9 for p in proposals)
