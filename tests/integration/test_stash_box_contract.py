"""What the product relies on when a Stash server asks a stash-box: for every server.

It runs against the sandbox's stand-in, and against a real Stash as
`test_stash_contract.py` does; a real one must be on this machine, for the stash-box
answers on loopback. Either asks the sandbox's stash-box.
"""

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from sandbox.stash_box import Picture, StashBox, named, remote_id, scene
from stashhog_core.errors import (
    ConfigurationError,
    Deferred,
    ItemError,
    StashHogError,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.media import write_video
from tests.support.stand_in import FIND_JOB, SCAN, Ask, asking, message
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

CONFIGURE = (
    "mutation($boxes:[StashBoxInput!]){configureGeneral(input:{stashBoxes:$boxes})"
    "{stashBoxes{endpoint name}}}"
)
FIELDS = (
    "{title code details director url urls date duration remote_site_id "
    "fingerprints{algorithm hash duration} "
    "studio{stored_id name remote_site_id parent{name parent{name}}} "
    "tags{stored_id name remote_site_id} "
    "performers{stored_id name disambiguation aliases birthdate remote_site_id}}"
)
MULTI = (
    "query($box:String,$ids:[ID!]){scrapeMultiScenes("
    f"source:{{stash_box_endpoint:$box}},input:{{scene_ids:$ids}}){FIELDS}}}"
)
PICTURES = MULTI.replace(FIELDS, "{image}")
SINGLE = (
    "query($box:String,$id:ID,$words:String){scrapeSingleScene("
    "source:{stash_box_endpoint:$box},input:{scene_id:$id,query:$words})"
    f"{FIELDS}}}"
)
SCENES = (
    '{findScenes(filter:{per_page:-1,sort:"id"})'
    "{scenes{id files{path fingerprints{type value}}}}}"
)


@dataclass
class Site:
    """A Stash server with three scanned videos, and the stash-box that it asks.

    Attributes:
        scenes: The ids of the scenes; the second and third are of the same pictures.
        hashes: Scene id → kind of hash → hash.
    """

    ask: Ask
    box: StashBox
    scenes: list[str]
    hashes: dict[str, dict[str, str]]

    def multi(self, *ids: str, query: str = MULTI) -> dict[str, Any]:
        """Ask for scenes; return the whole answer."""
        return self.ask(query, box=self.box.endpoint, ids=list(ids))

    def lists(self, *ids: str, query: str = MULTI) -> list[list[dict[str, Any]]]:
        """Return the lists of a good answer."""
        answer = self.multi(*ids, query=query)
        assert "errors" not in answer, answer
        found: list[list[dict[str, Any]]] = answer["data"]["scrapeMultiScenes"]
        return found

    def print_of(self, scene_id: str, kind: str) -> tuple[str, str, int]:
        """Return a hash of a scene as a stash-box has it."""
        return (kind.upper(), self.hashes[scene_id][kind], 61)

    def create(self, kind: str, **given: Any) -> str:
        """Create a tag, performer or studio; return its id."""
        made_of = f"$i:{kind.capitalize()}CreateInput!"
        query = f"mutation({made_of}){{{kind}Create(input:$i){{id}}}}"
        made: str = self.ask(query, i=given)["data"][f"{kind}Create"]["id"]
        return made


@pytest.fixture(scope="module")
def scanned(
    stash_server: tuple[str, Path],
) -> Iterator[tuple[Ask, list[dict[str, Any]]]]:
    """Three videos in a folder of their own, scanned with perceptual hashes."""
    url, library = stash_server
    folder = library / f"box-{uuid.uuid4().hex[:8]}"
    write_video(folder / "one.mp4", seconds=4, seed=1)
    write_video(folder / "two.mp4", seconds=4, seed=2)
    write_video(folder / "same.mp4", seconds=4, seed=2, frames_per_second=5)
    with asking(url) as ask:
        started = ask(SCAN, i={"paths": [str(folder)], "scanGeneratePhashes": True})
        job = started["data"]["metadataScan"]
        wait_until(
            lambda: ask(FIND_JOB, id=job)["data"]["findJob"]["status"] == "FINISHED",
            "the end of the scan",
        )
        found = ask(SCENES)["data"]["findScenes"]["scenes"]
        of_folder = [
            one
            for one in found
            if str(folder) in str([f["path"] for f in one["files"]])
        ]
        assert len(of_folder) == 3
        order = ["one.mp4", "two.mp4", "same.mp4"]
        yield (
            ask,
            sorted(
                of_folder, key=lambda s: order.index(Path(s["files"][0]["path"]).name)
            ),
        )
    shutil.rmtree(folder)


@pytest.fixture
def site(scanned: tuple[Ask, list[dict[str, Any]]]) -> Iterator[Site]:
    """The server, set to ask a stash-box of this test."""
    ask, scenes = scanned
    with StashBox() as box:
        ask(CONFIGURE, boxes=[configured(box)])
        hashes = {
            one["id"]: {f["type"]: f["value"] for f in one["files"][0]["fingerprints"]}
            for one in scenes
        }
        yield Site(ask, box, [one["id"] for one in scenes], hashes)
    ask(CONFIGURE, boxes=[])


def configured(box: StashBox, **other: Any) -> dict[str, Any]:
    given = {"endpoint": box.endpoint, "api_key": box.api_key, "name": "box"}
    return {**given, **other}


def unique(name: str) -> str:
    return f"{name} {uuid.uuid4().hex[:8]}"


# --- the configuration ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"endpoint": ""}, "Stash-box: endpoint cannot be blank"),
        ({"api_key": ""}, "Stash-box: API Key cannot be blank"),
        ({"endpoint": "http://127.0.0.1:9/"}, "Stash-box: endpoint is invalid"),
    ],
)
def test_refused_configurations(site: Site, other: dict[str, str], said: str) -> None:
    """An address without `/graphql`, and an empty key or address, are refused."""
    assert message(site.ask(CONFIGURE, boxes=[configured(site.box, **other)])) == said


def test_the_configuration_lists_addresses(site: Site) -> None:
    """The stash-boxes come in their order, with their names."""
    answer = site.ask("{configuration{general{stashBoxes{endpoint name}}}}")

    boxes = answer["data"]["configuration"]["general"]["stashBoxes"]
    assert boxes == [{"endpoint": site.box.endpoint, "name": "box"}]


# --- what is asked, and what comes back ----------------------------------------------


def test_hashes_without_duration_are_sent(site: Site) -> None:
    """One list for each scene, of kind and hash; a phash has no leading zeros."""
    one, two, _ = site.scenes
    assert site.lists(two, one) == [[], []]

    ((asked),) = site.box.operations("FindScenesBySceneFingerprints")
    assert [
        {(hash_["algorithm"].lower(), hash_["hash"]) for hash_ in of_scene}
        for of_scene in asked["fingerprints"]
    ] == [set(site.hashes[two].items()), set(site.hashes[one].items())]


def test_every_match_of_the_box_is_passed_on(site: Site) -> None:
    """However far the duration is off; the answer does not say what matched."""
    one, two, _ = site.scenes
    site.box.scenes = [
        scene(
            "Near",
            fingerprints=[site.print_of(one, "oshash"), ("PHASH", "0", 9999)],
            duration=61,
            date="2023",
            urls=["https://films.example/1", "https://other.example/1"],
            code="C-1",
            details="Text.",
            director="Dora Example",
        ),
        scene("Far", fingerprints=[site.print_of(one, "phash")], duration=9999),
    ]

    (near, far), nothing = site.lists(one, two)

    assert nothing == []
    assert far["title"] == "Far"
    assert far["duration"] == 9999
    assert near == {
        "title": "Near",
        "code": "C-1",
        "details": "Text.",
        "director": "Dora Example",
        "date": "2023",
        "url": "https://films.example/1",
        "urls": ["https://films.example/1", "https://other.example/1"],
        "duration": 61,
        "remote_site_id": remote_id("Near"),
        "fingerprints": [
            {"algorithm": "OSHASH", "hash": site.hashes[one]["oshash"], "duration": 61},
            {"algorithm": "PHASH", "hash": "0", "duration": 9999},
        ],
        "studio": None,
        "tags": None,
        "performers": None,
    }


def test_groups_of_forty(site: Site) -> None:
    """45 scenes are two requests; a failure of the second fails the whole call."""
    one = site.scenes[0]
    assert site.lists(*[one] * 45) == [[]] * 45
    sizes = [
        len(asked["fingerprints"])
        for asked in site.box.operations("FindScenesBySceneFingerprints")
    ]
    assert sizes == [40, 5]

    site.box.fault = lambda operation, variables: (
        PlainTextResponse("Internal Server Error", 500)
        if len(variables["fingerprints"]) == 5
        else None
    )
    answer = site.multi(*[one] * 45)
    assert answer["data"] is None
    assert '"code":500' in message(answer)


def test_what_is_here_already(site: Site) -> None:
    """By id at this box, else by name, else by alias; no doubled name."""
    one = site.scenes[0]
    by_id, by_name, by_alias, twice = map(unique, ("By Id", "Name", "Alias", "Twice"))
    box_id = {"endpoint": site.box.endpoint, "stash_id": remote_id(by_id)}
    ids = {
        by_id: site.create("performer", name=unique("Renamed"), stash_ids=[box_id]),
        by_name: site.create("performer", name=by_name.upper()),
        by_alias: site.create("performer", name=unique("Other"), alias_list=[by_alias]),
        twice: None,
    }
    for disambiguation in ("one", "two"):
        site.create("performer", name=twice, disambiguation=disambiguation)
    tag = site.create("tag", name=unique("Tag"), aliases=[by_alias])
    studio = site.create("studio", name=by_name.lower())
    site.box.scenes = [
        scene(
            "Known",
            fingerprints=[site.print_of(one, "oshash")],
            performers=[named(name) for name in ids],
            tags=[named(by_alias), named(unique("New"))],
            studio=named(by_name),
        )
    ]

    ((found,),) = site.lists(one)

    assert {p["name"]: p["stored_id"] for p in found["performers"]} == ids
    assert [t["stored_id"] for t in found["tags"]] == [tag, None]
    assert found["studio"]["stored_id"] == studio


def test_a_name_matches_whatever_id_it_has(site: Site) -> None:
    """A performer of this name with another id at this box counts as the same."""
    one = site.scenes[0]
    name = unique("Nina North")
    other = {"endpoint": site.box.endpoint, "stash_id": remote_id("somebody else")}
    performer = site.create("performer", name=name, stash_ids=[other])
    site.box.scenes = [
        scene(
            "Mixed up",
            fingerprints=[site.print_of(one, "oshash")],
            performers=[named(name)],
        )
    ]

    ((found,),) = site.lists(one)

    assert found["performers"][0]["stored_id"] == performer


def test_parent_studios_are_asked_for_each_time(site: Site) -> None:
    """One request for each level and scene; nothing is kept."""
    one, two, _ = site.scenes
    grand, parent = named("Grand"), named("Parent", parent=named("Grand"))
    site.box.studios = {grand["id"]: grand, parent["id"]: parent}
    studio = named("Child", parent=named("Parent"))
    site.box.scenes = [
        scene(title, fingerprints=[site.print_of(scene_id, "oshash")], studio=studio)
        for title, scene_id in (("First", one), ("Second", two))
    ]

    (first,), (_second,) = site.lists(one, two)

    assert first["studio"]["parent"] == {"name": "Parent", "parent": {"name": "Grand"}}
    assert len(site.box.operations("FindStudio")) == 4


def test_birth_dates_are_padded_and_aliases_joined(site: Site) -> None:
    """A year becomes its first day; doubled aliases are left out."""
    one = site.scenes[0]
    site.box.scenes = [
        scene(
            "People",
            fingerprints=[site.print_of(one, "oshash")],
            performers=[
                named(
                    unique("New"),
                    birth_date="1985",
                    aliases=["B. New", "BN", "bn"],
                    disambiguation="second",
                )
            ],
        )
    ]

    ((found,),) = site.lists(one)

    (person,) = found["performers"]
    assert person["birthdate"] == "1985-01-01"
    assert person["aliases"] == "B. New, BN"
    assert person["disambiguation"] == "second"
    assert person["stored_id"] is None


def test_one_scene_sorts_its_tags(site: Site) -> None:
    """In the box's order for many scenes, by name for one."""
    one = site.scenes[0]
    tags = [named(name) for name in ("Zebra x", "Apple x", "Mango x")]
    found = scene("Tagged", fingerprints=[site.print_of(one, "oshash")], tags=tags)
    site.box.scenes = [found]

    ((many,),) = site.lists(one)
    answer = site.ask(SINGLE, box=site.box.endpoint, id=one)
    (single,) = answer["data"]["scrapeSingleScene"]

    assert [t["name"] for t in many["tags"]] == ["Zebra x", "Apple x", "Mango x"]
    assert [t["name"] for t in single["tags"]] == ["Apple x", "Mango x", "Zebra x"]


def test_by_words(site: Site) -> None:
    """Words, or an id, are searched for; neither of them is an error."""
    site.box.scenes = [scene("Harbor Morning")]

    answer = site.ask(SINGLE, box=site.box.endpoint, words="harbor")
    assert [s["title"] for s in answer["data"]["scrapeSingleScene"]] == [
        "Harbor Morning"
    ]
    nothing = site.ask(SINGLE, box=site.box.endpoint)
    assert message(nothing) == "input error: scene_id or query must be set"


def test_a_page_that_says_not_found_is_a_picture(site: Site) -> None:
    """The status of a picture is not looked at; a dead address gives none."""
    one, two, same = site.scenes
    site.box.phash_distance = -1
    site.box.pictures = {"/cover.png": Picture(b"\x89PNG not really")}
    site.box.scenes = [
        scene(title, fingerprints=[site.print_of(i, "oshash")], images=[address])
        for title, i, address in (
            ("Good", one, f"{site.box.url}/cover.png"),
            ("Gone", two, f"{site.box.url}/gone.png"),
            ("Dead", same, "http://127.0.0.1:9/x.png"),
        )
    ]

    (good,), (gone,), (dead,) = site.lists(one, two, same, query=PICTURES)

    assert good["image"].startswith("data:image/png;base64,")
    assert gone["image"].startswith("data:text/plain")
    assert dead["image"] is None


# --- what goes wrong -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            PlainTextResponse("Too Many Requests", 429, {"Retry-After": "9"}),
            '{"networkErrors":{"code":429,"message":"Response body Too Many Requests"},'
            '"graphqlErrors":null}',
        ),
        (
            JSONResponse(
                {"errors": [{"message": "Not authorized"}], "data": None}, 401
            ),
            '"graphqlErrors":[{"message":"Not authorized"}]}',
        ),
        (
            JSONResponse({"errors": [{"message": "made-up failure"}], "data": None}),
            '{"networkErrors":null,"graphqlErrors":[{"message":"made-up failure"}]}',
        ),
        (
            HTMLResponse("<!DOCTYPE html><html>hello</html>"),
            "failed to decode data <!DOCTYPE html><html>hello</html>: "
            "invalid character '<' looking for beginning of value",
        ),
        (
            PlainTextResponse("", 200),
            "failed to decode data : unexpected end of JSON input",
        ),
        (
            JSONResponse({"data": {"findScenesBySceneFingerprints": [[None], []]}}),
            "Internal system error. Error <runtime error: ",
        ),
        (
            JSONResponse({"data": {"findScenesBySceneFingerprints": [[]]}}),
            "Internal system error. Error <runtime error: index out of range",
        ),
    ],
    ids=["429", "401", "graphql", "html", "empty", "null scene", "too few"],
)
def test_errors_are_texts_of_the_whole_call(
    site: Site, said: Response, expected: str
) -> None:
    """HTTP 200, no data, and one text; what the box said of waiting is lost."""
    site.box.fault = lambda operation, variables: said

    answer = site.multi(*site.scenes[:2])

    assert answer["data"] is None
    assert expected in message(answer)


def test_a_value_that_stash_does_not_know_fails_all(site: Site) -> None:
    """One performer with another hair colour; the error repeats the whole answer."""
    one, two, _ = site.scenes
    site.box.scenes = [
        scene(
            "Odd",
            fingerprints=[site.print_of(one, "oshash")],
            performers=[named("Odd One", hair_color="BROWN")],
        )
    ]

    answer = site.multi(one, two)

    text = message(answer)
    assert text.startswith("failed to decode data into response {")
    assert text.endswith("BROWN is not a valid HairColorEnum")
    assert remote_id("Odd") in text


def test_wrong_ids_and_addresses(site: Site) -> None:
    """An unknown scene or stash-box fails the call before anything is asked."""
    one = site.scenes[0]

    assert message(site.multi(one, "99999")) == "scene with id 99999 not found"
    assert "invalid syntax" in message(site.multi("abc"))
    slash = site.ask(MULTI, box=f"{site.box.endpoint}/", ids=[one])
    assert message(slash) == "stash box not found"
    assert site.lists() == []
    assert site.box.requests == []
    capitals = site.ask(MULTI, box=site.box.endpoint.replace("http", "HTTP"), ids=[one])
    assert capitals["data"]["scrapeMultiScenes"] == [[]]


# --- what the product makes of it ----------------------------------------------------


@pytest.fixture
def client(stash_server: tuple[str, Path]) -> Iterator[StashClient]:
    """The product's client of the server."""
    with StashClient(StashSettings(url=stash_server[0])) as stash:
        yield stash


def test_the_client_reads_scenes(site: Site, client: StashClient) -> None:
    """One list for each scene, in their order, with all that the product asks for."""
    one, two, _ = site.scenes
    site.box.scenes = [
        scene(
            "Harbor Morning",
            fingerprints=[site.print_of(two, "phash")],
            performers=[named("Ada Winter", disambiguation="second")],
            studio=named("Blue Harbor"),
            tags=[named("Outdoor")],
            duration=61,
        )
    ]

    assert client.stash_boxes() == [site.box.endpoint]
    nothing, (found, *_) = client.scrape_scenes(
        site.box.endpoint, [int(one), int(two)], timeout_seconds=60
    )

    assert nothing == ()
    assert found.remote_site_id == remote_id("Harbor Morning")
    assert found.performers is not None
    assert found.performers[0].disambiguation == "second"
    assert found.studio is not None
    assert found.studio.name == "Blue Harbor"
    assert client.scrape_scenes(site.box.endpoint, [], timeout_seconds=60) == []


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (PlainTextResponse("Too Many Requests", 429), Deferred),
        (
            JSONResponse({"errors": [{"message": "Not authorized"}]}, 401),
            ConfigurationError,
        ),
        (JSONResponse({"errors": [{"message": "oops"}], "data": None}), ItemError),
        (HTMLResponse("<!DOCTYPE html><html>hello</html>"), Deferred),
        (PlainTextResponse("", 200), Deferred),
        (
            JSONResponse({"data": {"findScenesBySceneFingerprints": [[None]]}}),
            ItemError,
        ),
    ],
    ids=["429", "401", "graphql", "html", "empty", "null scene"],
)
def test_the_client_says_what_failed(
    site: Site, client: StashClient, said: Response, kind: type[StashHogError]
) -> None:
    """An outage, a wrong key and a scene that breaks the call are told apart."""
    site.box.fault = lambda operation, variables: said
    one = int(site.scenes[0])

    with pytest.raises(kind) as caught:
        client.scrape_scenes(site.box.endpoint, [one], timeout_seconds=60)

    assert caught.value.where == site.box.endpoint


def test_the_client_names_an_unknown_stash_box(site: Site, client: StashClient) -> None:
    """An address that Stash does not know is a wrong setting."""
    one = int(site.scenes[0])

    with pytest.raises(ConfigurationError, match="STASHHOG_STASH_BOX__ENDPOINTS"):
        client.scrape_scenes(f"{site.box.endpoint}/", [one], timeout_seconds=60)


def test_the_client_survives_a_stash_box_that_is_down(
    site: Site, client: StashClient
) -> None:
    """Nobody answers at the address: this is an outage of the stash-box."""
    one = int(site.scenes[0])
    site.box.stop()
    try:
        with pytest.raises(Deferred, match="is unreachable"):
            client.scrape_scenes(site.box.endpoint, [one], timeout_seconds=60)
    finally:
        site.box.start()
