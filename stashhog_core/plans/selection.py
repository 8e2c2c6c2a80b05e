"""Which changes of a plan are meant: a selection, and what can be asked of a change."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    Text,
    and_,
    cast,
    false,
    func,
    select,
    true,
)

from stashhog_core.db.models import PlanChange, Scene, SceneFile, Studio, ValueCount
from stashhog_core.db.reading import any_of
from stashhog_core.plans.proposals import RIVALS, STORED_NAMES, name_key

MOST_NAMED = 1000
"""Named changes that are looked up one by one, whatever the size of the plan."""


@dataclass(frozen=True)
class Selection:
    """Changes of a plan that meet all given conditions; without one, all changes.

    Attributes:
        change_ids: Only the changes with these ids.
        field: Only changes of this field.
        value: Only changes of this tag, performer or studio, and markers with this
            tag. Case does not matter.
        scene_ids: Only changes of these scenes.
        detector: Only changes that this detector proposed.
        confidence_from: Minimum confidence, 0 to 1.
        confidence_below: Only changes with a lower confidence than this, 0 to 1.
        states: Only changes in these states.
        studio: Only changes of scenes that belong to this studio now. Case does not
            matter.
        text: Only changes whose value, or the title or a path of whose scene, contains
            this text. Case does not matter.
    """

    change_ids: Sequence[int] | None = None
    field: str | None = None
    value: str | None = None
    scene_ids: Sequence[int] | None = None
    detector: str | None = None
    confidence_from: float | None = None
    confidence_below: float | None = None
    states: Sequence[str] | None = None
    studio: str | None = None
    text: str | None = None

    @property
    def names_changes(self) -> bool:
        """Whether each change is named by its id, and not selected in bulk."""
        return self.change_ids is not None

    @property
    def names_few(self) -> bool:
        """Whether so few changes are named that each is looked up by its id."""
        return self.change_ids is not None and len(self.change_ids) <= MOST_NAMED

    @property
    def names_values(self) -> bool:
        """Whether the value that is decided on is named, by itself or by its change."""
        return self.names_changes or self.value is not None

    @property
    def condition(self) -> ColumnElement[bool]:
        """The condition that the selected changes meet.

        Put the condition into the statement itself, never into a subquery for the same
        table: the planner does not know the number of ids and would search the whole
        selection once for each change.
        """
        conditions: list[ColumnElement[bool]] = []
        if self.change_ids is not None:
            conditions.append(PlanChange.id == any_of(self.change_ids))
        if self.field is not None:
            conditions.append(PlanChange.field == self.field)
        if self.value is not None:
            key = name_key(self.value)
            conditions += [PlanChange.group_key == key, PlanChange.group_key != ""]
        if self.scene_ids is not None:
            conditions.append(PlanChange.scene_id == any_of(self.scene_ids))
        if self.detector is not None:
            conditions.append(PlanChange.detector == self.detector)
        if self.confidence_from is not None:
            conditions.append(PlanChange.confidence >= self.confidence_from)
        if self.confidence_below is not None:
            conditions.append(PlanChange.confidence < self.confidence_below)
        if self.states is not None:
            conditions.append(PlanChange.state.in_(self.states))
        if self.studio is not None:
            conditions.append(_of_studio(self.studio))
        if self.text is not None:
            conditions.append(_contains(self.text))
        return and_(true(), *conditions)

    @property
    def counted(self) -> ColumnElement[bool] | None:
        """The condition in terms of `ValueCount`; None: the counts cannot tell."""
        if (self.change_ids, self.scene_ids) != (None, None) or (
            self.confidence_from,
            self.confidence_below,
            self.studio,
            self.text,
        ) != (None, None, None, None):
            return None
        conditions: list[ColumnElement[bool]] = []
        if self.field is not None:
            conditions.append(ValueCount.field == self.field)
        if self.value is not None:
            key = name_key(self.value)
            conditions += [ValueCount.group_key == key, ValueCount.group_key != ""]
        if self.detector is not None:
            conditions.append(ValueCount.detector == self.detector)
        if self.states is not None:
            conditions.append(ValueCount.state.in_(self.states))
        return and_(true(), *conditions)

    @property
    def in_words(self) -> str:
        """The conditions, for an error text; empty: all changes."""
        words = []
        for one, many, ids in (
            ("change", "changes", self.change_ids),
            ("scene", "scenes", self.scene_ids),
        ):
            if ids is not None:
                words.append(f"{one if len(ids) == 1 else many} {_listed(ids)}")
        if self.field is not None:
            words.append(f"field {self.field}")
        if self.value is not None:
            words.append(f"value {self.value!r}")
        if self.detector is not None:
            words.append(f"detector {self.detector!r}")
        if self.confidence_from is not None:
            words.append(f"confidence from {self.confidence_from:g}")
        if self.confidence_below is not None:
            words.append(f"confidence below {self.confidence_below:g}")
        if self.states is not None:
            words.append(f"state {' or '.join(self.states)}")
        if self.studio is not None:
            words.append(f"studio {self.studio!r}")
        if self.text is not None:
            words.append(f"text {self.text!r}")
        return ", ".join(words)


ALL_CHANGES = Selection()


def _listed(ids: Sequence[int], most: int = 5) -> str:
    shown = ", ".join(map(str, ids[:most]))
    return f"{shown} …" if len(ids) > most else shown


def _of_studio(name: str) -> ColumnElement[bool]:
    return PlanChange.scene_id.in_(
        select(Scene.id)
        .join(Studio, Studio.id == Scene.studio_id)
        .where(func.lower(Studio.name) == name.strip().lower())
    )


def _contains(words: str) -> ColumnElement[bool]:
    def within(column: SQLColumnExpression[Any]) -> ColumnElement[bool]:
        return column.icontains(words, autoescape=True)

    in_value = func.coalesce(stored_name(), cast(PlanChange.proposed, Text))
    scenes = select(Scene.id).where(
        within(Scene.title)
        | select(SceneFile.scene_id)
        .where(SceneFile.scene_id == Scene.id, within(SceneFile.path))
        .exists()
    )
    return within(in_value) | PlanChange.scene_id.in_(scenes)


@cache
def being_applied() -> ColumnElement[bool]:
    """Return the condition of changes that Stash may have without a record of it."""
    return (PlanChange.state == "approved") & func.coalesce(
        PlanChange.effect.has_key("intended"), false()
    )


@cache
def has_rivals() -> ColumnElement[bool]:
    """Return the condition of changes beside which other values are possible.

    The other values are proposed as well, and only a person can tell which one is
    meant: names that are spelled almost alike, or several scenes of a stash-box.
    """
    found: ColumnElement[bool] = PlanChange.evidence.has_key(RIVALS)
    return found


@cache
def stored_name() -> ColumnElement[str | None]:
    """Return the name in a proposed value, in SQL; null for a text."""
    return func.coalesce(*(PlanChange.proposed[key].astext for key in STORED_NAMES))
