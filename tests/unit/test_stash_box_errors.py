"""What Stash says when a call to a stash-box failed, and what follows from it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.errors import (
    ConfigurationError,
    Deferred,
    ItemError,
    StashHogError,
    storable,
)
from stashhog_core.stash.box_errors import box_error

BOX = "http://box.example/graphql"
SHOWN = 600
"""An error is a sentence: it does not repeat an answer of 13 kB."""


def failed(code: int | None, *messages: str) -> str:
    """Return the text of Stash for a status and for errors of the stash-box."""
    network = code and {"code": code, "message": "Response body …"}
    errors = [{"message": message} for message in messages] or None
    what = json.dumps(
        {"networkErrors": network, "graphqlErrors": errors}, separators=(",", ":")
    )
    return f"Stash refused ScrapeScenes: {what}"


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("stash box not found", ConfigurationError, "STASHHOG_STASH_BOX__ENDPOINTS"),
        (failed(401, "Not authorized"), ConfigurationError, "API key"),
        (failed(None, "Not authorized"), ConfigurationError, "API key"),
        (failed(403), ConfigurationError, "status 403"),
        (failed(429), Deferred, "status 429"),
        (failed(503), Deferred, "next run asks again"),
        (failed(500), ItemError, "status 500"),
        (failed(500, "database is busy"), ItemError, "database is busy"),
        (failed(None, "made-up failure"), ItemError, "made-up failure"),
        (f'request failed: Post "{BOX}": EOF', Deferred, "EOF"),
        (
            "failed to decode data <!DOCTYPE html>: invalid character '<' looking for "
            "beginning of value",
            Deferred,
            "invalid character",
        ),
        (
            'failed to decode data into response {"data": {"findScenes": []}}: : : '
            "unmarshal gql error: BROWN is not a valid HairColorEnum",
            ItemError,
            "(BROWN is not a valid HairColorEnum)",
        ),
        ("scene with id 99999 not found", ItemError, "scene with id 99999"),
        (
            "Internal system error. Error <runtime error: index out of range>",
            ItemError,
            "index out of range",
        ),
    ],
    ids=lambda value: str(value)[:130],
)
def test_what_follows(text: str, kind: type[StashHogError], words: str) -> None:
    """A wrong setting is said, an outage defers, and anything else is one scene's."""
    error = box_error(text, BOX)

    assert type(error) is kind
    assert words in str(error)
    assert BOX in str(error)


@given(st.text(), st.text(max_size=50))
def test_any_text_becomes_a_short_error(before: str, answer: str) -> None:
    """Whatever a stash-box answered, the error is one short text that can be stored."""
    for text in (
        before,
        f"failed to decode data into response {before * 500}: {answer}",
        f"failed to decode data {before * 500}",
        f"{before}{failed(500, answer * 500)}",
        f'{{"networkErrors":{before}',
    ):
        error = box_error(text, BOX)

        assert isinstance(error, ConfigurationError | Deferred | ItemError)
        assert len(str(error)) < SHOWN
        assert storable(str(error)) == str(error)


@pytest.mark.parametrize("code", [401, 429, 500])
def test_a_text_that_was_cut(code: int) -> None:
    """The status stands at the beginning, and is enough."""
    text = failed(code, "x" * 1000)[:100]

    assert type(box_error(text, BOX)) is type(box_error(failed(code, "x"), BOX))
