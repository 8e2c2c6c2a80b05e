"""Mutations of the stand-in Stash: the errors and the atomicity of the real one."""

from typing import Any

import pytest

from tests.support.stand_in import (
    CREATE_TAG,
    UPDATE_SCENES,
    Ask,
    add_scenes,
    message,
)

pytestmark = pytest.mark.slow


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
