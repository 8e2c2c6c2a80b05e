"""Wording what pydantic finds wrong."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def first_problem(error: ValidationError) -> str:
    """Return what is wrong with the first of the values that are refused."""
    return problem_text(error.errors()[0])


def problem_text(problem: ErrorDetails) -> str:
    """Return what is wrong with one value."""
    # Pydantic puts this before what our own validators say.
    return problem["msg"].removeprefix("Value error, ")
