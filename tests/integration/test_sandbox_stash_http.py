"""The stand-in Stash's HTTP side: the GraphQL envelope, variables and keys."""

from pathlib import Path
from typing import Any

import pytest

from sandbox.stash.server import StandIn
from tests.support.http import loopback
from tests.support.stand_in import (
    CREATE_TAG,
    VERSION,
    Ask,
    message,
)

pytestmark = pytest.mark.slow


# --- the envelope --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "content_type", "refused"),
    [
        pytest.param("application/json", "application/json", 422, id="plain JSON"),
        pytest.param("*/*", "application/graphql-response+json", 400, id="anything"),
    ],
)
def test_accept_decides_the_dialect(
    stand_in: StandIn, accept: str, content_type: str, refused: int
) -> None:
    """Type of the answer and status of an invalid query follow the Accept header."""
    headers = {"accept": accept}
    url = f"{stand_in.url}/graphql"

    good = loopback.post(url, json={"query": VERSION}, headers=headers)
    bad = loopback.post(url, json={"query": "{bogus}"}, headers=headers)

    assert (good.status_code, good.headers["content-type"]) == (200, content_type)
    assert (bad.status_code, bad.headers["content-type"]) == (refused, content_type)
    assert bad.json()["data"] is None
    assert bad.json()["errors"][0]["extensions"] == {
        "code": "GRAPHQL_VALIDATION_FAILED"
    }


@pytest.mark.parametrize(
    ("accept", "packed"), [("application/json", "gzip"), ("*/*", None)]
)
def test_only_plain_json_is_packed(
    stand_in: StandIn, accept: str, packed: str | None
) -> None:
    """One dialect is compressed when the client can take it, the other never."""
    headers = {"accept": accept, "accept-encoding": "gzip"}

    answer = loopback.post(
        f"{stand_in.url}/graphql", json={"query": VERSION}, headers=headers
    )

    assert answer.headers.get("content-encoding") == packed
    assert answer.json() == {"data": {"version": {"hash": "stand-in"}}}


@pytest.mark.parametrize(
    ("method", "headers", "content", "status"),
    [
        pytest.param("POST", {}, b"{}", 400, id="no content type"),
        pytest.param(
            "POST", {"content-type": "application/json"}, b"x", 400, id="no JSON"
        ),
        pytest.param(
            "POST", {"content-type": "application/json"}, b"[]", 400, id="a batch"
        ),
        pytest.param("PUT", {"content-type": "application/json"}, b"{}", 400, id="PUT"),
    ],
)
def test_malformed_requests(
    stand_in: StandIn, method: str, headers: dict[str, str], content: bytes, status: int
) -> None:
    """What is no GraphQL request gets a GraphQL error all the same."""
    answer = loopback.request(
        method, f"{stand_in.url}/graphql", headers=headers, content=content
    )

    assert answer.status_code == status
    assert answer.json()["data"] is None
    assert answer.json()["errors"]


def test_get_only_reads(stand_in: StandIn) -> None:
    """A query may come by GET, a mutation may not."""
    url = f"{stand_in.url}/graphql"

    assert loopback.get(url, params={"query": VERSION}).status_code == 200
    assert (
        loopback.get(url, params={"query": "mutation{stopAllJobs}"}).status_code == 406
    )


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        pytest.param({"bogus": 1}, ["bogus"], "unknown field", id="unknown"),
        pytest.param({}, ["name"], "must be defined", id="missing"),
        pytest.param(
            {"name": "x", "favorite": "yes"},
            ["favorite"],
            "cannot use string as Boolean",
            id="wrong type",
        ),
    ],
)
def test_variables_are_checked(
    ask: Ask, value: dict[str, Any], path: list[str], expected: str
) -> None:
    """A wrong variable is refused with its path, before anything runs."""
    answer = ask(CREATE_TAG, i=value)

    assert message(answer) == expected
    assert answer["errors"][0]["path"] == ["variable", "i", *path]


def test_variables_are_lenient_with_scalars(ask: Ask) -> None:
    """Ids may be numbers, text may be a number, and one value passes for a list."""
    tag = ask(CREATE_TAG, i={"name": 5, "aliases": 6})["data"]["tagCreate"]

    assert tag["name"] == "5"
    assert tag["aliases"] == ["6"]
    assert ask("query($i:ID!){findTag(id:$i){id}}", i=1)["data"]["findTag"]["id"] == "1"


def test_each_aliased_mutation_stands_alone(ask: Ask) -> None:
    """Those before and after a failed one are kept."""
    answer = ask(
        'mutation{a:tagCreate(input:{name:"x"}){id} b:tagCreate(input:{name:"X"}){id} '
        'c:tagCreate(input:{name:"y"}){id}}'
    )

    assert answer["data"] == {"a": {"id": "1"}, "b": None, "c": {"id": "2"}}
    assert answer["errors"] == [
        {"message": "tag with name 'X' already exists", "path": ["b"]}
    ]


def test_required_root_field_takes_all_data_with_it(ask: Ask) -> None:
    """An error in `findScenes`, which must not be null, leaves no data at all."""
    answer = ask('{version{hash} findScenes(filter:{sort:"bogus"}){count}}')

    assert answer["data"] is None
    assert message(answer) == "invalid sort: bogus"


def test_fragments_directives_and_introspection(ask: Ask) -> None:
    """It is GraphQL: fragments, @skip and @include, operation types, introspection."""
    query = (
        "query($no:Boolean!){...F a:version{...on Version{hash} "
        "version@include(if:$no) __typename}} "
        "fragment F on Query{version@skip(if:true){hash}}"
    )

    assert ask(query, no=False)["data"] == {
        "a": {"hash": "stand-in", "__typename": "Version"}
    }
    names = ask("{__schema{queryType{name}}}")["data"]
    assert names == {"__schema": {"queryType": {"name": "Query"}}}


# --- keys ----------------------------------------------------------------------------


def test_wrong_key_is_refused_even_without_a_lock(stand_in: StandIn) -> None:
    """A server without a key takes calls without one, but never a wrong one."""
    answer = loopback.post(
        f"{stand_in.url}/graphql", json={"query": VERSION}, headers={"ApiKey": "x"}
    )

    assert (answer.status_code, answer.content) == (401, b"")
    assert answer.headers["www-authenticate"] == "FormBased"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param("/healthz", {}, 200, id="health is open"),
        pytest.param("/graphql?query={version{hash}}", {}, 401, id="no key"),
        pytest.param(
            "/graphql?query={version{hash}}", {"ApiKey": "secret"}, 200, id="header"
        ),
        pytest.param(
            "/graphql?query={version{hash}}&apikey=secret", {}, 200, id="parameter"
        ),
        pytest.param(
            "/graphql?query={version{hash}}",
            {"Authorization": "Bearer secret"},
            401,
            id="bearer",
        ),
        pytest.param("/scene/1/screenshot", {}, 302, id="media page"),
        pytest.param("/scene/x_sprite.jpg", {}, 401, id="media file"),
    ],
)
def test_key(tmp_path: Path, path: str, headers: dict[str, str], status: int) -> None:
    """With a key set, only that key opens anything but the health check."""
    with StandIn(tmp_path / "home", tmp_path, api_key="secret") as server:
        answer = loopback.get(server.url + path, headers=headers)

    assert answer.status_code == status
