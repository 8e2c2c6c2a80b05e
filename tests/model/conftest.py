"""The databases of runs whose histories are drawn."""

from collections.abc import Iterator

import pytest

from tests.support.disturbed import MortalDatabase, two_databases


@pytest.fixture
def databases(database_url: str) -> Iterator[list[MortalDatabase]]:
    """The databases of two runs."""
    with two_databases(database_url) as opened:
        yield opened
