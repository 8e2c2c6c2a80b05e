"""The stand-in Stash answers as the real one was seen to: envelope, reads, writes."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.stash.server import StandIn
from tests.integration.conftest import Ask

pytestmark = pytest.mark.slow

VERSION = "{version{hash}}"
CREATE_TAG = "mutation($i:TagCreateInput!){tagCreate(input:$i){id name aliases}}"
UPDATE_SCENES = "mutation($i:BulkSceneUpdateInput!){bulkSceneUpdate(input:$i){id}}"
FIND_IDS = (
    "query($f:FindFilterType,$s:SceneFilterType,$i:[ID!])"
    "{findScenes(filter:$f,scene_filter:$s,ids:$i){count scenes{id}}}"
)


def add_scenes(ask: Ask, count: int) -> list[str]:
    """Create scenes without files; return their ids."""
    query = 'mutation{sceneCreate(input:{title:"made"}){id}}'
    return [ask(query)["data"]["sceneCreate"]["id"] for _ in range(count)]


def found(ask: Ask, **arguments: Any) -> list[str]:
    """Return the ids that `findScenes` answers."""
    answer = ask(FIND_IDS, **arguments)
    return [scene["id"] for scene in answer["data"]["findScenes"]["scenes"]]


def message(answer: dict[str, Any]) -> str:
    """Return the one error of an answer."""
    (error,) = answer["errors"]
    return str(error["message"])


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

    good = httpx.post(url, json={"query": VERSION}, headers=headers)
    bad = httpx.post(url, json={"query": "{bogus}"}, headers=headers)

    assert (good.status_code, good.headers["content-type"]) == (200, content_type)
    assert (bad.status_code, bad.headers["content-type"]) == (refused, content_type)
    assert bad.json()["data"] is None
    assert bad.json()["errors"][0]["extensions"] == {
        "code": "GRAPHQL_VALIDATION_FAILED"
    }


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
    answer = httpx.request(
        method, f"{stand_in.url}/graphql", headers=headers, content=content
    )

    assert answer.status_code == status
    assert answer.json()["data"] is None
    assert answer.json()["errors"]


def test_get_only_reads(stand_in: StandIn) -> None:
    """A query may come by GET, a mutation may not."""
    url = f"{stand_in.url}/graphql"

    assert httpx.get(url, params={"query": VERSION}).status_code == 200
    assert httpx.get(url, params={"query": "mutation{stopAllJobs}"}).status_code == 406


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
    answer = httpx.post(
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
        answer = httpx.get(server.url + path, headers=headers)

    assert answer.status_code == status


# --- reading -------------------------------------------------------------------------


def test_pages(ask: Ask) -> None:
    """25 rows by default, all for a negative number, none for 0; pages start at 1."""
    ids = add_scenes(ask, 30)
    by_id = {"sort": "id"}

    assert len(found(ask)) == 25
    assert found(ask, f={**by_id, "per_page": -1, "page": 3}) == ids
    assert found(ask, f={**by_id, "per_page": 7, "page": 5}) == ids[28:]
    assert found(ask, f={**by_id, "per_page": 3, "page": -1}) == ids[:3]
    assert found(ask, f={**by_id, "page": 9}) == []
    count_only = ask("{findScenes(filter:{per_page:0}){count scenes{id}}}")
    assert count_only["data"]["findScenes"] == {"count": 30, "scenes": []}


def test_without_a_sort_editing_reshuffles(ask: Ask) -> None:
    """Rows that no sort was asked for come in an order that edits change."""
    first, second = add_scenes(ask, 2)
    ask('mutation{studioCreate(input:{name:"s"}){id}}')
    ask(UPDATE_SCENES, i={"ids": [first], "studio_id": 1})

    assert found(ask) == [second, first]
    assert found(ask, f={"direction": "DESC"}) == [second, first]
    assert found(ask, f={"sort": "id"}) == [first, second]


def test_ids_ignore_paging_and_fail_as_a_whole(ask: Ask) -> None:
    """Named scenes come in the order asked; a missing or doubled id fails them all."""
    add_scenes(ask, 3)

    assert found(ask, i=["3", "1"], f={"per_page": 1}) == ["3", "1"]
    assert found(ask, i=[], f={"sort": "id"}) == ["1", "2", "3"]
    missing = ask(FIND_IDS, i=["1", "99"])
    assert (message(missing), missing["data"]) == ("scene with id 99 not found", None)
    doubled = "validating ids: duplicate id found: 1"
    assert message(ask(FIND_IDS, i=["1", "1"])) == doubled


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        pytest.param(
            {"id": {"value": 1, "modifier": "GREATER_THAN"}}, ["2", "3"], id="keyset"
        ),
        pytest.param(
            {"id": {"value": 2, "value2": 3, "modifier": "BETWEEN"}},
            ["2", "3"],
            id="range",
        ),
        pytest.param(
            {"tags": {"value": ["1"], "modifier": "INCLUDES"}}, ["1"], id="tag"
        ),
        pytest.param(
            {"tags": {"value": ["2"], "modifier": "INCLUDES", "depth": -1}},
            ["1"],
            id="tag below",
        ),
        pytest.param({"is_missing": "tags"}, ["2", "3"], id="no tags"),
        pytest.param({"is_missing": "cover"}, ["1", "2", "3"], id="no cover"),
        pytest.param(
            {
                "id": {"value": 1, "modifier": "EQUALS"},
                "OR": {"id": {"value": 3, "modifier": "EQUALS"}},
            },
            ["1", "3"],
            id="or",
        ),
    ],
)
def test_scene_filters(
    ask: Ask, criterion: dict[str, Any], expected: list[str]
) -> None:
    """The criteria the product uses, and their neighbours."""
    add_scenes(ask, 3)
    ask(CREATE_TAG, i={"name": "child"})
    ask(CREATE_TAG, i={"name": "parent", "child_ids": ["1"]})
    ask(UPDATE_SCENES, i={"ids": ["1"], "tag_ids": {"ids": ["1"], "mode": "ADD"}})

    assert found(ask, s=criterion, f={"sort": "id"}) == expected


def test_only_database_columns_can_be_missing(ask: Ask) -> None:
    """There is no filter for previews: it becomes an error of the database."""
    answer = ask(FIND_IDS, s={"is_missing": "preview"})

    assert message(answer).endswith("no such column: scenes.preview")


def test_only_one_join_per_filter(ask: Ask) -> None:
    """AND, OR and NOT cannot stand side by side."""
    other = {"organized": True}

    answer = ask(FIND_IDS, s={"AND": other, "OR": other})

    assert message(answer) == "cannot have AND and OR in the same filter"


# --- times ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timezone", "offset"),
    [
        pytest.param("UTC", "Z", id="UTC"),
        pytest.param("Asia/Kolkata", "+05:30", id="east"),
        pytest.param("America/Caracas", "-04:00", id="west"),
    ],
)
def test_times_are_local_text(
    stand_in: StandIn, ask: Ask, timezone: str, offset: str
) -> None:
    """Times are written in the server's zone, to the second, and compared as text."""
    stand_in.clock.timezone = type(stand_in.clock.timezone)(timezone)
    add_scenes(ask, 1)
    query = "{findScene(id:1){updated_at}}"
    stamp = ask(query)["data"]["findScene"]["updated_at"]

    assert stamp[19:] == offset

    def matches(value: str, modifier: str) -> bool:
        criterion = {"updated_at": {"value": value, "modifier": modifier}}
        return bool(found(ask, s=criterion))

    assert matches(stamp, "EQUALS")
    assert not matches(stamp, "GREATER_THAN")
    assert not matches(stamp[:19] + ".000" + offset, "EQUALS")
    assert matches(stamp[:19], "GREATER_THAN")
    assert not matches("garbage", "GREATER_THAN")
    assert matches("", "GREATER_THAN")


def test_utc_cursor_misses_changes_west_of_utc(stand_in: StandIn, ask: Ask) -> None:
    """A cursor in UTC, an hour old, does not see a change made now in New York."""
    before = stand_in.clock.now()
    stand_in.clock.timezone = type(stand_in.clock.timezone)("America/New_York")
    add_scenes(ask, 1)
    hour_ago = f"{int(before[11:13]) - 1:02d}"
    cursor = before[:11] + hour_ago + before[13:] if hour_ago >= "00" else before

    criterion = {"updated_at": {"value": cursor, "modifier": "GREATER_THAN"}}

    assert found(ask, s=criterion) == []


def test_odd_modifier_of_a_time_is_a_panic(ask: Ask) -> None:
    """A modifier that makes no sense for times is answered as an internal error."""
    criterion = {"updated_at": {"value": "x", "modifier": "INCLUDES"}}

    text = message(ask(FIND_IDS, s=criterion))

    assert text.startswith("Internal system error. Error <")


ADD_TAG = "bulkSceneUpdate(input:{ids:[1],tag_ids:{ids:[1],mode:ADD}}){id}"


@pytest.mark.parametrize(
    ("mutation", "moves"),
    [
        pytest.param("sceneUpdate(input:{id:1}){id}", True, id="empty update"),
        pytest.param(ADD_TAG, True, id="bulk update"),
        pytest.param(
            'sceneMarkerCreate(input:{scene_id:1,title:"m",seconds:1,'
            "primary_tag_id:1}){id}",
            False,
            id="marker",
        ),
        pytest.param("sceneAddO(id:1){count}", False, id="o"),
        pytest.param("sceneAddPlay(id:1){count}", False, id="play"),
        pytest.param('tagUpdate(input:{id:2,name:"z"}){id}', False, id="tag renamed"),
        pytest.param("tagDestroy(input:{id:2})", False, id="tag destroyed"),
        pytest.param(
            "tagsMerge(input:{source:[2],destination:1}){id}", False, id="tags merged"
        ),
    ],
)
def test_what_moves_the_time_of_change(
    stand_in: StandIn, ask: Ask, mutation: str, moves: bool
) -> None:
    """Only edits of the scene itself move its `updated_at`, even empty ones."""
    add_scenes(ask, 1)
    for name in ("one", "two"):
        ask(CREATE_TAG, i={"name": name})
    ask(UPDATE_SCENES, i={"ids": [1], "tag_ids": {"ids": [2], "mode": "SET"}})
    query = "{findScene(id:1){updated_at}}"
    before = ask(query)
    stand_in.clock.offset *= 0
    stand_in.clock.offset += type(stand_in.clock.offset)(seconds=30)

    answer = ask(f"mutation{{{mutation}}}")

    assert "errors" not in answer
    assert (ask(query) != before) is moves


# --- writing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            {"name": "alpha"}, "tag with name 'alpha' already exists", id="name"
        ),
        pytest.param(
            {"name": "first"},
            "name 'first' is used as alias for 'Alpha'",
            id="name is an alias",
        ),
        pytest.param(
            {"name": "x", "aliases": ["ALPHA"]},
            "tag with name 'ALPHA' already exists",
            id="alias is a name",
        ),
        pytest.param({"name": " "}, "tag name must not be blank", id="blank"),
    ],
)
def test_taken_names(ask: Ask, given: dict[str, Any], expected: str) -> None:
    """Names and aliases of tags are one space, without regard to case."""
    ask(CREATE_TAG, i={"name": " Alpha ", "aliases": ["First"]})

    answer = ask(CREATE_TAG, i=given)

    assert (message(answer), answer["data"]) == (expected, {"tagCreate": None})
    assert ask("{findTags{tags{name}}}")["data"]["findTags"]["tags"] == [
        {"name": "Alpha"}
    ]


def test_tag_filters_and_search(ask: Ask) -> None:
    """`q` looks at aliases, the name criterion does not, the alias criterion does."""
    ask(CREATE_TAG, i={"name": "Alpha", "aliases": ["First"]})

    def count(arguments: str) -> int:
        answer = ask(f"{{findTags({arguments}){{count}}}}")
        return int(answer["data"]["findTags"]["count"])

    assert count('filter:{q:"first"}') == 1
    assert count('tag_filter:{name:{value:"first",modifier:EQUALS}}') == 0
    assert count('tag_filter:{name:{value:"ALPHA",modifier:EQUALS}}') == 1
    assert count('tag_filter:{aliases:{value:"FIRST",modifier:EQUALS}}') == 1


def test_parents_may_not_go_round(ask: Ask) -> None:
    """A parent that is a descendant is refused, naming the way between them."""
    ask(CREATE_TAG, i={"name": "A"})
    ask(CREATE_TAG, i={"name": "B", "parent_ids": ["1"]})

    answer = ask('mutation{tagUpdate(input:{id:1,parent_ids:["2"]}){id}}')

    assert message(answer) == (
        'cannot apply tag "B" as a parent of "A" as it is already a descendant (A->B)'
    )


def test_performer_may_share_a_name_with_another_disambiguation(ask: Ask) -> None:
    """Two performers of one name differ by their disambiguation."""
    query = "mutation($i:PerformerCreateInput!){performerCreate(input:$i){id}}"
    ask(query, i={"name": "Ada Winter"})

    assert message(ask(query, i={"name": "ada winter"})) == (
        "performer with name 'ada winter' already exists"
    )
    assert ask(query, i={"name": "Ada Winter", "disambiguation": "2"})["data"]


def test_bulk_update_is_all_or_nothing(ask: Ask) -> None:
    """One unknown scene undoes the whole call; no ids at all is null, not an error."""
    add_scenes(ask, 2)

    answer = ask(UPDATE_SCENES, i={"ids": ["1", "99"], "title": "new"})

    assert message(answer) == "sql: no rows in result set"
    titles = ask('{findScenes(filter:{q:"new"}){count}}')["data"]["findScenes"]
    assert titles["count"] == 0
    assert ask(UPDATE_SCENES, i={"ids": []}) == {"data": {"bulkSceneUpdate": None}}
    assert ask(UPDATE_SCENES, i={"ids": ["1", "1"]})["data"]["bulkSceneUpdate"] == [
        {"id": "1"},
        {"id": "1"},
    ]


def test_bad_links_undo_the_update(ask: Ask) -> None:
    """A tag that is not there fails the update; nothing of it stays."""
    add_scenes(ask, 1)

    answer = ask('mutation{sceneUpdate(input:{id:1,title:"new",tag_ids:[9]}){id}}')

    assert message(answer).endswith("FOREIGN KEY constraint failed")
    assert ask("{findScene(id:1){title}}")["data"]["findScene"]["title"] == "made"


def test_scene_update_is_partial(ask: Ask) -> None:
    """Fields not given stay, null clears, lists are replaced."""
    add_scenes(ask, 1)
    for name in ("a", "b"):
        ask(CREATE_TAG, i={"name": name})
    query = (
        "mutation($i:SceneUpdateInput!){sceneUpdate(input:$i)"
        "{title rating100 urls tags{id}}}"
    )
    ask(query, i={"id": 1, "rating100": 150, "urls": ["u"], "tag_ids": ["1"]})

    answer = ask(query, i={"id": 1, "title": None, "tag_ids": ["2"]})

    assert answer["data"]["sceneUpdate"] == {
        "title": "",
        "rating100": 150,
        "urls": ["u"],
        "tags": [{"id": "2"}],
    }


def test_markers_take_anything_but_a_backward_end(ask: Ask) -> None:
    """Negative seconds and doubles are taken; an end before the start is not."""
    add_scenes(ask, 1)
    ask(CREATE_TAG, i={"name": "a"})
    query = "mutation($i:SceneMarkerCreateInput!){sceneMarkerCreate(input:$i){id}}"
    base = {"scene_id": 1, "title": "m", "primary_tag_id": 1}

    for _ in range(2):
        assert "errors" not in ask(query, i={**base, "seconds": -1})
    assert "errors" in ask(query, i={**base, "seconds": 5, "end_seconds": 4})
    refused = ask("mutation{tagDestroy(input:{id:1})}")
    assert message(refused) == (
        "cannot delete tag used as a primary tag in scene markers"
    )


def test_ids_are_never_given_twice(ask: Ask) -> None:
    """A destroyed scene's id stays unused."""
    add_scenes(ask, 2)
    ask("mutation{sceneDestroy(input:{id:2})}")

    assert add_scenes(ask, 1) == ["3"]
    again = ask("mutation{sceneDestroy(input:{id:2})}")
    assert message(again) == "scene with id 2 not found"


# --- made-up libraries ---------------------------------------------------------------


def test_made_up_library_is_served_in_pages(tmp_path: Path) -> None:
    """A page of 1,000 made-up scenes with all they have takes well under two seconds.

    The same size gives the same library, and an existing one is left alone.
    """
    query = (
        '{findScenes(filter:{per_page:1000,sort:"id"}){count scenes{id title '
        "updated_at files{path fingerprints{type value}} paths{screenshot sprite} "
        "tags{id name aliases parents{id}} performers{id name} studio{id name} "
        "scene_markers{id seconds primary_tag{name}} urls captions{caption_type}}}}"
    )
    pages = []
    for home in ("one", "two", "two"):
        folder = tmp_path / "library"
        with StandIn(tmp_path / home, folder, scenes=1500) as server:
            url = f"{server.url}/graphql"
            answer = httpx.post(url, json={"query": query}, timeout=60)
            assert answer.elapsed.total_seconds() < 2
            scenes = answer.json()["data"]["findScenes"]
            for scene in scenes["scenes"]:
                del scene["paths"]
            pages.append(scenes)

    assert pages[0]["count"] == 1500
    assert len(pages[0]["scenes"]) == 1000
    assert pages[0] == pages[1] == pages[2]
    assert any(scene["scene_markers"] for scene in pages[0]["scenes"])
    assert any(scene["tags"] for scene in pages[0]["scenes"])
