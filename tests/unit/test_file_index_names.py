"""File names as text."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.file_index.names import from_text, to_bytes, to_text


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
def test_every_name_survives(name: bytes) -> None:
    """Any bytes come back, and the text is one that a database takes."""
    text = to_text(os.fsdecode(name))

    text.encode("utf-8")
    assert to_bytes(text) == name
    assert os.fsencode(from_text(text)) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("plain ü.mp4".encode(), "plain ü.mp4", id="utf-8 stays"),
        pytest.param(b"caf\xe9", r"caf\xe9", id="other bytes"),
        pytest.param(rb"a\xe9", r"a\\xe9", id="backslash"),
    ],
)
def test_written_form(name: bytes, text: str) -> None:
    """UTF-8 is shown as it is; only what is none, and backslashes, are escaped."""
    assert to_text(os.fsdecode(name)) == text
