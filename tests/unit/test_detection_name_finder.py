"""Finding known names: whole names, the longest first, nothing ambiguous."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.detection.letters import fold
from stashhog_core.detection.name_finder import KnownName, NameFinder


def performer(id_: int, name: str, alias: str | None = None) -> KnownName:
    return KnownName("performers", id_, name, alias or name)


def studio(id_: int, name: str) -> KnownName:
    return KnownName("studio", id_, name, name)


def tag(id_: int, name: str) -> KnownName:
    return KnownName("tags", id_, name, name)


def found(finder: NameFinder, text: str) -> list[tuple[str, str]]:
    """Return (main name, the characters of the text) of each match."""
    return [(m.known.name, text[m.start : m.end]) for m in finder.find(text)]


def test_longest_name_hides_those_inside_it() -> None:
    """Jade Kush is not Jade; another Jade in the same text still is."""
    finder = NameFinder([performer(1, "Jade Kush"), performer(2, "Jade")])

    assert found(finder, "Jade Kush meets Jade") == [
        ("Jade Kush", "Jade Kush"),
        ("Jade", "Jade"),
    ]


def test_longest_name_hides_other_kinds_too() -> None:
    """A tag inside a studio's name is part of that name."""
    finder = NameFinder([studio(1, "Outdoor Films"), tag(1, "Outdoor")])

    assert found(finder, "outdoor films") == [("Outdoor Films", "outdoor films")]


@pytest.mark.parametrize(
    "text",
    [
        "Jade Kush",
        "jade.kush",
        "JADE_KUSH",
        "Jade-Kush",
        "(jade  kush)",
        "Jadé Kush",
        "JadeKush",
        "#jadekush",
    ],
)
def test_separators_case_accents_and_lost_spaces_do_not_matter(text: str) -> None:
    """All usual ways of writing a name in a path are found."""
    finder = NameFinder([performer(1, "Jade Kush")])

    assert [name for name, _ in found(finder, text)] == ["Jade Kush"]


@pytest.mark.parametrize("text", ["Jadekusher", "Jade Kushner", "xjade kush", "Jade"])
def test_parts_of_words_are_no_names(text: str) -> None:
    """A name ends where a word ends."""
    finder = NameFinder([performer(1, "Jade Kush")])

    assert finder.find(text) == []


def test_span_points_into_the_original_text() -> None:
    """Evidence shows the characters as they stand, letters that fold to more too."""
    text = "/data/ﬁlms/Straße_mit_JADE.kush.mp4"
    finder = NameFinder([performer(1, "Jade Kush"), tag(2, "Strasse")])

    assert found(finder, text) == [("Strasse", "Straße"), ("Jade Kush", "JADE.kush")]


def test_alias_finds_the_main_name() -> None:
    """The match says which alias was found."""
    finder = NameFinder([performer(1, "Jade Kush", "J. Kush")])

    (match,) = finder.find("with J Kush")

    assert (match.known.name, match.known.is_alias) == ("Jade Kush", True)


def test_ambiguous_name_is_not_reported() -> None:
    """Two performers called the same: nobody is guessed, but the words are taken."""
    finder = NameFinder(
        [performer(1, "Anna Bell"), performer(2, "Anna Bell"), performer(3, "Anna")]
    )

    assert finder.find("Anna Bell") == []


def test_main_name_goes_before_an_alias() -> None:
    """Somebody's alias does not make another one's name ambiguous."""
    finder = NameFinder(
        [performer(1, "Someone", "Anna Bell"), performer(2, "Anna Bell")]
    )

    assert [m.known.id for m in finder.find("Anna Bell")] == [2]


def test_alias_that_differs_by_accents_from_a_main_name_is_reported_too() -> None:
    """Each is a rival of the other: neither is chosen silently."""
    finder = NameFinder(
        [performer(1, "Inés Vidal"), performer(2, "Lola", "Ines Vidal")]
    )

    matches = finder.find("Ines Vidal")

    assert [(m.known.name, m.rivals) for m in matches] == [
        ("Inés Vidal", ("Lola",)),
        ("Lola", ("Inés Vidal",)),
    ]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        (
            "Sean O'Neil",
            ["sean oneil", "SeanONeil", "Sean O\u2019Neil", "Sean_O_Neil"],
        ),
        ("Sean ONeil", ["Sean O'Neil", "sean o neil", "SeanONeil"]),
        ("J.K. Doe", ["JK Doe", "J. K. Doe", "j.k.doe", "JKDoe"]),
        ("JK Doe", ["J.K. Doe", "J K Doe"]),
        (
            "BlueHarbor Films",
            ["Blue Harbor Films", "BlueHarbor.Films", "blueharborfilms"],
        ),
        ("Blue Harbor Films", ["BlueHarbor Films", "BLUE HARBORFILMS"]),
        ("Mia Cole", ["MiaCole", "miacole", "M I A C O L E"]),
        ("MiaCole", ["Mia Cole", "mia.cole"]),
        ("Tom & Baker", ["Tom and Baker", "tom.and.baker", "Tom&Baker"]),
    ],
)
def test_names_meet_in_both_directions(name: str, texts: list[str]) -> None:
    """However the name is spelled in Stash and in the text."""
    finder = NameFinder([studio(1, name)])

    assert [text for text in texts if not finder.find(text)] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Jade Kush", "Jade, Kush"),
        ("Jade Kush", "Jade - Kush"),
        ("Jade Kush", "Jade/Kush"),
        ("Tom & Baker", "Tom, Baker"),
        ("Al Lie", "allie"),
        ("Therapist", "the rapist"),
        ("Muse", "Muse\u0301um"),
        ("ガク", "カク"),
        ("李娜", "桃李娜样"),
    ],
)
def test_other_words_of_the_same_letters_are_no_names(name: str, text: str) -> None:
    """Signs part names, and words that only happen to have the letters do not count."""
    assert NameFinder([studio(1, name)]).find(text) == []


def test_one_name_may_mean_things_of_several_kinds() -> None:
    """A studio and a tag of one name are both found."""
    finder = NameFinder([studio(1, "Blonde"), tag(2, "Blonde")])

    assert [m.known.kind for m in finder.find("Blonde")] == ["studio", "tags"]


def test_lookup_is_exact() -> None:
    """Looking up takes the whole name, of the kind asked for."""
    finder = NameFinder([tag(1, "Big Tree"), studio(2, "Tree")])

    assert finder.lookup("big-tree", "tags") == tag(1, "Big Tree")
    assert finder.lookup("BigTree", "tags") == tag(1, "Big Tree")
    assert finder.lookup("tree", "tags") is None


def test_last_name_first_is_found_but_lookup_ignores_it() -> None:
    """Catalogues turn names; a person whose name is spelled so goes first."""
    turned = NameFinder([performer(1, "Dakota Lane")])
    both = NameFinder([performer(1, "Dakota Lane"), performer(2, "Lane Dakota")])

    assert [m.known.id for m in turned.find("Lane, Dakota")] == [1]
    assert [m.known.id for m in turned.find("Lane Dakota")] == [1]
    assert turned.lookup("Lane Dakota", "performers") is None
    assert [words for words, _ in turned.names()] == [["dakota", "lane"]]
    assert [m.known.id for m in both.find("Lane Dakota")] == [2]


@pytest.mark.parametrize("name", ['Eva "Evie" Lang', "Eva (Evie) Lang"])
def test_nickname_in_quotes_may_be_left_out(name: str) -> None:
    """Both names are hers; a name that somebody else has without it is theirs."""
    alone = NameFinder([performer(1, name)])
    both = NameFinder([performer(1, name), performer(2, "Eva Lang")])

    assert [m.known.id for m in alone.find("Eva Lang")] == [1]
    assert [m.known.id for m in alone.find("Eva 'Evie' Lang")] == [1]
    assert [m.known.id for m in both.find("Eva Lang")] == [2]


def test_lookup_prefers_the_exact_spelling() -> None:
    """An alias that is spelled so goes before a main name of the same letters."""
    finder = NameFinder([tag(1, "Big Tree"), KnownName("tags", 2, "Oak", "BigTree")])

    assert finder.lookup("BigTree", "tags") == KnownName("tags", 2, "Oak", "BigTree")
    assert finder.lookup("Big Tree", "tags") == tag(1, "Big Tree")


def test_no_names_find_nothing() -> None:
    """A Stash without performers, tags and studios is no error."""
    finder = NameFinder([])

    assert finder.find("anything") == []
    assert finder.lookup("anything", "tags") is None


words = st.text("abcdeé ß", min_size=1, max_size=12)


@given(names=st.lists(words, max_size=8), text=st.text("abcdeé ß-_", max_size=60))
def test_matches_are_whole_words_of_the_text_and_do_not_overlap(
    names: list[str], text: str
) -> None:
    """Whatever the names, a match is one of them, and no two share a letter.

    Names that differ only by accents stand at the same place, each with its rival.
    """
    finder = NameFinder([tag(number, name) for number, name in enumerate(names)])

    matches = finder.find(text)

    for match in matches:
        assert fold(text[match.start : match.end]) == fold(match.known.alias)
    single = [(m.start, m.end) for m in matches if not m.rivals]
    assert len(set(single)) == len(single)
    spans = list(dict.fromkeys((m.start, m.end) for m in matches))
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
