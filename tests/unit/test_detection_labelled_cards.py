"""The labelled cards: drawn title cards, and what a person would tag."""

import pytest

from stashhog_core.detection.name_finder import NameFinder
from stashhog_core.detection.ocr import load_ocr
from stashhog_core.detection.title_cards import TitleCards
from stashhog_core.paths import PathMap
from tests.support.labelled import (
    FOLDER,
    labelled_cards,
    labelled_library,
    proposed_for_cards,
)

CARDS = labelled_cards()
EVERY = 4
"""`make bench` reads all cards; the tests read each fourth of them."""


def test_the_set_is_large_enough_and_a_quarter_was_kept_back() -> None:
    """At least 150 cards, so that one card more or less decides nothing."""
    held = sum(card.held for card in CARDS)

    assert len(CARDS) >= 150
    assert 0.2 <= held / len(CARDS) <= 0.3
    assert len({card.name for card in CARDS}) == len(CARDS)


def test_each_card_has_a_small_video() -> None:
    """The videos are kept in the repository: no test needs the fonts of a machine."""
    videos = {path.stem: path for path in (FOLDER / "cards").iterdir()}

    assert videos.keys() == {card.name for card in CARDS}
    assert sum(path.stat().st_size for path in videos.values()) < 3_000_000


def test_hardly_any_card_is_known_to_be_incomplete() -> None:
    """At least 95 of 100 cards are complete."""
    assert sum(card.incomplete for card in CARDS) <= 0.05 * len(CARDS)


@pytest.mark.slow
def test_cards_are_tagged_as_a_person_would() -> None:
    """All values of each card, and no others; no wrong ones where some are missing."""
    cards = CARDS[::EVERY]
    reader = TitleCards(load_ocr(), PathMap({}))
    lines = {card.name: reader.read(card.scene)["lines"] for card in cards}
    tag = proposed_for_cards(NameFinder(labelled_library()), lines)

    found = {card.name: tag(card) for card in cards}

    complete = [card for card in cards if not card.incomplete]
    assert {card.name: found[card.name] for card in complete} == {
        card.name: card.labels for card in complete
    }
    assert all(found[card.name] <= card.labels for card in cards)
