"""Which errors are tried again, how often, and what is said of it."""

import logging

import pytest

from stashhog_core.errors import JobError, TransientError
from stashhog_core.retries import with_retries


class Server:
    """Fails with the given errors, one call after the other, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def test_a_passing_error_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The caller alone says something of a retry: it knows the error and the pause."""
    caplog.set_level(logging.DEBUG)
    first, second = TransientError("away"), TransientError("still away")
    reported: list[tuple[Exception, float]] = []
    server = Server(first, second)

    answer = with_retries(
        server, (0.0, 0.001, 3600.0), on_retry=lambda *heard: reported.append(heard)
    )

    assert answer == "answer"
    assert reported == [(first, 0.0), (second, 0.001)]
    assert not caplog.records


def test_the_last_error_is_raised_when_the_pauses_are_used_up() -> None:
    """There is one call more than there are pauses."""
    server = Server(*(TransientError(f"call {number}") for number in range(1, 9)))

    with pytest.raises(TransientError, match="call 3"):
        with_retries(server, (0.0, 0.0))

    assert server.calls == 3


@pytest.mark.parametrize("error", [JobError("no"), ValueError("no")])
def test_another_error_is_raised_at_once(error: Exception) -> None:
    """What waiting cannot mend is not tried again."""
    server = Server(error)

    with pytest.raises(type(error)):
        with_retries(server, (0.0, 0.0))

    assert server.calls == 1


def test_the_caller_may_say_what_passes() -> None:
    """Errors of others can be tried again too, without a translation."""
    server = Server(OSError("not ready"))

    assert with_retries(server, (0.0,), on=lambda e: isinstance(e, OSError)) == "answer"
