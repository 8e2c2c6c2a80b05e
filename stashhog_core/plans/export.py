"""Plans as CSV and JSON files: exported for review, imported with the decisions."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.models import PlanChange
from stashhog_core.db.reading import any_of
from stashhog_core.errors import JobError
from stashhog_core.ids import MAX_ID
from stashhog_core.json_text import json_list
from stashhog_core.plans.decisions import VALUES, recorded
from stashhog_core.plans.plans import ChangeDetails, each_change, plan_changes
from stashhog_core.plans.proposals import TEXT_FIELDS
from stashhog_core.plans.review import (
    ReviewOutcome,
    approve,
    decision_so_far,
    edit_text,
    find_named,
    open_plan,
    reject,
    replace_value,
)
from stashhog_core.plans.selection import Selection
from stashhog_core.results import ImportedDecisions

Format = Literal["csv", "json"]
COLUMNS = (
    "id",
    "scene_id",
    "field",
    "action",
    "value",
    "proposed",
    "now",
    "confidence",
    "detector",
    "why",
    "state",
    "decision",
)
DECISIONS = {"accept": "approved", "reject": "rejected", "": ""}
"""Words that a reviewer may write under `decision` → state of the change."""

_REPLACED = "replaced"
"""The word for a change that got another value after its plan was exported."""

# A spreadsheet computes a cell that begins with one of these characters as a formula.
# An apostrophe before the character makes the cell a text; `from_cell` removes one.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_SEPARATORS = ",;\t"
_ROWS_PER_QUERY = 1000
_UNSTORABLE = re.compile("[\\0\ud800-\udfff]")


def export_plan(session: Session, plan_id: int, as_format: Format) -> Iterator[str]:
    """Yield all changes of a plan as the parts of a file.

    A reviewer writes accept or reject under `decision`, and another name or text under
    `value` to replace the proposed value. In CSV a text that a spreadsheet would
    compute as a formula begins with an apostrophe, which `import_plan` removes.

    Raises:
        JobError: There is no such plan.
    """
    rows = _exported_rows(session, plan_id)
    if as_format == "json":
        yield from json_list(rows)
        return
    writer = csv.DictWriter(_Parts(), COLUMNS)
    yield writer.writeheader()
    for row in rows:
        yield writer.writerow({name: to_cell(value) for name, value in row.items()})


def _exported_rows(session: Session, plan_id: int) -> Iterator[dict[str, Any]]:
    # A few at a time: a plan may have more changes than memory should hold.
    for changes in batched(each_change(session, plan_id), _ROWS_PER_QUERY):
        these = PlanChange.id == any_of(change.id for change in changes)
        decided = _decisions(session, these)
        for change in changes:
            yield {**_row(change), "state": decided[change.id]}


class _Parts:
    """A file whose CSV writer returns each row instead of writing it."""

    def write(self, text: str) -> str:
        return text


def to_cell(value: Any) -> Any:
    """Return a value as a CSV cell that no spreadsheet computes as a formula."""
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value


def from_cell(text: str) -> str:
    """Return the text that `to_cell` has turned into a cell."""
    if text.startswith("'") and _FORMULA.match(text):
        return text[1:]
    return text


def import_plan(
    session: Session,
    plan_id: int,
    content: str,
    as_format: Format,
    *,
    again: bool = False,
) -> ImportedDecisions:
    """Carry out the decisions of an exported file, all of them or none.

    A row is a decision on the values that the file shows. If the change got another
    decision or another value after the export, the row is left alone and counted. Rows
    may be left out. `id`, `decision` and `value` of each row are read; `state` and
    `proposed` say what the change was at the export. Without `state`, a row is carried
    out only if its change is pending.

    Args:
        session: Open session; the caller commits.
        plan_id: The plan.
        content: The text of the file.
        as_format: The format of the file.
        again: Also carry out rows whose change was decided on or replaced since.

    Raises:
        JobError: The file is not valid; a row has the id of another plan's change, an
            id of another row, an unknown decision or a value that is not a text; or the
            plan is closed.
    """
    # Locked first: nobody else decides between the comparison and the decision.
    plan = open_plan(session, plan_id)
    lines = list(_lines(session, plan_id, _rows(content, as_format)))
    touched = PlanChange.id == any_of(line.change.id for line in lines)
    with recorded(session, plan, "import a file", touched, VALUES) as record:
        done = _import(session, plan_id, lines, again=again)
    return done.model_copy(update={"decision_id": record.decision_id})


def _import(
    session: Session, plan_id: int, lines: Sequence["_Line"], *, again: bool
) -> ImportedDecisions:
    decided: dict[str, list[int]] = {"accept": [], "reject": []}
    accepted = replaced = total = ReviewOutcome()
    overruled = 0
    for line in lines:
        change = line.change
        if line.left_alone_for is not None and not (again and line.is_reviewable):
            total += ReviewOutcome(left_alone={line.left_alone_for: 1})
            continue
        if line.asks_for_nothing:
            total += ReviewOutcome(already=1)
            continue
        overruled += line.now != "pending"
        decision = line.decision
        if line.value is not None:
            if decision == "accept" and change.state in ("rejected", "failed"):
                # A rejected value cannot be replaced: the change is accepted first.
                accepted += _carry_out(approve, session, plan_id, [change.id])
                decision = ""
            replaced += _replace(session, plan_id, change, line.value)
        if decision:
            decided[decision].append(change.id)
    accepted += _carry_out(approve, session, plan_id, decided["accept"])
    # Rejecting comes last: it may close the plan.
    rejected = _carry_out(reject, session, plan_id, decided["reject"])
    total += replaced + accepted + rejected
    return ImportedDecisions(
        accepted=accepted.changed,
        rejected=rejected.changed,
        replaced=replaced.changed,
        overruled=overruled,
        already=total.already,
        left_alone=dict(total.left_alone),
    )


@dataclass(frozen=True)
class _Line:
    """A row of an imported file.

    Attributes:
        change: The change as it is now.
        now: The decision on the change now, rejections in other plans included.
        decision: accept, reject or nothing.
        value: The value that somebody wrote over the exported value; None: no other.
        shows_value: Whether the row shows the value that the change has now.
        state: The state that the row shows.
    """

    change: ChangeDetails
    now: str
    decision: str
    value: str | None
    shows_value: bool
    state: str

    @property
    def is_reviewable(self) -> bool:
        """Whether the decision or the value of the change can still be changed."""
        states = ["pending", "approved"]
        if self.value is None or self.decision == "accept":
            states += ["rejected", "failed"]
        return self.change.state in states

    @property
    def asks_for_nothing(self) -> bool:
        """Whether the change already has the decision and the value of the row."""
        return self.value is None and DECISIONS[self.decision] == self.change.state

    @property
    def left_alone_for(self) -> str | None:
        """Why the row is left alone: the state of the change, or `replaced`."""
        wanted = DECISIONS[self.decision]
        if self.shows_value and self.value is None and wanted == self.now:
            return None
        if self.state != self.now or not self.is_reviewable:
            return self.now
        return None if self.shows_value else _REPLACED


def _lines(
    session: Session, plan_id: int, rows: Iterable[Mapping[str, Any]]
) -> Iterator[_Line]:
    """Yield the rows with a decision or another value."""
    known = {change.id: change for change in plan_changes(session, plan_id)}
    decided = _decisions(session, PlanChange.plan_id == plan_id)
    numbers: dict[int, int] = {}
    for number, row in enumerate(rows, 1):
        change_id = _id(row, number)
        change = known.get(change_id)
        if change is None:
            raise JobError(
                f"Row {number}: plan {plan_id} has no change {change_id}",
                remedy="export the plan again",
            )
        if change_id in numbers:
            raise JobError(
                f"Row {number}: change {change_id} is also in row {numbers[change_id]}",
                remedy="remove one of the rows",
            )
        numbers[change_id] = number
        decision = _text(row, "decision", number).strip().lower()
        if decision not in DECISIONS:
            raise JobError(
                f"Row {number}: unknown decision {decision!r}",
                remedy="write accept or reject, or leave the decision empty",
            )
        shows_value, value = _compare_values(session, change, row, number)
        if value is not None or decision:
            state = _text(row, "state", number).strip() or "pending"
            now = decided[change_id]
            yield _Line(change, now, decision, value, shows_value, state)


def _decisions(session: Session, which: ColumnElement[bool]) -> dict[int, str]:
    """Return change id → decision, rejections in other plans included."""
    query = select(PlanChange.id, decision_so_far()).where(which)
    return {row[0]: row[1] for row in session.execute(query)}


def _carry_out(
    decide: Callable[[Session, int, Selection], ReviewOutcome],
    session: Session,
    plan_id: int,
    change_ids: Sequence[int],
) -> ReviewOutcome:
    if not change_ids:
        return ReviewOutcome()
    return decide(session, plan_id, Selection(change_ids=change_ids))


def _replace(
    session: Session, plan_id: int, change: ChangeDetails, value: str
) -> ReviewOutcome:
    if change.field in TEXT_FIELDS:
        edit_text(session, plan_id, change.id, value)
        return ReviewOutcome(changed=1)
    return replace_value(session, plan_id, Selection(change_ids=[change.id]), value)


def _compare_values(
    session: Session, change: ChangeDetails, row: Mapping[str, Any], number: int
) -> tuple[bool, str | None]:
    """Return whether a row shows the present value, and the value written over it."""
    live = change.value.as_text
    value = live if row.get("value") is None else _text(row, "value", number)
    if _same(value, live):
        return True, None
    exported = _text(row, "proposed", number) if "proposed" in row else live
    if _same(value, exported):
        return False, None
    by_name = change.field not in TEXT_FIELDS
    if by_name and find_named(session, change.field, value).name == live:
        # An alias stands for the same value.
        return True, None
    return _same(exported, live), value


def _same(one: str, other: str) -> bool:
    """Compare texts; spreadsheets write line endings in different ways."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _row(change: ChangeDetails) -> dict[str, Any]:
    value = change.value.as_text
    own = {"value": value, "proposed": value, "decision": ""}
    return {
        name: own[name] if name in own else getattr(change, name) for name in COLUMNS
    }


def _rows(content: str, as_format: Format) -> Iterable[Mapping[str, Any]]:
    if as_format == "csv":
        return _csv_rows(content)
    try:
        rows = json.loads(content)
    except RecursionError as error:
        raise JobError(
            "The file is not a list of changes: its values are nested too deeply",
            remedy="export the plan first",
        ) from error
    except ValueError as error:
        raise JobError(
            f"The file is not JSON: {error}", remedy="export the plan again"
        ) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise JobError(
            "The file is not a list of changes", remedy="export the plan first"
        )
    return rows


def _csv_rows(content: str) -> list[Mapping[str, Any]]:
    # Spreadsheets write a byte order mark first, and another separator where the comma
    # is the decimal sign.
    text = content.removeprefix("\ufeff")
    header = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=header.count)
    try:
        table = csv.DictReader(
            io.StringIO(text, newline=""), delimiter=separator, strict=True
        )
        rows = list(table)
    except csv.Error as error:
        raise JobError(
            f"The file is not CSV: {error}", remedy="export the plan first"
        ) from error
    if "id" not in (table.fieldnames or ()):
        raise JobError("The file has no column id", remedy="export the plan first")
    return [
        {
            name: from_cell(cell) if isinstance(cell, str) else cell
            for name, cell in row.items()
        }
        for row in rows
    ]


def _text(row: Mapping[str, Any], column: str, number: int) -> str:
    """Return a cell of a row; a missing cell is empty."""
    value = row.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise JobError(
            f"Row {number}: {column} is not a text",
            remedy="put the value in quotation marks",
        )
    if _UNSTORABLE.search(value):
        raise JobError(
            f"Row {number}: {column} has a character that the database cannot store",
            remedy="remove null characters and half surrogate pairs",
        )
    return value


def _id(row: Mapping[str, Any], number: int) -> int:
    """Return the id of a row: a whole number, as a number or as a text."""
    value = row.get("id")
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,19}\s*", value):
        return int(value)
    if type(value) is int and 0 < value <= MAX_ID:
        return value
    raise JobError(
        f"Row {number} has no valid id of a change", remedy="export the plan first"
    )
