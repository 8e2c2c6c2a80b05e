"""Saying a change and its evidence in words."""

from collections.abc import Mapping
from typing import Any

_SHOWN_CHARACTERS = 60
_ONE = {"tags": "tag", "performers": "performer", "markers": "marker"}
_SAID_APART = frozenset({"rule", "text", "span", "also", "second", "alias"})


def change_in_words(field: str, action: str, proposed: Any) -> str:
    """Return such as `add tag Outdoor`."""
    return f"{action} {_ONE.get(field, field)} {value_in_words(field, proposed)}"


def value_in_words(field: str, proposed: Any) -> str:
    """Return a proposed value for people; long texts are cut."""
    if field == "markers":
        return f"{proposed['title']} at {proposed['seconds']:g} s"
    if isinstance(proposed, Mapping):
        return str(proposed["name"])
    return _cut(str(proposed))


def evidence_in_words(evidence: Mapping[str, Any]) -> str:
    """Return why a change was proposed, such as `name on a title card at 2 s: "…"`."""
    words = str(evidence.get("rule", ""))
    if "second" in evidence:
        words += f" at {evidence['second']:g} s"
    if "text" in evidence:
        words += f': "{_around(evidence)}"'
    if "alias" in evidence:
        words += f" (alias {evidence['alias']})"
    facts = [f"{k} {v}" for k, v in evidence.items() if k not in _SAID_APART]
    return f"{words}, {', '.join(facts)}" if facts else words


def attention_in_words(plan_id: int, failed: int) -> str:
    """Say that changes of a plan failed in several runs, and what a person can do."""
    changes = "1 change" if failed == 1 else f"{failed} changes"
    return (
        f"{changes} failed in several runs. List: "
        f"`stashhog plans show {plan_id} --state failed`; try again: `stashhog plans "
        f"apply {plan_id} --retry`; drop: `stashhog plans reject {plan_id} --change ID`"
    )


def _around(evidence: Mapping[str, Any]) -> str:
    """Return the part of the text that the evidence points to."""
    text = str(evidence["text"])
    start, end = evidence.get("span", (0, len(text)))
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    first = max(0, start - (_SHOWN_CHARACTERS - (end - start)) // 2)
    return _cut(text[first:])


def _cut(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return text[: _SHOWN_CHARACTERS - 1] + "…"
