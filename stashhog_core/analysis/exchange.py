"""Plans as files: exported for review elsewhere, imported with the decisions."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from sqlalchemy.orm import Session

from stashhog_core.analysis.plans import ChangeRow, plan_changes
from stashhog_core.analysis.replacing import edit_text, replace_value
from stashhog_core.analysis.review import Selection, approve, reject
from stashhog_core.analysis.three_way import TEXT_FIELDS
from stashhog_core.errors import JobError

Format = Literal["csv", "json"]
COLUMNS = (
    "id",
    "scene_id",
    "field",
    "action",
    "value",
    "now",
    "confidence",
    "detector",
    "why",
    "state",
    "decision",
)
DECISIONS = ("accept", "reject", "")


def export_plan(session: Session, plan_id: int, as_format: Format) -> str:
    """Return all changes of a plan; write accept or reject under `decision`.

    A changed `value` is a replacement: another name, or another text.

    Raises:
        JobError: There is no such plan.
    """
    rows = [_row(change) for change in plan_changes(session, plan_id)]
    if as_format == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


def import_plan(
    session: Session, plan_id: int, content: str, as_format: Format
) -> dict[str, int]:
    """Carry out the decisions of an exported file, all of them or none.

    Returns how many changes were accepted, rejected and replaced. Rows may be left
    out; of each row only `id`, `decision` and `value` are read.

    Raises:
        JobError: The file cannot be read, names another plan's change or an unknown
            decision, or the plan is closed.
    """
    known = {change.id: change for change in plan_changes(session, plan_id)}
    decided: dict[str, list[int]] = {"accept": [], "reject": []}
    replaced = 0
    for number, row in enumerate(_rows(content, as_format), 1):
        change = known.get(_id(row, number))
        if change is None:
            raise JobError(f"Row {number}: plan {plan_id} has no change {row['id']}")
        decision = str(row.get("decision") or "").strip().lower()
        if decision not in DECISIONS:
            raise JobError(
                f"Row {number}: the decision {decision!r} is not known",
                remedy="write accept, reject or nothing",
            )
        value = row.get("value")
        if value is not None and value != _value(change):
            if change.field in TEXT_FIELDS:
                edit_text(session, plan_id, change.id, str(value))
            else:
                selection = Selection(change_ids=[change.id])
                replace_value(session, plan_id, selection, str(value))
            replaced += 1
        if decision:
            decided[decision].append(change.id)
    counts = {"accepted": 0, "rejected": 0, "replaced": replaced}
    # Rejecting comes last: it may close the plan.
    if decided["accept"]:
        selection = Selection(change_ids=decided["accept"])
        counts["accepted"] = approve(session, plan_id, selection)
    if decided["reject"]:
        selection = Selection(change_ids=decided["reject"])
        counts["rejected"] = reject(session, plan_id, selection)
    return counts


def _row(change: ChangeRow) -> dict[str, Any]:
    now = change.base
    return {
        "id": change.id,
        "scene_id": change.scene_id,
        "field": change.field,
        "action": change.action,
        "value": _value(change),
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
        # Spreadsheets write a mark of the encoding first.
        text = content.removeprefix("\ufeff")
        return list(csv.DictReader(io.StringIO(text, newline="")))
    try:
        rows = json.loads(content)
    except json.JSONDecodeError as error:
        raise JobError(f"The file is no JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise JobError("The file is no list of changes", remedy="export it first")
    return rows


def _id(row: Mapping[str, Any], number: int) -> int:
    try:
        return int(row["id"])
    except (KeyError, TypeError, ValueError) as error:
        raise JobError(
            f"Row {number} has no id of a change", remedy="export the plan first"
        ) from error
