"""Errors: one sentence, sorted by reaction, able to travel."""

import pickle
from typing import Self

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from stashhog_core import errors
from stashhog_core.errors import (
    StashHogError,
    TransientError,
    is_transient,
    refused_value,
    shown,
)

ALL = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, StashHogError)
]


@pytest.mark.parametrize("kind", ALL)
def test_errors_survive_pickling(kind: type[StashHogError]) -> None:
    """An error crosses processes and result stores with its facts and words."""
    error = kind("It broke", where="here", remedy="mend it")

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(copy) is kind
    assert str(copy) == "It broke (here): mend it"
    assert (copy.what, copy.where, copy.remedy) == ("It broke", "here", "mend it")


def test_errors_can_be_stored() -> None:
    """A server's words may hold what neither database nor terminal takes."""
    error = StashHogError("It said 'a\0b'", where="\udcff")

    assert str(error) == "It said 'a\ufffdb' (?)"


def test_an_error_is_one_line_of_some_length() -> None:
    """A page that a server answered, or a name of a book's length, is cut."""
    error = StashHogError("It said:\n  no\r\n", where="x" * 10_000, remedy="end\n")

    assert str(error).startswith("It said: no (xxx")
    assert str(error).endswith("xxx): end")
    assert len(str(error)) < 600


@pytest.mark.parametrize("kind", ALL)
def test_only_transient_errors_are_retried(kind: type[StashHogError]) -> None:
    """Doing it again may help after a transient error, and after no other."""
    assert is_transient(kind("x")) == issubclass(kind, TransientError)


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = 1
    plan: str

    @model_validator(mode="after")
    def is_in_range(self) -> Self:
        if self.plan == "b" and self.number > 1:
            raise ValueError("plan b has one number")
        return self


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "The parameter plan of job is missing: give it a value"),
        (
            {"plan": "a", "number": "x"},
            "The parameter number of job cannot be 'x': Input should be a valid "
            "integer, unable to parse string as an integer",
        ),
        (
            {"plan": "a", "other": 1},
            "There is no parameter other of job: leave it out",
        ),
        (
            {"plan": "b", "number": 2},
            "The parameters of job do not fit: plan b has one number",
        ),
        (
            {"plan": "a", "\udcff": 1},
            "A parameter of job is wrong: Input should be a valid string, unable to "
            "parse raw data as a unicode string",
        ),
    ],
)
def test_a_refused_value_is_named(values: dict[str, object], sentence: str) -> None:
    """With the reason; a name that is missing, unknown or no text as well."""
    with pytest.raises(ValidationError) as refused:
        Asked.model_validate(values)

    assert str(refused_value(refused.value, "parameter", "job")) == sentence


def test_long_values_are_cut() -> None:
    """An error is a sentence, also about a number that Python does not print."""
    assert shown(7) == "7"
    assert len(shown("x" * 10_000)) == 60
    assert shown(10**5000) == "the given value"
