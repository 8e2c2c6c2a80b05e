"""Filters, sorting and paging, turned into SQL."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.stash.errors import ApiError

Input = Mapping[str, Any]

_COMPARISONS = {
    "EQUALS": "=",
    "NOT_EQUALS": "<>",
    "GREATER_THAN": ">",
    "LESS_THAN": "<",
}


@dataclass
class Where:
    """Conditions that all must hold, with the values of their marks."""

    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: Any) -> None:
        """Add a condition."""
        self.conditions.append(condition)
        self.values.extend(values)

    @property
    def sql(self) -> str:
        """The condition as one expression; true when there is none."""
        return " AND ".join(f"({c})" for c in self.conditions) or "TRUE"


Comparers = Mapping[str, Callable[[Where, Any], None]]
"""Name of a criterion → function that adds it to a condition."""


def compare_number(where: Where, column: str, criterion: Input) -> None:
    """Add an IntCriterionInput."""
    modifier = criterion["modifier"]
    if modifier in _COMPARISONS:
        where.add(f"{column} {_COMPARISONS[modifier]} ?", criterion["value"])
    elif not _compare_range_or_null(where, column, criterion):
        raise _unsupported(f"numeric modifier type {modifier}")


def compare_time(where: Where, column: str, criterion: Input) -> None:
    """Add a TimestampCriterionInput: a comparison of texts, whatever they hold."""
    modifier = criterion["modifier"]
    if modifier in _COMPARISONS:
        where.add(f"{column} {_COMPARISONS[modifier]} ?", criterion["value"])
    elif not _compare_range_or_null(where, column, criterion):
        raise ApiError("Internal system error. Error <unsupported date modifier type>")


def compare_text(where: Where, column: str, criterion: Input) -> None:
    """Add a StringCriterionInput. ASCII letters match in either case."""
    modifier, value = criterion["modifier"], criterion["value"]
    if modifier == "EQUALS":
        where.add(f"{column} LIKE ? ESCAPE '\\'", _escaped(value))
    elif modifier == "NOT_EQUALS":
        where.add(f"{column} NOT LIKE ? ESCAPE '\\'", _escaped(value))
    elif modifier == "INCLUDES":
        where.add(f"{column} LIKE ? ESCAPE '\\'", f"%{_escaped(value)}%")
    elif modifier == "EXCLUDES":
        where.add(f"{column} NOT LIKE ? ESCAPE '\\'", f"%{_escaped(value)}%")
    elif modifier == "MATCHES_REGEX":
        where.add(f"{column} IS NOT NULL AND {column} REGEXP ?", value)
    elif modifier == "NOT_MATCHES_REGEX":
        where.add(f"{column} IS NULL OR {column} NOT REGEXP ?", value)
    elif modifier == "IS_NULL":
        where.add(f"{column} IS NULL OR TRIM({column}) = ''")
    elif modifier == "NOT_NULL":
        where.add(f"{column} IS NOT NULL AND TRIM({column}) <> ''")
    else:
        raise _unsupported("string filter modifier")


def compare_links(
    where: Where,
    table: str,
    owner: str,
    other: str,
    criterion: Input,
    deeper: str = "",
) -> None:
    """Add a MultiCriterionInput on rows of `table` that join `owner` with `other`.

    Args:
        where: Is added to.
        table: Joins them.
        owner: Column of what is looked for.
        other: Column of what is named by the criterion.
        criterion: May have a `depth`.
        deeper: SQL of (parent, child) pairs for that depth.
    """
    modifier = criterion["modifier"]
    named = [int(i) for i in criterion.get("value") or []]
    among, wanted = _with_descendants(named, criterion, deeper)
    linked = f"SELECT {owner} FROM {table} WHERE {other} IN ({among})"
    if modifier == "INCLUDES":
        where.add(f"id IN ({linked})", *wanted)
    elif modifier == "EXCLUDES":
        where.add(f"id NOT IN ({linked})", *wanted)
    elif modifier in {"INCLUDES_ALL", "EQUALS"}:
        for row_id in named:
            each_among, each_wanted = _with_descendants([row_id], criterion, deeper)
            where.add(
                f"id IN (SELECT {owner} FROM {table} WHERE {other} IN ({each_among}))",
                *each_wanted,
            )
        if modifier == "EQUALS":
            where.add(
                f"id IN (SELECT {owner} FROM {table} GROUP BY {owner} "
                "HAVING COUNT(*) = ?)",
                len(named),
            )
    elif modifier == "IS_NULL":
        where.add(f"id NOT IN (SELECT {owner} FROM {table})")
    elif modifier == "NOT_NULL":
        where.add(f"id IN (SELECT {owner} FROM {table})")
    else:
        raise _unsupported("modifier " + modifier)
    if criterion.get("excludes"):
        excluded = {"modifier": "EXCLUDES", "value": criterion["excludes"]}
        compare_links(where, table, owner, other, excluded)


def compare_column_ids(
    where: Where, column: str, criterion: Input, deeper: str = ""
) -> None:
    """Add a MultiCriterionInput on a column that holds one id."""
    modifier = criterion["modifier"]
    named = [int(i) for i in criterion.get("value") or []]
    among, wanted = _with_descendants(named, criterion, deeper)
    if modifier in {"INCLUDES", "INCLUDES_ALL", "EQUALS"}:
        where.add(f"{column} IN ({among})", *wanted)
    elif modifier == "EXCLUDES":
        where.add(f"{column} IS NULL OR {column} NOT IN ({among})", *wanted)
    elif modifier == "IS_NULL":
        where.add(f"{column} IS NULL")
    elif modifier == "NOT_NULL":
        where.add(f"{column} IS NOT NULL")
    else:
        raise _unsupported("modifier " + modifier)


def _with_descendants(
    named: list[int], criterion: Input, deeper: str
) -> tuple[str, list[Any]]:
    """Return SQL of the named ids and those below them, with its values."""
    depth = criterion.get("depth") or 0
    if not deeper or not depth:
        return "SELECT value FROM json_each(?)", [json.dumps(named)]
    limit = 1000 if depth < 0 else depth
    return (
        "WITH RECURSIVE below (id, depth) AS ("
        "SELECT value, 0 FROM json_each(?) UNION "
        f"SELECT pairs.child, below.depth + 1 FROM below JOIN "
        f"(SELECT NULL AS parent, NULL AS child WHERE FALSE UNION ALL {deeper}) "
        "AS pairs ON pairs.parent = below.id WHERE below.depth < ?"
        ") SELECT id FROM below",
        [json.dumps(named), limit],
    )


def search(where: Where, columns: list[str], text: str | None) -> None:
    """Add the `q` of a FindFilterType: every word in one of the columns."""
    for word in (text or "").split():
        like = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns)
        where.add(like, *[f"%{_escaped(word)}%"] * len(columns))


def paged(find_filter: Input | None) -> tuple[str, bool]:
    """Return the LIMIT clause, and whether any rows are asked for at all."""
    settings = find_filter or {}
    per_page = settings.get("per_page")
    per_page = 25 if per_page is None else per_page
    if per_page < 0:
        return "", True
    page = max(settings.get("page") or 1, 1)
    return f" LIMIT {per_page} OFFSET {(page - 1) * per_page}", per_page > 0


def ordered(
    find_filter: Input | None, sorts: Mapping[str, str], unsorted: str, tie_break: str
) -> str:
    """Return the ORDER BY clause.

    Args:
        find_filter: What was asked.
        sorts: Name of a sort → SQL expression.
        unsorted: Used when no sort is given; `direction` then has no effect.
        tie_break: Added to every sort, always ascending.

    Raises:
        ApiError: The sort does not exist.
    """
    settings = find_filter or {}
    name = settings.get("sort")
    if not name:
        return f" ORDER BY {unsorted}"
    direction = "DESC" if settings.get("direction") == "DESC" else "ASC"
    if name.startswith("random"):
        seed = int("".join(c for c in name if c.isdigit()) or 0) % 65_521 + 1
        # One order per seed, no row order kept, nothing stored.
        expression = f"((id * 48271 + {seed}) * {seed} % 65537)"
    elif name in sorts:
        expression = sorts[name]
    else:
        raise ApiError(f"invalid sort: {name}")
    return f" ORDER BY {expression} {direction}, {tie_break}"


def each(
    where: Where,
    given: Input | None,
    comparers: Comparers,
) -> None:
    """Add every criterion that is given."""
    for name, criterion in (given or {}).items():
        if criterion is not None:
            comparers[name](where, criterion)


def _compare_range_or_null(where: Where, column: str, criterion: Input) -> bool:
    modifier = criterion["modifier"]
    if modifier in {"BETWEEN", "NOT_BETWEEN"}:
        negated = "NOT " if modifier == "NOT_BETWEEN" else ""
        where.add(
            f"{column} {negated}BETWEEN ? AND ?",
            criterion["value"],
            criterion.get("value2"),
        )
    elif modifier == "IS_NULL":
        where.add(f"{column} IS NULL")
    elif modifier == "NOT_NULL":
        where.add(f"{column} IS NOT NULL")
    else:
        return False
    return True


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _unsupported(what: str) -> ApiError:
    return ApiError(f"Internal system error. Error <unsupported {what}>")
