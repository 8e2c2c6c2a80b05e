"""Proposals: what is the same value, and which of several is kept."""

from stashhog_core.plans.proposals import (
    Proposal,
    add_marker,
    add_member,
    best_of,
    set_studio,
    set_text,
)
from stashhog_core.plans.wording import change_in_words, evidence_in_words


def tag(name: str, confidence: float, detector: str = "names") -> Proposal:
    return add_member("tags", 1, name, confidence, detector, {"rule": detector})


def test_one_value_is_proposed_once() -> None:
    """Case does not make another tag; the surest wins, the other stays as evidence."""
    kept = best_of([tag("Outdoor", 0.8), tag("outdoor", 0.9, "title_cards")])

    assert [(p.detector, p.confidence) for p in kept] == [("title_cards", 0.9)]
    assert kept[0].evidence["also"] == [
        {"detector": "names", "confidence": 0.8, "rule": "names"}
    ]


def test_field_that_holds_one_value_gets_one() -> None:
    """Two studios cannot both be set; two tags can both be added."""
    kept = best_of(
        [
            set_studio(1, "A", 0.8, "names", {}),
            set_studio(2, "B", 0.9, "title_cards", {}),
            tag("One", 0.8),
            tag("Two", 0.8),
        ]
    )

    assert [p.proposed["name"] for p in kept] == ["B", "One", "Two"]


def test_markers_differ_by_tag_and_second() -> None:
    """One tag may have several markers."""
    markers = [
        add_marker(1, "Dance", at, None, 0.8, "ai_server", {}) for at in (0, 5, 5)
    ]

    assert [p.value_key for p in best_of(markers)] == ["dance@0.00", "dance@5.00"]


def test_text_is_told_apart_by_its_content() -> None:
    """A turned-down text is remembered; another one is a new proposal."""
    one, same, other = (
        set_text("details", "x", text, 0.9, "details", {}) for text in ("a", "a", "b")
    )

    assert one.value_key == same.value_key != other.value_key


def test_wording() -> None:
    """Every kind of change and of evidence reads well."""
    marker = add_marker(1, "Dance", 12.5, None, 0.8, "ai_server", {}).proposed

    assert change_in_words("tags", "add", {"id": 1, "name": "Outdoor"}) == (
        "add tag Outdoor"
    )
    assert change_in_words("studio", "set", {"id": 1, "name": "A"}) == "set studio A"
    assert change_in_words("markers", "add", marker) == "add marker Dance at 12.5 s"
    assert change_in_words("details", "set", "x" * 100) == f"set details {'x' * 59}…"
    assert evidence_in_words(
        {"rule": "name on a title card", "second": 2.0, "text": "JADE", "score": 0.98}
    ) == ('name on a title card at 2 s: "JADE", score 0.98')
    assert evidence_in_words(
        {
            "rule": "known name",
            "text": "y" * 99 + " JK",
            "span": [100, 102],
            "alias": "JK",
        }
    ) == (f'known name: "{"y" * 28} JK" (alias JK)')
