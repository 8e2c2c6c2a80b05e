"""The stand-in Stash fails as it is told, for as many requests as it is told."""

from pathlib import Path

import httpx
import pytest

from sandbox.stash.server import StandIn
from tests.support.http import loopback
from tests.support.stand_in import Ask

pytestmark = pytest.mark.slow

CREATE_TAG = 'mutation{tagCreate(input:{name:"t"}){id}}'
COUNT_TAGS = "{findTags{count}}"


def post(stand_in: StandIn, query: str = COUNT_TAGS) -> httpx.Response:
    """Send a query on a connection of its own."""
    return loopback.post(f"{stand_in.url}/graphql", json={"query": query})


def test_status(stand_in: StandIn) -> None:
    """A status is answered so many times, then all is well."""
    stand_in.faults.answer_status(503, times=2)

    assert [post(stand_in).status_code for _ in range(3)] == [503, 503, 200]


def test_only_the_named_field_is_hit(stand_in: StandIn) -> None:
    """A fault may wait for the requests that ask for one root field."""
    stand_in.faults.answer_status(500, field="tagCreate")

    assert post(stand_in).status_code == 200
    assert post(stand_in, CREATE_TAG).status_code == 500
    assert post(stand_in, CREATE_TAG).status_code == 200


def test_dropped_connection(stand_in: StandIn) -> None:
    """The connection ends without an answer; the next one is answered."""
    stand_in.faults.drop_connection()

    with pytest.raises(httpx.TransportError):
        post(stand_in)
    assert post(stand_in).status_code == 200


def test_answer_that_got_lost(stand_in: StandIn) -> None:
    """A mutation can be carried out although its answer never arrives."""
    stand_in.faults.drop_connection(field="tagCreate", after=True)

    with pytest.raises(httpx.TransportError):
        post(stand_in, CREATE_TAG)

    assert post(stand_in).json()["data"]["findTags"]["count"] == 1


def test_slow_answer(stand_in: StandIn) -> None:
    """A slow answer is a good one, late; others are not held up."""
    stand_in.faults.answer_slowly(0.5)

    slow = post(stand_in)
    quick = post(stand_in)

    assert slow.status_code == 200
    assert slow.elapsed.total_seconds() >= 0.5 > quick.elapsed.total_seconds()


def test_errors_beside_data(stand_in: StandIn) -> None:
    """GraphQL errors come with HTTP 200 and whole data."""
    stand_in.faults.add_errors("half of it failed")

    answer = post(stand_in)

    assert answer.status_code == 200
    assert answer.json()["errors"][0]["message"] == "half of it failed"
    assert answer.json()["data"] == {"findTags": {"count": 0}}


def test_other_pages(stand_in: StandIn) -> None:
    """A proxy's page and an empty body both come with HTTP 200."""
    stand_in.faults.answer_html()
    stand_in.faults.answer_empty()

    page, empty = post(stand_in), post(stand_in)

    assert page.headers["content-type"].startswith("text/html")
    assert page.text.startswith("<!doctype html>")
    assert (empty.status_code, empty.content) == (200, b"")


def test_clear(stand_in: StandIn, ask: Ask) -> None:
    """All planned troubles can be called off."""
    stand_in.faults.answer_status(503, times=100)
    stand_in.faults.failing_items.add("phash ")

    stand_in.faults.clear()

    assert ask(COUNT_TAGS)["data"] == {"findTags": {"count": 0}}
    assert not stand_in.faults.fails("phash", "/a.mp4")


def test_stopped_server_refuses_and_comes_back(stand_in: StandIn) -> None:
    """While it is down nothing listens; it returns on the same port."""
    url = stand_in.url
    post(stand_in, CREATE_TAG)
    stand_in.stop()
    with pytest.raises(httpx.ConnectError):
        post(stand_in)
    stand_in.start()

    assert stand_in.url == url
    assert post(stand_in).json()["data"]["findTags"]["count"] == 1


def test_two_stand_ins_do_not_mix(tmp_path: Path, stand_in: StandIn) -> None:
    """Each has its own port, library and faults."""
    with StandIn(tmp_path / "other", tmp_path) as other:
        other.faults.answer_status(500)
        post(stand_in, CREATE_TAG)

        assert post(stand_in).status_code == 200
        assert post(other).status_code == 500
        assert post(other).json()["data"]["findTags"]["count"] == 0
