"""Running a request: root fields one after the other, then what is asked of them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import FieldNode, GraphQLNonNull, execute_sync
from graphql.execution.values import get_argument_values

from sandbox.stash.documents import SCHEMA, Request
from sandbox.stash.errors import ApiError
from sandbox.stash.row_types import TYPES
from sandbox.stash.rows import OneRow, Reader, Rows, Selection

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """The root fields a server can answer: name → function of the arguments.

    A function returns plain values, `Rows`, `OneRow`, or a dict of those; a value that
    is callable is called only if its field is asked for.
    """

    fields: dict[str, Callable[..., Any]]


def run(request: Request, answers: Answers, reader: Reader) -> dict[str, Any]:
    """Return the answer to a valid request, with `errors` if there were any.

    Each root field is a transaction of its own: those before and after a failed one
    are kept.
    """
    fields = request.root_fields()
    if any(nodes[0].name.value in {"__schema", "__type"} for nodes in fields.values()):
        return _introspected(request)
    data: dict[str, Any] | None = {}
    errors: list[dict[str, Any]] = []
    for key, nodes in fields.items():
        try:
            value = _root_value(request, nodes, answers, reader)
        except ApiError as error:
            errors.append({"message": str(error), "path": [key]})
            value = None
        except Exception as error:  # noqa: BLE001 - the request must be answered
            # As the real server does with a panic.
            _log.exception("The stand-in itself failed in %s", key)
            text = f"Internal system error. Error <{error}>"
            errors.append({"message": text, "path": [key]})
            value = None
        if data is not None:
            data[key] = value
        if value is None and _is_required(request, nodes):
            data = None
    return {"errors": errors, "data": data} if errors else {"data": data}


def _is_required(request: Request, nodes: list[FieldNode]) -> bool:
    name = nodes[0].name.value
    if name == "__typename":
        return True
    return isinstance(request.root_type.fields[name].type, GraphQLNonNull)


def _root_value(
    request: Request, nodes: list[FieldNode], answers: Answers, reader: Reader
) -> Any:
    name = nodes[0].name.value
    if name == "__typename":
        return request.root_type.name
    field = request.root_type.fields[name]
    arguments = get_argument_values(field, nodes[0], request.variables)
    value = answers.fields[name](**arguments)
    return shaped(value, request.selection(request.root_type, nodes), reader)


def shaped(value: Any, selection: Selection, reader: Reader) -> Any:
    """Return of `value` what `selection` asks, reading rows as needed."""
    if callable(value):
        value = value()
    if isinstance(value, Rows):
        found = reader.read(value.type_name, value.ids, selection)
        return [found[row_id] for row_id in value.ids if row_id in found]
    if isinstance(value, OneRow):
        return reader.read(value.type_name, [value.id], selection).get(value.id)
    if isinstance(value, list) and selection.type_name in TYPES:
        raise AssertionError("rows are answered as Rows, to be read at once")
    if isinstance(value, list):
        return [shaped(item, selection, reader) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: selection.type_name
        if name == "__typename"
        else shaped(value[name], below or Selection("", ()), reader)
        for key, name, below in selection.fields
    }


def _introspected(request: Request) -> dict[str, Any]:
    name = request.operation.name
    result = execute_sync(
        SCHEMA,
        request.document,
        variable_values=request.plain_variables,
        operation_name=name.value if name else None,
    )
    return {"data": result.data}
