"""What drawn histories happen in."""

from collections import Counter
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from sandbox.stash.server import StandIn
from stashhog_core.db.session import Database
from tests.conftest import UsedDatabase
from tests.support.disturbed import two_databases
from tests.support.model_checking import World

EACH_ITS_OWN = httpx.Limits(max_keepalive_connections=0)
"""Each request has a connection: a Stash that restarts has closed all others."""


@pytest.fixture
def world(
    stand_in: StandIn, used_database: UsedDatabase, database: Database
) -> Iterator[World]:
    """A Stash, and the databases of two runs."""
    with (
        two_databases(used_database.url) as databases,
        httpx.HTTPTransport(verify=False, limits=EACH_ITS_OWN) as inner,
        psycopg.connect(used_database.url, autocommit=True) as observer,
    ):
        yield World(
            stand_in, used_database, database, databases, inner, observer, Counter()
        )
