"""Wording what pydantic finds wrong."""

from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """Return what is wrong with the first of the values that are refused."""
    # Pydantic puts this before what our own validators say.
    return error.errors()[0]["msg"].removeprefix("Value error, ")
