"""Text that is fit to be looked at."""

import pytest

from stashhog_core.display import visible, visible_lines


@pytest.mark.parametrize(
    "unseen",
    ["\0", "\x1b", "\x7f", "\x9b", "\xad", "\u061c", "\u200b", "\u200f", "\u2028",
     "\u202e", "\u2066", "\ufeff", "\ud800", "\U000e0041"],
    ids=ascii,
)  # fmt: skip
def test_what_has_an_effect_unseen_is_replaced(unseen: str) -> None:
    """It could steer a terminal, turn a line around, or tell two names apart."""
    assert visible(f"a{unseen}b") == "a\ufffdb"
    assert visible_lines(f"a{unseen}b") == "a\ufffdb"


@pytest.mark.parametrize(
    "name", ["Zoë Müller", "深田えいみ", "naïve 🎬.mp4", "e\u0301"]
)
def test_names_of_all_scripts_stay(name: str) -> None:
    """Accents, quotation marks, other scripts and pictures are names like others."""
    assert visible(name) == name


def test_a_text_stays_on_its_lines_or_comes_on_one() -> None:
    """Where one line is wanted, breaks and tabs are blanks."""
    assert visible("a\n\tb\r\nc") == "a b c"
    assert visible_lines("a\n\tb") == "a\n\tb"
