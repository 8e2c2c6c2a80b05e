"""Reading rows and what hangs on them, set-wise: one query per relation and page.

Resolving field by field, as GraphQL libraries do, takes seconds for a page of 1,000
full scenes; this takes a few hundredths.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.stash.library import Library


@dataclass(frozen=True)
class Selection:
    """What a document asks of an object: (answer's key, field, what of the field)."""

    type_name: str
    fields: tuple[tuple[str, str, "Selection | None"], ...]


@dataclass(frozen=True)
class Rows:
    """Rows of one type, in this order; read when it is known what is asked of them."""

    type_name: str
    ids: Sequence[int]


@dataclass(frozen=True)
class OneRow:
    """One row; None in the answer when there is no such row."""

    type_name: str
    id: int


@dataclass(frozen=True)
class Links:
    """Related rows: `sql` yields (owner id, related id) for `?`, a JSON list of ids.

    Attributes:
        unordered: The real server states no order for them, ...
        first: ... except that the first so many come first.
    """

    sql: str
    type_name: str
    unordered: bool = False
    first: int = 0


@dataclass(frozen=True)
class Parent:
    """The one related row that a column names."""

    column: str
    type_name: str


@dataclass(frozen=True)
class Parts:
    """Small objects that have no id of their own.

    Attributes:
        sql: Yields (owner id, one column for each of `columns`).
        columns: Field → type of the row its id stands for, or "" for a plain value.
        none_when_empty: Answer null rather than [].
        unordered: The real server states no order for them.
    """

    sql: str
    columns: dict[str, str]
    none_when_empty: bool = False
    unordered: bool = True


@dataclass(frozen=True)
class Values:
    """A list of plain values: `sql` yields (owner id, value).

    Attributes:
        unordered: The real server states no order for them.
    """

    sql: str
    unordered: bool = False


@dataclass(frozen=True)
class Built:
    """An object made from columns: `make(base url, row)` gives all its fields.

    None: there is no such object.
    """

    columns: tuple[str, ...]
    make: Callable[[str, tuple[Any, ...]], dict[str, Any] | None]


Relation = Links | Parent | Parts | Values | Built


@dataclass(frozen=True)
class RowType:
    """How one GraphQL type is stored.

    Attributes:
        table: Its table.
        columns: Fields that are not simply a column of their name → SQL expression.
        flags: Fields that are booleans.
        floats: Fields that are floats; whole numbers are written without a point.
        maps: Fields that are stored as JSON.
        relations: Fields with objects or lists.
    """

    table: str
    columns: dict[str, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    floats: frozenset[str] = frozenset()
    maps: frozenset[str] = frozenset()
    relations: dict[str, Relation] = field(default_factory=dict)


class Reader:
    """Reads selections from a library.

    Args:
        library: Where the rows are.
        types: How each type is stored.
        base_url: What addresses of media start with.
        shuffled: Whether lists without an order change it with the number of ids asked
            for, as SQLite's planner may have it.
    """

    def __init__(
        self,
        library: Library,
        types: dict[str, RowType],
        base_url: str,
        *,
        shuffled: bool = False,
    ) -> None:
        self._library = library
        self._types = types
        self._base_url = base_url
        self._shuffled = shuffled

    def read(
        self, type_name: str, ids: Sequence[int], selection: Selection
    ) -> dict[int, dict[str, Any]]:
        """Return what `selection` asks of each of the rows that exist."""
        row_type = self._types[type_name]
        plain = [
            (key, name)
            for key, name, _ in selection.fields
            if name not in row_type.relations and name != "__typename"
        ]
        wanted = json.dumps(list(ids))
        result = self._read_columns(row_type, wanted, plain)
        for key, name, below in selection.fields:
            if name == "__typename":
                for answer in result.values():
                    answer[key] = type_name
                continue
            if name in row_type.relations:
                relation = row_type.relations[name]
                self._attach(row_type, relation, wanted, result, key, below)
        return result

    def _read_columns(
        self, row_type: RowType, wanted: str, plain: list[tuple[str, str]]
    ) -> dict[int, dict[str, Any]]:
        expressions = [
            "CAST(id AS TEXT)" if name == "id" else row_type.columns.get(name, name)
            for _, name in plain
        ]
        rows = self._library.rows(
            f"SELECT {', '.join(['id', *expressions])} FROM {row_type.table} "
            "WHERE id IN (SELECT value FROM json_each(?))",
            [wanted],
        )
        keys = [key for key, _ in plain]
        result = {row[0]: dict(zip(keys, row[1:], strict=True)) for row in rows}
        for key, name in plain:
            if name in row_type.flags:
                for answer in result.values():
                    answer[key] = bool(answer[key])
            elif name in row_type.maps:
                for answer in result.values():
                    answer[key] = json.loads(answer[key])
            elif name in row_type.floats:
                for answer in result.values():
                    answer[key] = _short(answer[key])
            elif name.endswith(("image_path", "stream", "preview", "screenshot")):
                for answer in result.values():
                    answer[key] = self._base_url + answer[key]
        return result

    def _attach(
        self,
        row_type: RowType,
        relation: Relation,
        wanted: str,
        result: dict[int, dict[str, Any]],
        key: str,
        below: Selection | None,
    ) -> None:
        if isinstance(relation, Values):
            lists: dict[int, list[Any]] = {owner: [] for owner in result}
            for owner, value in self._library.rows(relation.sql, [wanted]):
                lists[owner].append(value)
            for owner, answer in result.items():
                answer[key] = self._as_it_comes(relation, lists[owner], len(result))
            return
        if below is None:
            raise AssertionError(f"{key} was selected without fields")
        if isinstance(relation, Links):
            self._attach_links(relation, wanted, result, key, below)
        elif isinstance(relation, Parent):
            self._attach_parent(row_type, relation, wanted, result, key, below)
        elif isinstance(relation, Parts):
            self._attach_parts(relation, wanted, result, key, below)
        else:
            self._attach_built(row_type, relation, wanted, result, key, below)

    def _attach_links(
        self,
        relation: Links,
        wanted: str,
        result: dict[int, dict[str, Any]],
        key: str,
        below: Selection,
    ) -> None:
        pairs = self._library.rows(relation.sql, [wanted])
        related = self.read(
            relation.type_name, list({pair[1] for pair in pairs}), below
        )
        lists: dict[int, list[Any]] = {owner: [] for owner in result}
        for owner, other in pairs:
            # Deleted since the first query: there is no snapshot, as in the real one.
            if owner in lists and other in related:
                lists[owner].append(related[other])
        for owner, answer in result.items():
            answer[key] = self._as_it_comes(relation, lists[owner], len(result))

    def _as_it_comes(
        self, relation: Links | Parts | Values, rows: list[Any], asked: int
    ) -> list[Any]:
        """Return the rows of one owner in the order of an answer about so many."""
        if not (self._shuffled and relation.unordered and len(rows) > 1):
            return rows
        kept = relation.first if isinstance(relation, Links) else 0
        others = rows[kept:]
        random.Random(asked).shuffle(others)
        return rows[:kept] + others

    def _attach_parent(
        self,
        row_type: RowType,
        relation: Parent,
        wanted: str,
        result: dict[int, dict[str, Any]],
        key: str,
        below: Selection,
    ) -> None:
        pairs = self._library.rows(
            f"SELECT id, {relation.column} FROM {row_type.table} "
            "WHERE id IN (SELECT value FROM json_each(?))",
            [wanted],
        )
        related = self.read(
            relation.type_name,
            list({pair[1] for pair in pairs if pair[1] is not None}),
            below,
        )
        parents: dict[int, int | None] = dict(pairs)
        for owner, answer in result.items():
            parent = parents.get(owner)
            answer[key] = None if parent is None else related.get(parent)

    def _attach_parts(
        self,
        relation: Parts,
        wanted: str,
        result: dict[int, dict[str, Any]],
        key: str,
        below: Selection,
    ) -> None:
        rows = self._library.rows(relation.sql, [wanted])
        positions = {name: at for at, name in enumerate(relation.columns, start=1)}
        related: dict[str, dict[int, dict[str, Any]]] = {}
        for _, name, deeper in below.fields:
            type_name = relation.columns.get(name)
            if type_name and deeper is not None:
                ids = list({row[positions[name]] for row in rows})
                related[name] = self.read(type_name, ids, deeper)
        lists: dict[int, list[Any]] = {owner: [] for owner in result}
        for row in rows:
            part: dict[str, Any] = {}
            for field_key, name, _ in below.fields:
                if name == "__typename":
                    part[field_key] = below.type_name
                elif name in related:
                    part[field_key] = related[name].get(row[positions[name]])
                else:
                    part[field_key] = row[positions[name]]
            if row[0] in lists:
                lists[row[0]].append(part)
        for owner, answer in result.items():
            parts = self._as_it_comes(relation, lists[owner], len(result))
            answer[key] = parts or (None if relation.none_when_empty else [])

    def _attach_built(
        self,
        row_type: RowType,
        relation: Built,
        wanted: str,
        result: dict[int, dict[str, Any]],
        key: str,
        below: Selection,
    ) -> None:
        rows = self._library.rows(
            f"SELECT id, {', '.join(relation.columns)} FROM {row_type.table} "
            "WHERE id IN (SELECT value FROM json_each(?))",
            [wanted],
        )
        for row in rows:
            made = relation.make(self._base_url, row)
            if made is None:
                result[row[0]][key] = None
                continue
            whole = {"__typename": below.type_name, **made}
            result[row[0]][key] = {
                field_key: whole[name] for field_key, name, _ in below.fields
            }


def _short(number: float | None) -> float | None:
    """Return whole numbers as such: Stash writes 20, not 20.0."""
    return int(number) if number is not None and number.is_integer() else number
