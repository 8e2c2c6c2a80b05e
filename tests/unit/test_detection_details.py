"""Detector `details`: markup goes, the author's words stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.detection.details import clean, propose
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.plans.proposals import TextValue


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("One<br/>Two<BR>Three", "One\nTwo\nThree"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("&lt;b&gt;bold&lt;/b&gt; move", "bold move"),
        ("a&nbsp;&nbsp;b", "a b"),
        ("  many   spaces \t here ", "many spaces here"),
        ("one\r\n\r\n\r\n\r\ntwo", "one\n\ntwo"),
        ("I <3 you, a < b > c", "I <3 you, a < b > c"),
        ("<script>alert(1)</script>text<!-- note -->", "text"),
        ('<a href="https://x">link</a>', "link"),
        ("<Jade> is no markup", "<Jade> is no markup"),
        ("", ""),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    """Only what is surely markup is removed."""
    assert clean(text) == cleaned


@given(st.text("<>/&;abpr lt#39\n\u200b\xa0", max_size=80))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    """A cleaned text is never proposed again."""
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<script>" * 100_000, id="scripts without an end"),
        pytest.param("<!--" * 200_000, id="comments without an end"),
        pytest.param("&" + "amp;" * 200_000, id="escaped again and again"),
        pytest.param("<b" * 50_000 + ">" * 50_000, id="tags inside tags"),
    ],
)
def test_large_texts_take_no_time_by_their_square(text: str) -> None:
    """What was built to be long is read a few times, and stays as it is."""
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("<style>a<script>b</style>c", "c"),
        ("<script>a<!-- b</script>c", "c"),
        ("<!-- a<script>b", "<!-- a<script>b"),
        ("<script>a<style>b</style>c", "<script>ac"),
        ("<SCRIPT src='x'>a</script >b<script>c</SCRIPT>d", "bd"),
    ],
)
def test_what_is_hidden_ends_where_it_began(text: str, cleaned: str) -> None:
    """Each kind has its own end; without an end nothing is hidden."""
    assert clean(text) == cleaned


def test_proposal_holds_both_texts() -> None:
    """The base is the text as it is, for the three-way comparison."""
    (proposal,) = propose(SceneFacts(id=1, details="a &amp; b"))

    assert proposal.base == TextValue("a &amp; b")
    assert proposal.proposed == TextValue("a & b")


@pytest.mark.parametrize("details", ["", "clean already"])
def test_nothing_to_clean_proposes_nothing(details: str) -> None:
    """Empty and clean details are left alone."""
    assert propose(SceneFacts(id=1, details=details)) == []
