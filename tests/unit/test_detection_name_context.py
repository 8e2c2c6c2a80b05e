"""What decides whether a text means a name, and that the time for it is bounded."""

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stashhog_core.detection.name_context import names_in
from stashhog_core.detection.name_finder import (
    ALWAYS_SEARCHED,
    Kind,
    KnownName,
    NameFinder,
)


def finder(*names: tuple[Kind, str]) -> NameFinder:
    return NameFinder(
        KnownName(kind, number, name, name) for number, (kind, name) in enumerate(names)
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Vixen - Summer Day", True),
        ("[Vixen] Summer Day", True),
        ("Day, Vixen & Night", True),
        ("A VIXEN PRODUCTION", True),
        ("Starring Vixen", True),
        ("Vixen Temple Tour", False),
        ("my-vixen", False),
        ("vixen.21.05.03.summer.day", True),
        ("vixen.2021-05-03 summer", True),
        ("vixen.21.05.summer", False),
        ("Scene\nVixen\nNight", True),
        ("www.vixen.com", True),
    ],
)
def test_single_word_needs_a_part_of_its_own(text: str, meant: bool) -> None:
    """Separators, and the words that surround names on cards, leave a name alone."""
    assert bool(names_in(text, finder(("studio", "Vixen")))) is meant


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Summer - The Dive", "a part of its own before a dash"),
        ("Jade Kush & Summer", "in a list of people"),
        ("The Dive (Summer)", "in brackets"),
        ("vixen.21.05.03.summer.dive", "right after the date of a release"),
        ("Starring: Summer", "after a word for people"),
    ],
)
def test_reason_is_reported(text: str, reason: str) -> None:
    """A reviewer sees why an everyday word was taken for a name."""
    names = names_in(
        text, finder(("performers", "Jade Kush"), ("performers", "Summer"))
    )

    assert [n.verdict.reason for n in names if n.match.known.name == "Summer"] == [
        reason
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Lane, Dakota (2019)", True),
        ("Lane Dakota - Hotel", True),
        ("Hotel - Lane, Dakota", True),
        ("Anna Lane, Dakota Fox", False),
        ("Anna, Lane, Dakota and Kim", False),
        ("in the Lane Dakota walked", False),
    ],
)
def test_last_name_first_needs_a_part_of_its_own(text: str, meant: bool) -> None:
    """Two neighbours in a list of people are not one person."""
    assert bool(names_in(text, finder(("performers", "Dakota Lane")))) is meant


def test_rejected_name_hides_nothing() -> None:
    """`A Summer Day` is not the performer, but the tag inside it still counts."""
    names = finder(("performers", "Summer Day"), ("tags", "Summer"))

    assert [n.match.known.name for n in names_in("A Summer Day", names)] == ["Summer"]
    assert [n.match.known.name for n in names_in("Summer Day - Dive", names)] == [
        "Summer Day"
    ]


def test_names_that_differ_only_by_folding_are_both_less_sure() -> None:
    """Neither is chosen silently: each names the other as the reason."""
    twins = finder(("performers", "Inés Vidal"), ("performers", "Ines Vidal"))

    found = names_in("Ines Vidal - Dive", twins)

    assert [n.match.known.name for n in found] == ["Inés Vidal", "Ines Vidal"]
    assert all(0.7 <= n.verdict.confidence < 0.8 for n in found)
    assert found[0].verdict.reason.endswith("spelled almost like Ines Vidal")


def test_misread_letters_count_on_cards_only() -> None:
    """Nobody types M1A C0LE as a file's name, but text recognition reads it."""
    names = finder(("performers", "Mia Cole"))

    assert names_in("M1A C0LE", names) == []
    (found,) = names_in("M1A C0LE", names, on_card=True)
    assert found.match.spelling == 3


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("JADE KUSHMIA COLE", ["Jade Kush", "Mia Cole"]),
        ("STARRINGJADE KUSH", ["Jade Kush"]),
        ("JADE KUSHNER", []),
        ("XMIA COLE", []),
    ],
)
def test_borders_that_text_recognition_lost(text: str, people: list[str]) -> None:
    """On cards a name may be joined to another name or to a word beside names."""
    names = finder(("performers", "Jade Kush"), ("performers", "Mia Cole"))

    found = names_in(text, names, on_card=True)

    assert [n.match.known.name for n in found] == people
    assert names_in(text, names) == []


@pytest.mark.parametrize("text", ["", " ", "x", "\n\n", "...", "\ud83d", "\u0301", "ﾞ"])
def test_texts_without_words(text: str) -> None:
    """Nothing is found and nothing fails, also not on half a character."""
    assert names_in(text, finder(("tags", "Beach"), ("performers", "Jade"))) == []


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions `work` calls: its time, whatever the machine."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize(
    "piece",
    [
        "Jade Kush, Summer and Mia Cole - Outdoor beach. ",
        "summer, ",
        "x x x X ",
        "JADEKUSH",
        "深田えいみ ",
        "Inés Vidal & ",
        "art beach - ",
        "art ",
        "OutdoorBeach",
        "jadekushx",
        "starring Summer - ",
        "Outdoor Beach Art ",
        "a\u0301\u0323",
        "Summer       ",
    ],
)
def test_time_grows_with_the_length_of_the_text_only(piece: str) -> None:
    """A text twice as long takes twice the calls, also where every word is a name."""
    names = finder(
        ("performers", "Jade Kush"),
        ("performers", "Mia Cole"),
        ("performers", "Summer"),
        ("performers", "X"),
        ("performers", "深田えいみ"),
        ("performers", "Inés Vidal"),
        ("performers", "Ines Vidal"),
        ("tags", "Outdoor"),
        ("tags", "Beach"),
        ("tags", "Art"),
    )
    short, long = piece * 300, piece * 600
    names_in(short, names, on_card=True)

    for on_card in (False, True):
        once = calls_of(partial(names_in, short, names, on_card=on_card))
        twice = calls_of(partial(names_in, long, names, on_card=on_card))

        assert twice <= 2.3 * once


def test_text_of_a_megabyte() -> None:
    """A huge details field is read to its end."""
    text = "lorem ipsum dolor " * 60_000 + "- Jade Kush"

    assert len(text) > 1_000_000
    assert [
        n.match.start for n in names_in(text, finder(("performers", "Jade Kush")))
    ] == [len(text) - len("Jade Kush")]


def test_fifty_thousand_names_cost_no_more_than_one() -> None:
    """The automaton passes the text once, whatever the number of names."""
    text = "Golden Hour - Person Number Seven - Dive"
    few = finder(("performers", "Person Number Seven"))
    many = finder(
        ("performers", "Person Number Seven"),
        *(("performers", f"Someone {number:05} Else") for number in range(50_000)),
    )
    for names in (few, many):
        names_in(text, names)

    assert calls_of(lambda: names_in(text, many)) == calls_of(
        lambda: names_in(text, few)
    )


def test_names_that_end_with_each_other_cost_no_more_than_a_dozen() -> None:
    """A library of a, aa, aaa, … takes no more time for each letter of a text."""
    few, many = (
        finder(*(("tags", "a" * number) for number in range(1, most)))
        for most in (14, 100)
    )
    text = "a " * 200
    for names in (few, many):
        names_in(text, names)

    # The longest names count: each is judged letter by letter.
    assert calls_of(lambda: names_in(text, many)) <= 12 * calls_of(
        lambda: names_in(text, few)
    )


SMALL_WORDS = st.text("aAb ,", min_size=1, max_size=30)


@settings(max_examples=25, deadline=None)
@given(
    known=st.lists(SMALL_WORDS, min_size=1, max_size=30),
    piece=SMALL_WORDS.filter(str.strip),
    kind=st.sampled_from(["performers", "studio", "tags"]),
    on_card=st.booleans(),
)
@example(["a" * n for n in range(1, 31)], "a", "tags", True)
@example(["a" * n for n in range(1, 31)], "a ", "tags", False)
@example(["a " * n for n in range(1, 31)], "a ", "performers", False)
@example(["a", "A", "b"], "a, b ", "performers", True)
def test_work_for_any_names_and_texts_is_bounded(
    known: list[str], piece: str, kind: Kind, on_card: bool
) -> None:
    """However the names lie over each other, the rest of a text is left out in time."""
    names = NameFinder(
        [KnownName(kind, number, name, name) for number, name in enumerate(known)],
        most_steps=20_000,
    )
    text = piece * (60_000 // len(piece))

    calls = calls_of(partial(names_in, text, names, on_card=on_card))

    assert calls <= 2_000_000


def test_text_with_too_many_names_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """What is left out is said; names before that place are found as always."""
    names = NameFinder([KnownName("tags", 1, "Beach", "Beach")], most_steps=20_000)
    text = "Beach, " * 10_000

    found = names_in(text, names)

    assert 1000 < len(found) < 2500
    (record,) = caplog.records
    assert record.getMessage() == (
        f"Searched only the first {found[-1].match.end + 6} of 70000 characters of a "
        "text for names, because the text contains too many names: "
        "Beach, Beach, Beach, Beach, Beach, Beach"
    )


def test_short_text_is_never_cut() -> None:
    """A path or a title is read to its end, whatever the names."""
    nested = [KnownName("tags", n, "a" * n, "a" * n) for n in range(1, 100)]
    beach = KnownName("tags", 100, "Beach", "Beach")
    names = NameFinder([*nested, beach], most_steps=1)

    found = names_in("a" * (ALWAYS_SEARCHED - 5) + " Beach", names)

    assert [named.match.known for named in found] == [beach]


def test_names_that_no_person_writes() -> None:
    """Names without letters are none; a name longer than a line is not looked for."""
    names = finder(("tags", ""), ("tags", "***"), ("performers", "Long " * 60))

    assert names_in("*** " + "Long " * 60, names) == []
