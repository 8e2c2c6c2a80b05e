"""Rows of the original as values of this product, or why a row has none."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stashhog_core.errors import ItemError, storable
from stashhog_core.ids import MAX_ID
from stashhog_core.original.source import Row
from stashhog_core.plans.proposals import (
    ChangeState,
    MarkerValue,
    NamedValue,
    Proposal,
    TextValue,
    Value,
    name_key,
)

DETECTOR = "imported"
"""Detector of the changes that were taken over: the original does not record it."""

CHANGE = "change"
"""Key of the evidence with the number that the change had in the original."""

PLAN_STATES = {
    # A plan that was being built when the original ended is as good as a draft.
    "pending": "draft",
    "draft": "draft",
    "reviewing": "reviewing",
    "applied": "applied",
    "complete": "applied",
    "cancelled": "cancelled",
}
_CHANGE_STATES: dict[str, ChangeState] = {
    "pending": "pending",
    "approved": "approved",
    "accepted": "approved",
    "rejected": "rejected",
    "applied": "applied",
}
# What versions before the column `status` had instead, the strongest first.
_OLD_STATES = ("applied", "rejected", "accepted")
_FIELDS = {
    "tags": "tags",
    "tag": "tags",
    "performers": "performers",
    "performer": "performers",
    "studio": "studio",
    "title": "title",
    "details": "details",
    "markers": "markers",
}
_SYNC_STATES = {
    "completed": "completed",
    "partial": "completed_with_errors",
    "failed": "failed",
    "cancelled": "cancelled",
    "in_progress": "interrupted",
    "running": "interrupted",
}
_TRUE = frozenset({"1", "t", "true"})
_NUMBER = re.compile(r"[0-9]{1,19}")
_SHOWN_CHARACTERS = 40
_LONGEST_SECONDS = 1e7


class NotCarriedOver(ItemError):  # noqa: N818 - a finding more than a fault
    """A row, or part of one, that this product has no place for; `what` says why."""


@dataclass(frozen=True)
class Names:
    """The names of the mirror, to find what a name of the original means.

    Attributes:
        tags: Key of a name or alias → id and main name.
        performers: The same of performers.
        studios: The same of studios.
    """

    tags: Mapping[str, NamedValue]
    performers: Mapping[str, NamedValue]
    studios: Mapping[str, NamedValue]

    def tag(self, name: str) -> NamedValue:
        """Return a tag, without an id if the mirror lacks it."""
        return self.tags.get(name_key(name)) or NamedValue(None, name)


def flag(value: object) -> bool:
    """Return a flag: PostgreSQL has booleans, SQLite numbers or texts."""
    return str(value).strip().lower() in _TRUE


def stash_id(value: object) -> int | None:
    """Return an id of Stash; None: the value is none."""
    text = str(value).strip()
    number = int(text) if _NUMBER.fullmatch(text) else 0
    return number if 0 < number <= MAX_ID else None


def moment(value: object) -> datetime | None:
    """Return a time in UTC; None: there is none, or no time that Python knows."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(str(value))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def count(value: object) -> int:
    """Return a number that is not negative; what is no number counts as 0."""
    text = str(value)
    return min(int(text), MAX_ID) if _NUMBER.fullmatch(text) else 0


def words(value: object) -> str:
    """Return a text that the database can store."""
    return "" if value is None else storable(str(value))


def json_value(text: object) -> Any:
    """Return a JSON value in a form that the database can store.

    Raises:
        NotCarriedOver: The text is not JSON.
    """
    if text is None:
        return None
    try:
        return _storable(json.loads(str(text)))
    except (ValueError, RecursionError) as error:
        raise NotCarriedOver("The value is not valid JSON") from error


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(name): _storable(item) for name, item in value.items()}
    return value


def state_of(row: Row) -> ChangeState:
    """Return the state of a change.

    Raises:
        NotCarriedOver: This product does not know the state.
    """
    if "status" not in row:
        found = next((name for name in _OLD_STATES if flag(row.get(name))), "pending")
    else:
        found = words(row["status"]).lower()
    if found not in _CHANGE_STATES:
        raise NotCarriedOver(f"The change has the unknown state {_shown(found)}")
    return _CHANGE_STATES[found]


def sync_state(row: Row) -> str:
    """Return how a sync of the original ended.

    Raises:
        NotCarriedOver: This product does not know the state.
    """
    found = words(row.get("status")).lower()
    if found not in _SYNC_STATES:
        raise NotCarriedOver(f"The sync has the unknown state {_shown(found)}")
    return _SYNC_STATES[found]


def proposals(row: Row, names: Names) -> Iterator[Proposal]:
    """Yield a change of the original; one with a list of values becomes several.

    Raises:
        NotCarriedOver: The change, or one of its values, has no counterpart.
    """
    asked = words(row.get("field")).lower()
    field = _FIELDS.get(asked)
    if field is None:
        raise NotCarriedOver(f"StashHog does not change the field {_shown(asked)}")
    action = words(row.get("action")).lower()
    # The original reads what is removed from the value before.
    is_removal = action == "remove"
    value = json_value(row.get("proposed_value"))
    before = json_value(row.get("current_value"))
    if is_removal and before not in (None, [], ""):
        value = before
    for base, proposed, kind in _values(field, action, value, before, names):
        yield Proposal(
            field,  # type: ignore[arg-type]
            kind,  # type: ignore[arg-type]
            base,
            proposed,
            _confidence(row.get("confidence")),
            DETECTOR,
            {"rule": "from the original StashHog", CHANGE: count(row.get("id"))},
        )


_Change = tuple[Value | None, Value, str]


def _values(
    field: str, action: str, value: Any, before: Any, names: Names
) -> Iterator[_Change]:
    if field in ("title", "details") and action in ("set", "update", "add"):
        yield TextValue(_text(before)), TextValue(_text(value, needed=True)), "set"
    elif field == "studio" and action in ("set", "update", "add"):
        studio = _known(names.studios, _name(value), "studio")
        old = names.studios.get(name_key(_name(before))) if before else None
        yield old, studio, "set"
    elif field == "markers" and action == "add":
        for item in _items(value):
            yield None, _marker(item, names), "add"
    elif field in ("tags", "performers") and action in ("add", "remove"):
        for item in _items(value):
            name = _name(item)
            if field == "performers":
                member = _known(names.performers, name, "performer")
            elif action == "remove":
                member = _known(names.tags, name, "tag")
            else:
                member = names.tag(name)
            yield (member if action == "remove" else None), member, action
    else:
        raise NotCarriedOver(f"StashHog cannot {_shown(action)} {field}")


def _items(value: Any) -> Sequence[Any]:
    items = value if isinstance(value, list) else [value]
    if not items:
        raise NotCarriedOver("The change has no value")
    return items


def _name(value: Any) -> str:
    """Return the name of a tag, performer or studio, which may be an object."""
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str) or not name.strip():
        raise NotCarriedOver("The value has no name")
    return name.strip()


def _known(known: Mapping[str, NamedValue], name: str, kind: str) -> NamedValue:
    found = known.get(name_key(name))
    if found is None:
        raise NotCarriedOver(
            f"The mirror has no {kind} of that name", where=_shown(name)
        )
    return found


def _text(value: Any, *, needed: bool = False) -> str:
    """Return a text, which may be an object; for no text, the empty one."""
    text = value.get("text") if isinstance(value, dict) else value
    if isinstance(text, str):
        return text
    if needed or text is not None:
        raise NotCarriedOver("The value is no text")
    return ""


def _marker(value: Any, names: Names) -> MarkerValue:
    if not isinstance(value, dict):
        raise NotCarriedOver("The value is no marker")
    tags = value.get("tags")
    tag = _name(tags[0] if isinstance(tags, list) and tags else value.get("title"))
    seconds, end = value.get("seconds"), value.get("end_seconds")
    title = value.get("title")
    shown = title if isinstance(title, str) and title.strip() else tag
    return MarkerValue(
        shown,
        names.tag(tag),
        _seconds(seconds),
        None if end is None else _seconds(end),
    )


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < _LONGEST_SECONDS:
        raise NotCarriedOver("The marker has no valid time")
    return float(value)


def _confidence(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return min(1.0, max(0.0, number)) if math.isfinite(number) else 0.0


def _shown(text: str) -> str:
    short = text[:_SHOWN_CHARACTERS]
    return repr(short + "…" if len(text) > len(short) else short)
