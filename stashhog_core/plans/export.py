"""Plans as files: exported for review elsewhere, imported with the decisions."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import PlanChange
from stashhog_core.errors import JobError
from stashhog_core.params import MAX_ID
from stashhog_core.plans.queries import ChangeRow, each_change, plan_changes
from stashhog_core.plans.replacing import edit_text, find_member, replace_value
from stashhog_core.plans.review import (
    Outcome,
    Selection,
    approve,
    decision_so_far,
    open_plan,
    reject,
)
from stashhog_core.plans.three_way import TEXT_FIELDS
from stashhog_core.results import ImportedDecisions, json_list

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
"""What can be written under `decision`, and the state that it stands for."""

_REPLACED = "replaced"
"""What is said of a change that got another value after its plan was exported."""

# A spreadsheet takes a cell that begins so for a formula and computes it. A quotation
# mark before it makes it a text; quotation marks that stand there already are kept.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_SEPARATORS = ",;\t"
_UNSTORABLE = re.compile("[\\0\ud800-\udfff]")


def export_plan(session: Session, plan_id: int, as_format: Format) -> Iterator[str]:
    """Yield, in parts, all changes of a plan; write accept or reject under `decision`.

    A changed `value` is a replacement: another name, or another text. In CSV a text
    that a spreadsheet would compute as a formula begins with an apostrophe, which
    importing takes off again.

    Raises:
        JobError: There is no such plan.
    """
    decided = _decisions(session, plan_id)
    rows = (
        {**_row(change), "state": decided[change.id]}
        for change in each_change(session, plan_id)
    )
    if as_format == "json":
        yield from json_list(rows)
        return
    writer = csv.DictWriter(_Parts(), COLUMNS)
    yield writer.writeheader()
    for row in rows:
        yield writer.writerow({name: to_cell(value) for name, value in row.items()})


class _Parts:
    """Has the writer of CSV return what it would write."""

    def write(self, text: str) -> str:
        return text


def to_cell(value: Any) -> Any:
    """Return a value for a cell of CSV: no spreadsheet takes it for a formula."""
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value


def from_cell(text: str) -> str:
    """Return what `to_cell` has made a cell of."""
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

    A row is somebody's decision on what the file shows. Where the change got another
    decision or another value after the export, nobody decided on what it is now: such
    a row is left alone and counted. Rows may be left out; of each row `id`, `decision`
    and `value` are read, and what the change was: `state` and `proposed`. Without a
    `state`, the change must be pending.

    Args:
        session: Open session; the caller commits.
        plan_id: The plan.
        content: The text of the file.
        as_format: Its format.
        again: Carry out the other rows too, whatever happened since.

    Raises:
        JobError: The file cannot be read, names another plan's change, a change twice,
            an unknown decision or a value that is no text, or the plan is closed.
    """
    # Held first: nobody else decides between the comparison and the decision.
    open_plan(session, plan_id)
    decided: dict[str, list[int]] = {"accept": [], "reject": []}
    accepted = replaced = total = Outcome()
    overruled = 0
    for line in list(_lines(session, plan_id, _rows(content, as_format))):
        change = line.change
        if line.left_alone_for is not None and not (again and line.is_reviewable):
            total += Outcome(left_alone={line.left_alone_for: 1})
            continue
        if line.asks_for_nothing:
            total += Outcome(already=1)
            continue
        overruled += line.now != "pending"
        decision = line.decision
        if line.value is not None:
            if decision == "accept" and change.state in ("rejected", "failed"):
                # A value that is turned down takes no other: it is accepted first.
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
    """What a row asks for.

    Attributes:
        change: The change as it is now.
        now: What has been decided on it, be it in another plan.
        decision: accept, reject or nothing.
        value: Another value that somebody wrote over the exported one.
        shows_value: Whether the row shows the value that the change has now.
        state: The state that the row shows.
    """

    change: ChangeRow
    now: str
    decision: str
    value: str | None
    shows_value: bool
    state: str

    @property
    def is_reviewable(self) -> bool:
        """Whether the change can still be decided on, or be given this value."""
        states = ["pending", "approved"]
        if self.value is None or self.decision == "accept":
            states += ["rejected", "failed"]
        return self.change.state in states

    @property
    def asks_for_nothing(self) -> bool:
        """Whether the change is as the row asks already."""
        return self.value is None and DECISIONS[self.decision] == self.change.state

    @property
    def left_alone_for(self) -> str | None:
        """What happened to the change since, or what it does not come back from."""
        wanted = DECISIONS[self.decision]
        if self.shows_value and self.value is None and wanted == self.now:
            return None
        if self.state != self.now or not self.is_reviewable:
            return self.now
        return None if self.shows_value else _REPLACED


def _lines(
    session: Session, plan_id: int, rows: Iterable[Mapping[str, Any]]
) -> Iterator[_Line]:
    """Yield the rows that ask for anything."""
    known = {change.id: change for change in plan_changes(session, plan_id)}
    decided = _decisions(session, plan_id)
    numbers: dict[int, int] = {}
    for number, row in enumerate(rows, 1):
        change_id = _id(row, number)
        change = known.get(change_id)
        if change is None:
            raise JobError(f"Row {number}: plan {plan_id} has no change {change_id}")
        if change_id in numbers:
            raise JobError(
                f"Row {number}: change {change_id} is in row {numbers[change_id]} too",
                remedy="remove one of the rows",
            )
        numbers[change_id] = number
        decision = _text(row, "decision", number).strip().lower()
        if decision not in DECISIONS:
            raise JobError(
                f"Row {number}: the decision {decision!r} is not known",
                remedy="write accept, reject or nothing",
            )
        shows_value, value = _wish(session, change, row, number)
        if value is not None or decision:
            state = _text(row, "state", number).strip() or "pending"
            now = decided[change_id]
            yield _Line(change, now, decision, value, shows_value, state)


def _decisions(session: Session, plan_id: int) -> dict[int, str]:
    """Return change id → what has been decided on it, be it in another plan."""
    query = select(PlanChange.id, decision_so_far()).where(
        PlanChange.plan_id == plan_id
    )
    return {row[0]: row[1] for row in session.execute(query)}


def _carry_out(
    decide: Callable[[Session, int, Selection], Outcome],
    session: Session,
    plan_id: int,
    change_ids: Sequence[int],
) -> Outcome:
    if not change_ids:
        return Outcome()
    return decide(session, plan_id, Selection(change_ids=change_ids))


def _replace(session: Session, plan_id: int, change: ChangeRow, value: str) -> Outcome:
    if change.field in TEXT_FIELDS:
        edit_text(session, plan_id, change.id, value)
        return Outcome(changed=1)
    return replace_value(session, plan_id, Selection(change_ids=[change.id]), value)


def _wish(
    session: Session, change: ChangeRow, row: Mapping[str, Any], number: int
) -> tuple[bool, str | None]:
    """Return whether a row shows what its change is now, and a value written over."""
    live = _value(change)
    value = live if row.get("value") is None else _text(row, "value", number)
    if _same(value, live):
        return True, None
    exported = _text(row, "proposed", number) if "proposed" in row else live
    if _same(value, exported):
        return False, None
    by_name = change.field not in TEXT_FIELDS
    if by_name and find_member(session, change.field, value)["name"] == live:
        # Written as an alias, it is the same value.
        return True, None
    return _same(exported, live), value


def _same(one: str, other: str) -> bool:
    """Compare texts; spreadsheets write the ends of lines in their own way."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _row(change: ChangeRow) -> dict[str, Any]:
    now = change.base
    return {
        "id": change.id,
        "scene_id": change.scene_id,
        "field": change.field,
        "action": change.action,
        "value": _value(change),
        "proposed": _value(change),
        "now": now["name"] if isinstance(now, Mapping) else now or "",
        "confidence": change.confidence,
        "detector": change.detector,
        "why": change.why,
        "state": change.state,
        "decision": "",
    }


def _value(change: ChangeRow) -> str:
    if change.field == "markers":
        return str(change.proposed["title"])
    if isinstance(change.proposed, Mapping):
        return str(change.proposed["name"])
    return str(change.proposed)


def _rows(content: str, as_format: Format) -> Iterable[Mapping[str, Any]]:
    if as_format == "csv":
        return _csv_rows(content)
    try:
        rows = json.loads(content)
    except RecursionError as error:
        raise JobError(
            "The file is not a list of changes: its values are nested too deeply",
            remedy="export it first",
        ) from error
    except ValueError as error:
        raise JobError(f"The file is not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise JobError("The file is not a list of changes", remedy="export it first")
    return rows


def _csv_rows(content: str) -> list[Mapping[str, Any]]:
    # Spreadsheets write a mark of the encoding first; where a comma is the decimal
    # sign, they put another separator between the cells.
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
            f"The file is not CSV: {error}", remedy="export it first"
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
    """Return a cell of a row; a cell that is not there is empty."""
    value = row.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise JobError(
            f"Row {number}: {column} is not a text", remedy="put it in quotation marks"
        )
    if _UNSTORABLE.search(value):
        raise JobError(f"Row {number}: {column} has a character that cannot be stored")
    return value


def _id(row: Mapping[str, Any], number: int) -> int:
    """Return the id of a row: a whole number, or the text of one."""
    value = row.get("id")
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,19}\s*", value):
        return int(value)
    if type(value) is int and 0 < value <= MAX_ID:
        return value
    raise JobError(
        f"Row {number} has no id of a change", remedy="export the plan first"
    )
