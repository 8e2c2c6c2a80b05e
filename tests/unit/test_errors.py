"""Errors: one sentence, sorted by reaction, able to travel."""

import pickle

import pytest

from stashhog_core import errors
from stashhog_core.errors import StashHogError, TransientError, is_transient

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


@pytest.mark.parametrize("kind", ALL)
def test_only_transient_errors_are_retried(kind: type[StashHogError]) -> None:
    """Doing it again may help after a transient error, and after no other."""
    assert is_transient(kind("x")) == issubclass(kind, TransientError)
