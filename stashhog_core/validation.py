"""Reading values that people type, and wording what pydantic finds wrong."""

import json
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


def first_problem(error: ValidationError) -> str:
    """Return what is wrong with the first of the values that are refused."""
    return problem_text(error.errors()[0])


def problem_text(problem: ErrorDetails) -> str:
    """Return what is wrong with one value."""
    # Pydantic puts this before what our own validators say.
    return problem["msg"].removeprefix("Value error, ")


_SHOWN_CHARACTERS = 60


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


def shown(value: Any) -> str:
    """Return a value for an error's sentence; long ones are cut."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "that value"
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return text[: _SHOWN_CHARACTERS - 1] + "…"
