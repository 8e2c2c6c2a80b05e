"""The labelled cards: drawn title cards, and what a person would tag."""

from tests.support.labelled import FOLDER, labelled_cards

CARDS = labelled_cards()


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
