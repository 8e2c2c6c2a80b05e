"""What the stand-in Stash answers: pages, filters, times, made-up libraries."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sandbox.stash.server import StandIn
from tests.support.http import loopback
from tests.support.stand_in import (
    CREATE_TAG,
    FIND_IDS,
    UPDATE_SCENES,
    Ask,
    Stash,
    add_scenes,
    found,
    message,
)

pytestmark = pytest.mark.slow


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
    stand_in.clock.timezone = ZoneInfo(timezone)
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
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    stand_in.clock.timezone = ZoneInfo("America/New_York")
    add_scenes(ask, 1)
    cursor = f"{hour_ago:%Y-%m-%dT%H:%M:%S}Z"

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
    stand_in.clock.offset += timedelta(seconds=30)

    answer = ask(f"mutation{{{mutation}}}")

    assert "errors" not in answer
    assert (ask(query) != before) is moves


# --- made-up libraries ---------------------------------------------------------------


def test_made_up_library_is_served_in_pages(tmp_path: Path) -> None:
    """A page holds 1,000 made-up scenes with all they have.

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
            answer = loopback.post(url, json={"query": query})
            scenes = answer.json()["data"]["findScenes"]
            for scene in scenes["scenes"]:
                del scene["paths"]
            pages.append(scenes)

    assert pages[0]["count"] == 1500
    assert len(pages[0]["scenes"]) == 1000
    assert pages[0] == pages[1] == pages[2]
    assert any(scene["scene_markers"] for scene in pages[0]["scenes"])
    assert any(scene["tags"] for scene in pages[0]["scenes"])


def test_files_are_found_by_their_own_time(
    stand_in: StandIn, stash: Stash, video: Path
) -> None:
    """Files have a listing of their own: counted, sorted and filtered by their time."""
    for name in ("a.mp4", "b.mp4"):
        content = video.read_bytes() + name.encode()
        (stand_in.library / name).write_bytes(content)
        stash.scan()
    query = (
        'query($since:String!){all:findFiles(filter:{per_page:1,sort:"updated_at",'
        "direction:DESC}){count files{__typename id path updated_at}}"
        "late:findFiles(file_filter:{updated_at:{value:$since,modifier:EQUALS}})"
        "{count}}"
    )
    newest = stash.ask(query, since="")["data"]["all"]

    (file,) = newest["files"]
    assert newest["count"] == 2
    assert (Path(file["path"]).name, file["__typename"]) == ("b.mp4", "VideoFile")
    assert stash.ask(query, since=file["updated_at"])["data"]["late"]["count"] == 1


def test_log_and_date_tell_the_clock_and_the_process(
    stand_in: StandIn, ask: Ask
) -> None:
    """The log has the zone and parts of a second, the `Date` header is the clock's.

    The log of a process begins anew: none of its lines is in that of the one before.
    """
    stand_in.clock.timezone = ZoneInfo("Asia/Kolkata")
    stand_in.clock.offset = timedelta(days=3)
    stand_in.restart()
    before = ask("{logs{time message}}")["data"]["logs"]
    date = loopback.get(f"{stand_in.url}/healthz").headers["date"]
    stand_in.restart()
    after = ask("{logs{time message}}")["data"]["logs"]

    latest = datetime.fromisoformat(before[0]["time"][:19] + before[0]["time"][-6:])
    assert latest.utcoffset() == timedelta(hours=5.5)
    assert "." in before[0]["time"]
    in_two_days = datetime.now(UTC) + timedelta(days=2)
    assert min(parsedate_to_datetime(date), latest) > in_two_days
    assert "stash version" in after[-1]["message"]
    assert not {line["time"] for line in before} & {line["time"] for line in after}
