"""From the text of a request to what it asks for: parsing, validating, variables."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLSkipDirective,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    build_schema,
    get_named_type,
    get_variable_values,
    parse,
    validate,
)
from graphql.execution.values import VariableValues, get_directive_values
from graphql.utilities import print_schema, type_from_ast

from sandbox.stash.errors import RequestError
from sandbox.stash.rows import Selection

SCHEMA: GraphQLSchema = build_schema(
    Path(__file__).with_name("schema.graphql").read_text(encoding="utf-8")
)

Collected = dict[str, list[FieldNode]]

_INVALID = {"code": "GRAPHQL_VALIDATION_FAILED"}
_UNPARSABLE = {"code": "GRAPHQL_PARSE_FAILED"}


class Request:
    """One operation with its variables, ready to run.

    Args:
        query: The document.
        variables: Its variables, as they came.
        operation_name: Which operation of the document; None if there is but one.
        unknown: Fields, as `Type.field`, that are not to be known.

    Raises:
        RequestError: Nothing of it may run.
    """

    def __init__(
        self,
        query: str,
        variables: Mapping[str, Any],
        operation_name: str | None,
        unknown: frozenset[str] = frozenset(),
    ) -> None:
        document = parsed(query, unknown)
        self.operation = _operation(document, operation_name)
        self.fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self.document = document
        self.plain_variables = self._checked(variables)
        values = get_variable_values(
            SCHEMA, self.operation.variable_definitions or (), self.plain_variables
        )
        if not isinstance(values, VariableValues):
            raise RequestError(
                [{"message": e.message, "extensions": _INVALID} for e in values]
            )
        self.variables = values

    @property
    def is_query(self) -> bool:
        """Whether it only reads."""
        return self.operation.operation.value == "query"

    @property
    def root_type(self) -> GraphQLObjectType:
        """The type of its root fields."""
        root = SCHEMA.get_root_type(self.operation.operation)
        if root is None:
            raise RequestError(
                [{"message": "Schema does not support this operation type"}]
            )
        return root

    def root_fields(self) -> Collected:
        """Return its root fields by answer key, in order."""
        collected: Collected = {}
        self._collect(self.root_type.name, self.operation.selection_set, collected)
        return collected

    def selection(self, parent: GraphQLObjectType, nodes: list[FieldNode]) -> Selection:
        """Return what is asked of the object that `nodes` (one key) stand for."""
        field_type = get_named_type(parent.fields[nodes[0].name.value].type)
        if isinstance(field_type, GraphQLInterfaceType):
            # One type implements it: what is asked of it is asked of that type.
            (field_type,) = SCHEMA.get_possible_types(field_type)
        if not isinstance(field_type, GraphQLObjectType):
            return Selection(field_type.name, ())
        collected: Collected = {}
        for node in nodes:
            if node.selection_set is not None:
                self._collect(field_type.name, node.selection_set, collected)
        return Selection(
            field_type.name,
            tuple(
                (key, below[0].name.value, self._below(field_type, below))
                for key, below in collected.items()
            ),
        )

    def _below(
        self, parent: GraphQLObjectType, nodes: list[FieldNode]
    ) -> Selection | None:
        has_fields = nodes[0].selection_set is not None
        return self.selection(parent, nodes) if has_fields else None

    def _collect(
        self, type_name: str, selections: SelectionSetNode, collected: Collected
    ) -> None:
        for node in selections.selections:
            if not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                key = node.alias.value if node.alias else node.name.value
                collected.setdefault(key, []).append(node)
                continue
            fragment: FragmentDefinitionNode | InlineFragmentNode
            if isinstance(node, FragmentSpreadNode):
                fragment = self.fragments[node.name.value]
            elif isinstance(node, InlineFragmentNode):
                fragment = node
            else:
                continue
            condition = fragment.type_condition
            # No type is one of several: a condition names the type itself.
            if condition is None or condition.name.value == type_name:
                self._collect(type_name, fragment.selection_set, collected)

    def _is_included(self, node: Any) -> bool:
        skip = get_directive_values(GraphQLSkipDirective, node, self.variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self.variables)
        return not (skip and skip["if"]) and not (include and not include["if"])

    def _checked(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the variables as Stash understands them: numbers pass for text."""
        checked = {}
        for definition in self.operation.variable_definitions or ():
            name = definition.variable.name.value
            kind = type_from_ast(SCHEMA, definition.type)
            if name not in variables:
                if isinstance(kind, GraphQLNonNull) and not definition.default_value:
                    _refuse("must be defined", [name])
                continue
            checked[name] = _coerced(variables[name], kind, [name])  # type: ignore[arg-type]
        return checked


@lru_cache(maxsize=256)
def parsed(query: str, unknown: frozenset[str] = frozenset()) -> DocumentNode:
    """Return the valid document of a text, which names none of the `unknown` fields.

    Raises:
        RequestError: It cannot be read, or asks for what there is not.
    """
    try:
        document = parse(query)
    except GraphQLSyntaxError as error:
        message = error.message.removeprefix("Syntax Error: ").removesuffix(".")
        raise RequestError(
            [{**_located(error), "message": message, "extensions": _UNPARSABLE}]
        ) from error
    errors = validate(_schema_without(unknown), document)
    if errors:
        raise RequestError([{**_located(e), "extensions": _INVALID} for e in errors])
    return document


@lru_cache
def _schema_without(unknown: frozenset[str]) -> GraphQLSchema:
    """Return the schema of a server that lacks some fields."""
    if not unknown:
        return SCHEMA
    schema = build_schema(print_schema(SCHEMA))
    for name in unknown:
        type_name, field_name = name.split(".")
        kind = schema.type_map[type_name]
        if isinstance(kind, GraphQLObjectType):
            del kind.fields[field_name]
    return schema


def _located(error: GraphQLError) -> dict[str, Any]:
    # Stash's own words differ from the library's in two small ways.
    message = re.sub(r"'([^']*)'", r'"\1"', error.message)
    located: dict[str, Any] = {"message": message}
    if error.locations:
        located["locations"] = [
            {"line": at.line, "column": at.column} for at in error.locations[:1]
        ]
    return located


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    operations = [
        node
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode)
        and (not name or (node.name and node.name.value == name))
    ]
    if len(operations) != 1:
        raise RequestError(
            [{"message": f"operation {name or ''} not found", "extensions": _INVALID}]
        )
    return operations[0]


def _refuse(message: str, path: list[str | int]) -> None:
    raise RequestError(
        [{"message": message, "path": ["variable", *path], "extensions": _INVALID}]
    )


def _coerced(value: Any, kind: GraphQLInputType, path: list[str | int]) -> Any:
    if isinstance(kind, GraphQLNonNull):
        if value is None:
            _refuse("must be defined", path)
        return _coerced(value, kind.of_type, path)
    if value is None:
        return None
    if isinstance(kind, GraphQLList):
        items = value if isinstance(value, list) else [value]
        return [
            _coerced(item, kind.of_type, [*path, at]) for at, item in enumerate(items)
        ]
    if isinstance(kind, GraphQLInputObjectType):
        return _coerced_object(value, kind, path)
    if isinstance(kind, GraphQLEnumType):
        if value not in kind.values:
            _refuse(f"{value} is not a valid {kind.name}", path)
        return value
    return _coerced_scalar(value, kind, path)


def _coerced_object(
    value: Any, kind: GraphQLInputObjectType, path: list[str | int]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(f"must be a {kind.name}", path)
    for name in value:
        if name not in kind.fields:
            _refuse("unknown field", [*path, name])
    checked = {}
    for name, input_field in kind.fields.items():
        if name in value:
            checked[name] = _coerced(value[name], input_field.type, [*path, name])
        elif isinstance(input_field.type, GraphQLNonNull):
            _refuse("must be defined", [*path, name])
    return checked


def _coerced_scalar(value: Any, kind: GraphQLScalarType, path: list[str | int]) -> Any:
    if kind.name == "Boolean":
        if not isinstance(value, bool):
            _refuse(f"cannot use {_kind_of(value)} as Boolean", path)
        return value
    if kind.name == "Map":
        if not isinstance(value, dict):
            _refuse(f"cannot use {_kind_of(value)} as Map", path)
        return value
    if kind.name in {"String", "ID", "Timestamp", "Time"}:
        if isinstance(value, dict | list):
            _refuse(f"cannot use {_kind_of(value)} as {kind.name}", path)
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)
    try:
        return int(str(value)) if kind.name in {"Int", "Int64"} else float(value)
    except (TypeError, ValueError):
        _refuse(f"cannot use {_kind_of(value)} as {kind.name}", path)


def _kind_of(value: Any) -> str:
    return {dict: "object", list: "array", bool: "bool"}.get(type(value), "string")
