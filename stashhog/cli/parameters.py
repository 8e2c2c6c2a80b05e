"""The parameters of jobs in the terminal: as a list, and read from name=value."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from stashhog.cli.console import plain, wrapped_table
from stashhog_core.errors import ConfigurationError, shown
from stashhog_core.ids import MAX_ID
from stashhog_core.params import JOB_PARAMS, JobParams, checked_parameters

_TYPES = {
    "boolean": "true or false",
    "integer": "integer",
    "number": "number",
    "string": "text",
}


@dataclass(frozen=True)
class ParameterRow:
    """A parameter by its wire name. `default` is as one types it; None: required."""

    name: str
    type: str
    default: str | None
    description: str


def parameter_rows(model: type[JobParams]) -> list[ParameterRow]:
    """Return the parameters of a job, in the order of its model."""
    schema = model.model_json_schema()
    required = schema.get("required", ())
    return [
        ParameterRow(
            name=name,
            type=_type_in_words(of),
            default=None if name in required else _typed(of["default"]),
            description=of["description"],
        )
        for name, of in schema.get("properties", {}).items()
    ]


def print_parameters(console: Console, job: str, rows: Sequence[ParameterRow]) -> None:
    """Print the parameters as a table, and how they are given."""
    table = wrapped_table("Parameter", "Type", "Default", "Description", title=job)
    for row in rows:
        default = "required" if row.default is None else row.default
        table.add_row(row.name, row.type, plain(default), plain(row.description))
    console.print(table)
    console.print(
        "Give a parameter as --param name=value, and a list as JSON: 'name=[1,2]'",
        highlight=False,
        markup=False,
    )


def _type_in_words(of: dict[str, Any]) -> str:
    # The description says what happens if the parameter is left out (null).
    kinds = [kind for kind in of.get("anyOf", [of]) if kind.get("type") != "null"]
    return " or ".join(map(_kind_in_words, kinds))


def _kind_in_words(kind: dict[str, Any]) -> str:
    if "enum" in kind:
        return ", ".join(map(str, kind["enum"]))
    if kind["type"] == "array":
        if kind["items"].get("title") == "Id":
            return "list of ids (numbers or texts)"
        return f"list of: {_kind_in_words(kind['items'])}"
    if kind.get("format") == "date-time":
        return "date and time"
    bounds = [
        f"{words} {kind[bound]:g}"
        for bound, words in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
        # The largest number that the database holds tells nobody anything.
        if bound in kind and kind[bound] != MAX_ID
    ]
    return " ".join([_TYPES[kind["type"]], *bounds])


def _typed(default: Any) -> str:
    if default is None:
        return "none"
    return default if isinstance(default, str) else json.dumps(default)


def parse_parameters(job: str, pairs: list[str]) -> dict[str, Any]:
    """Return the parameters of `job` given as name=value, checked.

    Raises:
        ConfigurationError: The job or a name is unknown, or a value is not allowed.
    """
    model = parameters_of(job)
    known = [field.alias or name for name, field in model.model_fields.items()]
    values: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise ConfigurationError(
                f"The parameter {shown(pair)} has no value",
                remedy="write the parameter as name=value",
            )
        if name not in known:
            raise ConfigurationError(
                f"{job} has no parameter {shown(name)}", remedy=_nearest(name, known)
            )
        values[name] = typed_value(model, name, text)
    checked_parameters(job, model, values)
    return values


def parameters_of(job: str) -> type[JobParams]:
    """Return the model of what a job can be asked.

    Raises:
        ConfigurationError: There is no such job.
    """
    model = JOB_PARAMS.get(job)
    if model is None:
        raise ConfigurationError(
            f"There is no job {job!r}", remedy=_nearest(job, list(JOB_PARAMS))
        )
    return model


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "choose one of " + ", ".join(known)


def typed_value(
    model: type[BaseModel], name: str, text: str, *, quoted: bool = True
) -> Any:
    """Return what somebody typed for a field.

    Where the field takes a text, it is one, though it looks like a number: `2021`.
    Where the field can be without a value, `null` says so. Anything else is JSON.

    Args:
        model: What has the field.
        name: The field, by its alias if it has one.
        text: What was typed.
        quoted: Take the quotation marks off a text that is a string of JSON.
    """
    schema = model.model_json_schema()["properties"].get(name, {})
    kinds = {kind.get("type") for kind in (schema, *schema.get("anyOf", ()))}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        # Also a number of thousands of digits, and lists in thousands of lists.
        value = text
    if "string" not in kinds or (value is None and "null" in kinds):
        return value
    return value if quoted and isinstance(value, str) else text
