"""A plan by value, page by page: what is proposed for how many scenes.

A page costs what its values cost, however many changes the plan has: the counts are
kept with the changes (`ValueCount`), and an index leads to the changes of a value, the
most certain first. Only a filter that the counts know nothing of, such as a text, has
the changes counted anew.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Float,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from stashhog_core.db.models import PlanChange, ValueCount
from stashhog_core.db.paging import Page, read_place
from stashhog_core.plans.proposals import NAMELESS_FIELDS, field_in_words
from stashhog_core.plans.selection import ALL_CHANGES, Selection, stored_name

VALUES_A_PAGE = 60
_MOST_PICTURES = 6
"""Pictures in the strip of a value."""

_KEY = ("field", "action", "group_key")
"""What the changes with one value share."""

_Key = tuple[str, str, str]


@dataclass(frozen=True)
class ValueGroup:
    """All selected changes of a plan with one value.

    Attributes:
        field: The field.
        action: add, remove or set.
        name: The value; empty for texts, which differ from scene to scene.
        detectors: Who proposed it.
        states: State → number of changes.
        confidence: The lowest and the highest.
        pictures: Scene and second of some of the changes, the most certain first; no
            second: the evidence points to none.
    """

    field: str
    action: str
    name: str
    detectors: Sequence[str]
    states: Mapping[str, int]
    confidence: tuple[float, float]
    pictures: Sequence[tuple[int, float | None]]

    @property
    def title(self) -> str:
        """The value; for texts what they are, such as `Titles`."""
        if self.name:
            return self.name
        kind = field_in_words(self.field)
        kinds = kind if kind.endswith("s") else f"{kind}s"
        return kinds[0].upper() + kinds[1:]

    @property
    def in_words(self) -> str:
        """What is done with it, such as `add tag`."""
        return f"{self.action} {field_in_words(self.field)}"

    @property
    def changes(self) -> int:
        """Number of changes."""
        return sum(self.states.values())

    @property
    def is_once_a_scene(self) -> bool:
        """Whether no scene has the value twice, so that changes are scenes."""
        return self.field not in (*NAMELESS_FIELDS, "markers")


def values_page(
    session: Session,
    plan_id: int,
    selection: Selection = ALL_CHANGES,
    after: str | None = None,
    size: int = VALUES_A_PAGE,
) -> Page[ValueGroup]:
    """Return the values of the selected changes, those of most changes first."""
    counts = _counts(plan_id, selection).cte("counts")
    c = counts.c
    by = tuple(c[name] for name in _KEY)
    changes = func.sum(c.changes)
    found = select(*by, changes.label("changes")).group_by(*by).having(changes > 0)
    if after is not None:
        number, *last = _read_place(after)
        follows = (changes == number) & (tuple_(*by) > tuple_(*map(literal, last)))
        found = found.having((changes < number) | follows)
    shown = found.order_by(changes.desc(), *by).limit(size + 1).cte("shown")
    rows = session.execute(
        select(*by, c.detector, c.state, func.min(c.name).label("name"), changes)
        .join(shown, and_(*(c[name] == shown.c[name] for name in _KEY)))
        .group_by(*by, shown.c.changes, c.detector, c.state)
        .having(changes > 0)
        .order_by(shown.c.changes.desc(), *by)
    )
    of_value: dict[_Key, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        of_value[_key(row)].append(row)
    keys = list(of_value)[:size]
    seen = _glances(session, plan_id, selection, [r for k in keys for r in of_value[k]])
    groups = [_group(of_value[key], seen[key]) for key in keys]
    if len(of_value) <= size:
        return Page(groups, None)
    return Page(groups, f"{groups[-1].changes} {' '.join(keys[-1])}")


def _read_place(after: str) -> tuple[int, str, str, str]:
    """Read the number of changes and the key of the last value of a page."""
    # Only the last part may have blanks in it, or be empty.
    *first, key = after.split(" ", 3)
    number, field, action = read_place(" ".join(first), int, str, str)
    return number, field, action, key


def _counts(plan_id: int, selection: Selection) -> Select[Any]:
    """Return how many selected changes have a value, by detector and state.

    Several rows may have to be added up.
    """
    counted = selection.counted
    if counted is not None:
        names = (*_KEY, "name", "detector", "state", "changes")
        return select(*(getattr(ValueCount, name) for name in names)).where(
            ValueCount.plan_id == plan_id, counted
        )
    by = [
        *(getattr(PlanChange, name) for name in (*_KEY, "detector", "state")),
        func.coalesce(stored_name(), "").label("name"),
    ]
    return (
        select(*by, func.count().label("changes"))
        .where(PlanChange.plan_id == plan_id, selection.condition)
        .group_by(*by)
    )


def _glances(
    session: Session, plan_id: int, selection: Selection, values: Iterable[Row[Any]]
) -> dict[_Key, list[Row[Any]]]:
    """Return the most certain of the selected changes with each of these values.

    They are read state by state, because the index has the state before the
    confidence. Beside each stands the lowest confidence in its state.
    """
    places = zip(*{(*_key(row), row.state) for row in values}, strict=True)
    texts = [bindparam(None, list(place), ARRAY(Text)) for place in places]
    if not texts:
        return {}
    place = func.unnest(*texts).table_valued(*_KEY, "state").render_derived("place")
    second = func.coalesce(
        PlanChange.proposed["seconds"].astext, PlanChange.evidence["second"].astext
    )
    chosen = (
        PlanChange.plan_id == plan_id,
        *(getattr(PlanChange, name) == place.c[name] for name in (*_KEY, "state")),
        selection.condition,
    )
    confidence = PlanChange.confidence
    best = (
        select(
            PlanChange.id,
            PlanChange.scene_id,
            confidence,
            cast(second, Float).label("second"),
        )
        .where(*chosen)
        .order_by(confidence.desc(), PlanChange.id)
        .limit(_MOST_PICTURES)
        .lateral("best")
    )
    least = (
        select(confidence.label("least"))
        .where(*chosen)
        .order_by(confidence, PlanChange.id.desc())
        .limit(1)
        .lateral("least")
    )
    b = best.c
    rows = session.execute(
        select(*(place.c[name] for name in _KEY), *b, least.c.least)
        .select_from(place.join(best, true()).join(least, true()))
        .order_by(b.confidence.desc(), b.id)
    )
    found: dict[_Key, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[_key(row)].append(row)
    return found


def _key(row: Row[Any]) -> _Key:
    return row.field, row.action, row.group_key


def _group(counted: Sequence[Row[Any]], seen: Sequence[Row[Any]]) -> ValueGroup:
    """Return a value.

    Args:
        counted: Its numbers by detector and state.
        seen: Changes that have it, the most certain first; at least one.
    """
    states: Counter[str] = Counter()
    for row in counted:
        states[row.state] += row[-1]
    return ValueGroup(
        field=counted[0].field,
        action=counted[0].action,
        name=min(row.name for row in counted),
        detectors=sorted({row.detector for row in counted}),
        states=dict(sorted(states.items())),
        confidence=(min(row.least for row in seen), seen[0].confidence),
        pictures=[(row.scene_id, row.second) for row in seen[:_MOST_PICTURES]],
    )
