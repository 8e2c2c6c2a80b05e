"""Proposals: what is the same value, and which of several is kept."""

import pytest

from stashhog_core.plans.proposals import (
    MarkerValue,
    NamedValue,
    Proposal,
    StoredValue,
    TextValue,
    add_marker,
    add_member,
    best_of,
    change_in_words,
    evidence_in_words,
    read_value,
    remove_member,
    set_studio,
    set_text,
    with_name,
)


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

    assert [p.proposed.as_text for p in kept] == ["B", "One", "Two"]


def test_markers_differ_by_tag_and_second() -> None:
    """One tag may have several markers."""
    markers = [
        add_marker(1, "Dance", at, None, 0.8, "ai_server", {}) for at in (0, 5, 5)
    ]

    assert [p.value_key for p in best_of(markers)] == ["dance@0.00", "dance@5.00"]


def test_text_is_distinguished_by_its_content() -> None:
    """A turned-down text is remembered; another one is a new proposal."""
    one, same, other = (
        set_text("details", "x", text, 0.9, "details", {}) for text in ("a", "a", "b")
    )

    assert one.value_key == same.value_key != other.value_key


@pytest.mark.parametrize(
    ("proposal", "stored"),
    [
        (add_member("tags", None, "Fresh", 1, "x", {}), {"id": None, "name": "Fresh"}),
        (set_studio(2, "Golden Hour", 1, "x", {}), {"id": 2, "name": "Golden Hour"}),
        (set_text("date", "", "2024-01-02", 1, "x", {}), "2024-01-02"),
        (
            add_marker(1, "Dance", 12.5, None, 1, "x", {}),
            {
                "title": "Dance",
                "tag": {"id": 1, "name": "Dance"},
                "seconds": 12.5,
                "end_seconds": None,
            },
        ),
    ],
)
def test_values_are_stored_as_they_always_were(
    proposal: Proposal, stored: StoredValue
) -> None:
    """Databases hold plans of earlier versions: what is written is what is read."""
    assert proposal.row["proposed"] == stored
    assert read_value(stored) == proposal.proposed


def test_base_is_stored_with_its_proposal() -> None:
    """A value to be added has none; a text may replace an empty one."""
    text = set_text("title", "", "New", 1, "x", {})
    removed = remove_member("tags", 4, "Old", 1, "x", {})

    assert tag("Outdoor", 0.8).row["base"] is None
    assert text.row["base"] == ""
    assert removed.row["base"] == removed.row["proposed"] == {"id": 4, "name": "Old"}


def test_replaced_name_keeps_the_rest_of_the_value() -> None:
    """Another tag moves no marker."""
    marker = add_marker(1, "Dance", 12.5, 20.0, 0.8, "ai_server", {}).proposed
    other = NamedValue(7, "Walk")

    assert with_name(marker, other) == MarkerValue("Walk", other, 12.5, 20.0)
    assert with_name(NamedValue(None, "Dance"), other) == other


def test_wording() -> None:
    """Every kind of change and of evidence reads well."""
    marker = add_marker(1, "Dance", 12.5, None, 0.8, "ai_server", {}).proposed

    assert change_in_words("tags", "add", NamedValue(1, "Outdoor")) == "add tag Outdoor"
    assert change_in_words("studio", "set", NamedValue(1, "A")) == "set studio A"
    assert change_in_words("markers", "add", marker) == "add marker Dance at 12.5 s"
    assert change_in_words("details", "set", TextValue("x" * 100)) == (
        f"set details {'x' * 59}…"
    )
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
