"""Folding a text to its letters, with their places in the text."""

# Letters that look alike are what these tests are about.
# ruff: noqa: RUF001

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.detection.letters import Gap, Letters, fold, fold_words


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Muséum", "museum"),
        ("Straße Dz", "strassedz"),
        ("Øre Łódź Đorđe Yıldız İzmir", "orelodzdordeyildizizmir"),
        ("Æsir Œuvre Þór", "aesiroeuvrethor"),
        ("Ｊａｄｅ　Ｋｕｓｈ", "jadekush"),
        ("O’Neil Oʼ Neil", "oneiloneil"),
        ("Алёна", "алена"),
        ("ΜΑΡΊΑ ς", "μαριασ"),
        ("ｶﾞｸ", "ガク"),
        ("カク", "カク"),
        ("प्रिया", "प्रिया"),
        ("مـــريم", "مريم"),
        ("-- ♥ --", ""),
        ("", ""),
    ],
)
def test_folding(text: str, letters: str) -> None:
    """Case, width, accents and separators go; voice marks and vowel signs stay."""
    assert fold(text) == letters


@given(st.text(max_size=40))
def test_composed_and_decomposed_texts_have_the_same_letters(text: str) -> None:
    """File names of macOS are decomposed, those of other systems as typed."""
    composed = unicodedata.normalize("NFC", text)

    assert fold(unicodedata.normalize("NFD", text)) == fold(composed)


@given(st.text(max_size=40))
def test_letters_stand_in_the_text_in_their_order(text: str) -> None:
    """Each letter has a place, places only grow, and none is empty."""
    letters = Letters(text)

    places = [(letters.starts[i], letters.end(i)) for i in range(len(letters.letters))]
    assert len(letters.starts) == len(letters.letters)
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("text", "index", "gap"),
    [
        ("jade kush", 4, Gap.SEPARATOR),
        ("jade", 0, Gap.SEPARATOR),
        ("jade", 4, Gap.SEPARATOR),
        ("jade", 2, Gap.NONE),
        ("JadeKush", 4, Gap.CAPITAL),
        ("JKDoe", 2, Gap.CAPITAL),
        ("JADE", 2, Gap.NONE),
        ("jade2", 4, Gap.DIGIT),
        ("伏字hello", 2, Gap.SCRIPT),
        ("深田えいみ", 2, Gap.NONE),
        ("新人アンナ", 2, Gap.SCRIPT),
        ("Straße", 5, Gap.WITHIN),
    ],
)
def test_gaps(text: str, index: int, gap: Gap) -> None:
    """What lies before a letter; the ends of a text are separators."""
    assert Letters(text).gap(index) == gap


def test_misread_letters_are_the_same_on_both_sides() -> None:
    """A name and its misreading give the same letters, with places in the text."""
    read = Letters("Torn 8AKER")

    assert read.misread().letters == Letters("Tom Baker").misread().letters
    assert read.text[read.misread().starts[2] : read.misread().end(2)] == "rn"


def test_words() -> None:
    """Separators part words; capitals do not."""
    assert fold_words("Jade-Kush & MiaCole") == ["jade", "kush", "miacole"]
