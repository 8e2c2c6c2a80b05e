"""A plan page by page, as a reviewer reads it: by scene, and by confidence.

A page of scenes or changes begins after the last row of the page before; see
stashhog_core/db/paging.py.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    Row,
    select,
    tuple_,
)
from sqlalchemy.orm import Session

from stashhog_core.db.models import PlanChange, Scene, Studio
from stashhog_core.db.paging import Page, read_place
from stashhog_core.db.reading import any_of
from stashhog_core.db.scenes import SceneNames, scene_names
from stashhog_core.plans.conflicts import CONFLICT, text_of, values_in_stash
from stashhog_core.plans.plans import ChangeDetails, plan_changes
from stashhog_core.plans.proposals import BoxIdValue, MarkerValue, TextValue
from stashhog_core.plans.review import decision_so_far
from stashhog_core.plans.selection import ALL_CHANGES, Selection

SCENES_A_PAGE = 20
CHANGES_A_PAGE = 60


@dataclass(frozen=True)
class SceneCard:
    """A scene as it is now, and what is proposed for it.

    Attributes:
        id: Its id in Stash.
        title: Its title; the name of its file where there is none.
        path: The primary file, as Stash names it; None: there is none.
        now: Field → the current values, as text.
        is_gone: Whether Stash no longer has the scene.
        changes: The proposed changes, by id.
    """

    id: int
    title: str
    path: str | None
    now: Mapping[str, Sequence[str]]
    is_gone: bool
    changes: Sequence["ReviewRow"] = ()


@dataclass(frozen=True)
class ReviewRow:
    """A change, and what a reviewer has to know of it.

    Attributes:
        details: The change.
        decision: The decision so far: the state, or what stands for it.
        in_stash: What Stash has instead, empty for an empty field; None: the change is
            not in conflict.
        seconds: The seconds of the video that the evidence points to, in order.
    """

    details: ChangeDetails
    decision: str
    in_stash: str | None
    seconds: Sequence[float]

    @property
    def over(self) -> str | None:
        """What a decision to overwrite the value in Stash names the value by."""
        return None if self.in_stash is None else TextValue(self.in_stash).key


def scenes_page(
    session: Session,
    plan_id: int,
    selection: Selection = ALL_CHANGES,
    after: str | None = None,
    size: int = SCENES_A_PAGE,
) -> Page[SceneCard]:
    """Return scenes by id, each with the selected changes of the plan."""
    query = (
        select(PlanChange.scene_id)
        .where(PlanChange.plan_id == plan_id, selection.condition)
        .group_by(PlanChange.scene_id)
        .order_by(PlanChange.scene_id)
        .limit(size + 1)
    )
    if after is not None:
        (last,) = read_place(after, int)
        query = query.where(PlanChange.scene_id > last)
    ids = list(session.scalars(query))
    shown = ids[:size]
    of_scenes = Selection(scene_ids=shown).condition & selection.condition
    rows: dict[int, list[ReviewRow]] = defaultdict(list)
    for row in review_rows(session, plan_id, of_scenes):
        rows[row.details.scene_id].append(row)
    cards = scene_cards(session, shown)
    return Page(
        [replace(cards[id_], changes=rows[id_]) for id_ in shown],
        str(shown[-1]) if len(ids) > size else None,
    )


def changes_page(
    session: Session,
    plan_id: int,
    selection: Selection = ALL_CHANGES,
    after: str | None = None,
    size: int = CHANGES_A_PAGE,
) -> Page[ReviewRow]:
    """Return the selected changes, those with the highest confidence first."""
    query = (
        select(PlanChange.id, PlanChange.confidence)
        .where(PlanChange.plan_id == plan_id, selection.condition)
        .order_by(PlanChange.confidence.desc(), PlanChange.id.desc())
        .limit(size + 1)
    )
    if after is not None:
        place = tuple_(*read_place(after, float, int), types=(Float(), Integer()))
        query = query.where(tuple_(PlanChange.confidence, PlanChange.id) < place)
    found = session.execute(query).all()
    shown = [row[0] for row in found[:size]]
    rows = {
        row.details.id: row
        for row in review_rows(session, plan_id, Selection(change_ids=shown).condition)
    }
    last = found[size - 1] if len(found) > size else None
    return Page(
        [rows[id_] for id_ in shown],
        None if last is None else f"{last[1]!r} {last[0]}",
    )


def review_rows(
    session: Session, plan_id: int, condition: ColumnElement[bool]
) -> Iterator[ReviewRow]:
    """Yield changes of a plan by scene, then by id, with their decisions so far."""
    ids = select(PlanChange.id, decision_so_far()).where(
        PlanChange.plan_id == plan_id, condition
    )
    decisions: dict[int, str] = {row[0]: row[1] for row in session.execute(ids)}
    chosen = Selection(change_ids=list(decisions))
    conflicts = [id_ for id_, decision in decisions.items() if decision == CONFLICT]
    in_stash = (
        values_in_stash(session, plan_id, PlanChange.id == any_of(conflicts))
        if conflicts
        else {}
    )
    for change in plan_changes(session, plan_id, chosen):
        yield ReviewRow(
            details=change,
            decision=decisions[change.id],
            in_stash=(text_of(in_stash[change.id]) if change.id in in_stash else None),
            seconds=list(seconds_of(change)),
        )


def scene_cards(session: Session, scene_ids: Sequence[int]) -> dict[int, SceneCard]:
    """Return the scenes as the mirror has them, without changes, by id."""
    rows = session.execute(
        select(
            Scene.id,
            Scene.title,
            Scene.date,
            Scene.code,
            Scene.details,
            Scene.director,
            Scene.urls,
            Scene.stash_ids,
            Scene.missing_since.is_not(None),
            Studio.name,
        )
        .outerjoin(Studio, Studio.id == Scene.studio_id)
        .where(Scene.id == any_of(scene_ids))
    ).all()
    known = scene_names(session, [row[0] for row in rows])
    cards = {row[0]: _card(row, known[row[0]]) for row in rows}
    for id_ in scene_ids:
        cards.setdefault(id_, SceneCard(id_, f"Scene {id_}", None, {}, is_gone=True))
    return cards


def _card(row: Row[Any], names: SceneNames) -> SceneCard:
    id_, title, date, code, details, director, urls, boxes, is_gone, studio = row
    now = {
        "studio": [studio] if studio else [],
        "performers": names.performers,
        "tags": names.tags,
        "title": [title] if title else [],
        "date": [date] if date else [],
        "code": [code] if code else [],
        "details": [details] if details else [],
        "director": [director] if director else [],
        "urls": urls,
        "stash_ids": [BoxIdValue(**box).as_text for box in boxes],
    }
    return SceneCard(
        id=id_,
        title=title or names.file_name or f"Scene {id_}",
        path=names.path,
        now={name: values for name, values in now.items() if values},
        is_gone=is_gone,
    )


def seconds_of(change: ChangeDetails) -> Iterator[float]:
    """Yield the seconds of the video that a change points to, each once, in order."""
    pieces = [change.evidence, *change.evidence.get("also", ())]
    found = {
        float(second)
        for piece in pieces
        if isinstance(piece, Mapping)
        and isinstance(second := piece.get("second"), int | float)
    }
    if isinstance(change.value, MarkerValue):
        found.add(change.value.seconds)
    yield from sorted(found)
