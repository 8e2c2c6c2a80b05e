"""Identifying scenes at stash-boxes, over HTTP against both stand-ins."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
from sqlalchemy import delete, func, select
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sandbox.stash.scraping import Box
from sandbox.stash.server import StandIn
from sandbox.stash_box import StashBox, named, remote_id, scene
from stashhog_core.db.models import (
    Performer,
    PlanChange,
    Scene,
    Tag,
    TaggerResult,
)
from stashhog_core.db.session import Database
from stashhog_core.detection import stash_box
from stashhog_core.detection.job import AnalysisDeferred, analyze
from stashhog_core.detection.scene_facts import read_scenes
from stashhog_core.errors import ConfigurationError, ItemError
from stashhog_core.params import (
    AnalysisParams,
    ApplyPlanParams,
    ReviewPlanParams,
    SyncParams,
    UndoParams,
)
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.decisions import decide
from stashhog_core.plans.new_objects import (
    created_objects,
)
from stashhog_core.plans.plans import ChangeDetails, plan_changes
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult, ApplyResult, UndoResult
from stashhog_core.settings import Settings, StashBoxSettings, StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import NamedKind
from stashhog_core.sync.job import sync
from tests.support.creating import all_scenes, create_performer, create_studio

pytestmark = pytest.mark.slow

ONLY: Any = {"detect_video_tags": False, "detect_tags": False}
STAMP = "2026-01-01T00:00:00Z"
SCAN = "FindScenesBySceneFingerprints"


class KilledError(BaseException):
    """The process died."""


@dataclass
class Site:
    """A Stash with scenes, the stash-box that it asks, and the mirror."""

    server: StandIn
    client: StashClient
    database: Database
    box: StashBox
    settings: StashSettings
    runs: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def add(
        self,
        name: str = "film.mp4",
        *,
        phash: str | None = "",
        oshash: str = "",
        seconds: float = 61.0,
    ) -> int:
        """Add a scene with one file, of its own hashes unless told; return its id."""
        with self.server.store.transaction() as writer:
            stamps = {"created_at": STAMP, "updated_at": STAMP}
            scene_id = writer.insert("scenes", stamps)
            path = str(self.server.library / f"{scene_id}" / name)
            facts = {"path": path, "basename": name, "duration": seconds, "size": 1}
            codecs = {"video_codec": "h264", "audio_codec": "aac", "format": "mp4"}
            picture = {"width": 640, "height": 360, "frame_rate": 25.0, "bit_rate": 1}
            more = {**facts, **codecs, **picture, **stamps, "mod_time": STAMP}
            file_id = writer.insert("files", more)
            writer.insert(
                "scenes_files",
                {"scene_id": scene_id, "file_id": file_id, "position": 0},
            )
            hashes = {"oshash": oshash or osh(scene_id), "phash": phash}
            if phash == "":
                hashes["phash"] = ph(scene_id)
            for kind, value in hashes.items():
                if value is not None:
                    row = {"file_id": file_id, "type": kind, "value": value}
                    writer.insert("fingerprints", row)
        return scene_id

    def mirror(self) -> None:
        sync(
            self.client,
            self.database,
            SyncParams(),
            Progress(),
            trigger="test",
            stabilize_seconds=0,
        )
        # What is changed from now on has another time, to the second.
        self.server.clock.offset += timedelta(minutes=1)

    def identify(
        self, settings: Mapping[str, Any] | None = None, **params: Any
    ) -> AnalysisResult:
        """Analyze all scenes by their fingerprints alone."""
        return analyze(
            Settings(stash_box=StashBoxSettings(**(settings or {}))),
            self.client,
            self.database,
            AnalysisParams(
                **{
                    **ONLY,
                    "detect_fingerprints": True,
                    "include_analyzed": True,
                    **params,
                }
            ),
            Progress(),
            run_id=f"run {next(self.runs)}",
        )

    def changes(self, result: AnalysisResult) -> list[ChangeDetails]:
        assert result.plan_id is not None
        with self.database.transaction() as session:
            return plan_changes(session, result.plan_id)

    def words(self, result: AnalysisResult) -> set[str]:
        """Return the changes of a plan in words; none for no plan."""
        if result.plan_id is None:
            return set()
        return {change.in_words for change in self.changes(result)}

    def asked(self) -> list[int]:
        """Return how many scenes each request to the stash-box was about."""
        return [len(given["fingerprints"]) for given in self.box.operations(SCAN)]


def osh(number: int) -> str:
    return f"{number:016x}"


def ph(number: int) -> str:
    """Return a perceptual hash that is far from those of other numbers."""
    return f"{(0x9E3779B97F4A7C15 * (number + 1)) % 2**64:x}"


@pytest.fixture
def site(stand_in: StandIn, database: Database) -> Iterator[Site]:
    settings = StashSettings(url=stand_in.url)
    with StashBox() as box, StashClient(settings) as client:
        stand_in.boxes.append(Box(box.endpoint, box.api_key, "box"))
        yield Site(stand_in, client, database, box, settings)


def known(title: str, number: int, **more: Any) -> dict[str, Any]:
    """Return a scene of the stash-box whose perceptual hash is that of a scene."""
    return scene(title, fingerprints=[("PHASH", ph(number), 61)], **more)


# --- what is proposed ----------------------------------------------------------------


def test_a_scene_is_identified_applied_and_undone(site: Site) -> None:
    """Each field is a change of its own, and undo restores the library exactly."""
    studio = create_studio(site.settings, "Blue Harbor")
    ada = create_performer(site.settings, "Ada Winter")
    site.client.create_tag("Outdoor")
    first, other = site.add("Blue Harbor - Harbor Morning.mp4"), site.add()
    site.client.change_urls(first, "ADD", ["https://films.example/mine"])
    site.mirror()
    site.box.scenes = [
        known(
            "Harbor Morning",
            first,
            date="2023-04-05",
            code="BH-1",
            details="A morning.",
            director="Dora Example",
            urls=["https://films.example/1", "https://films.example/mine"],
            studio=named("BLUE HARBOR"),
            performers=[named("Ada Winter")],
            tags=[named("Outdoor")],
        )
    ]
    before = all_scenes(site.client)

    result = site.identify()

    assert result.status == "completed"
    assert result.scenes_analyzed == 2
    assert site.words(result) == {
        f"add stash-box id {remote_id('Harbor Morning')} at {site.box.endpoint}",
        "set title Harbor Morning",
        "set date 2023-04-05",
        "set code BH-1",
        "set details A morning.",
        "set director Dora Example",
        "add URL https://films.example/1",
        "set studio Blue Harbor",
        "add performer Ada Winter",
        "add tag Outdoor",
    }
    change = site.changes(result)[0]
    assert change.confidence == pytest.approx(0.96)
    # Terminals are narrow: the id is told once, by the change that adds it.
    assert change.why.startswith("match at a stash-box, ")
    assert remote_id("Harbor Morning") not in change.why
    assert change.evidence == {
        "rule": "match at a stash-box",
        "match": f"{remote_id('Harbor Morning')} at {site.box.endpoint}",
        "scene": "Harbor Morning",
        "hashes": "phash differs in 0 of 64 bits",
        "duration differs by": "0 s",
        "file name agrees with": "title, studio",
        "candidates": 1,
    }
    plan_id = result.plan_id
    assert plan_id is not None
    params = ApplyPlanParams(plan_id=plan_id, auto_approve=True)
    apply_plan(
        site.client, site.database, params, Progress(), create_missing_tags=False
    )
    (now, _), _ = site.client.scenes([first, other])
    assert now.title == "Harbor Morning"
    assert now.studio is not None
    assert (now.studio.id, now.performers[0].id) == (studio.id, ada.id)
    assert [box.stash_id for box in now.stash_ids] == [remote_id("Harbor Morning")]
    assert site.words(site.identify()) == set()

    undo(site.client, site.database, UndoParams(plan_id=plan_id), Progress())
    assert [without_times(s) for s in all_scenes(site.client)] == [
        without_times(s) for s in before
    ]


def without_times(scene: Any) -> Any:
    return {
        name: getattr(scene, name)
        for name in scene.__struct_fields__
        if name != "updated_at"
    }


def test_only_what_is_missing_unless_a_setting_says_otherwise(site: Site) -> None:
    """By default nothing that Stash has is replaced; `ignore` leaves a field out."""
    mine = create_studio(site.settings, "Mine")
    create_studio(site.settings, "Theirs")
    tags = [site.client.create_tag(name) for name in ("Kept", "Theirs")]
    first = site.add()
    site.client.update_scene(first, {"title": "My title", "studio_id": str(mine.id)})
    site.client.bulk_update_scenes([first], add_tag_ids=[tags[0].id])
    site.mirror()
    site.box.scenes = [
        known(
            "Their title",
            first,
            code="C-1",
            studio=named("Theirs"),
            tags=[named("Theirs")],
        )
    ]
    box_id = f"add stash-box id {remote_id('Their title')} at {site.box.endpoint}"

    assert site.words(site.identify()) == {box_id, "set code C-1", "add tag Theirs"}
    everything = dict.fromkeys(("title", "studio", "tags"), "overwrite")
    overwrite = {"strategies": {**everything, "stash_ids": "ignore"}}
    assert site.words(site.identify(overwrite)) == {
        "set code C-1",
        "set title Their title",
        "set studio Theirs",
        "add tag Theirs",
        "remove tag Kept",
    }
    site.client.update_scene(first, {"organized": True})
    site.mirror()
    assert site.words(site.identify(overwrite)) == {"set code C-1", "add tag Theirs"}
    nothing = {
        "strategies": dict.fromkeys(("title", "code", "tags", "stash_ids"), "ignore")
    }
    assert site.words(site.identify(nothing)) == set()


def test_names_of_the_library(site: Site) -> None:
    """By id, name or alias; another id at this box, doubles and news are only told."""
    settings = site.settings
    create_performer(settings, "By Name")
    create_studio(settings, "Harbor")
    by_id = create_performer(settings, "Renamed Here")
    mixed = create_performer(settings, "Nina North")
    with site.server.store.transaction() as writer:
        for performer, remote in ((by_id, "Was Named"), (mixed, "somebody else")):
            row = {"performer_id": performer.id, "endpoint": site.box.endpoint}
            more = {"stash_id": remote_id(remote), "updated_at": STAMP}
            writer.insert("performer_stash_ids", {**row, **more})
        stamps = {"created_at": STAMP, "updated_at": STAMP}
        tag_id = writer.insert("tags", {"name": "Kitchen", **stamps})
        writer.insert("tag_aliases", {"tag_id": tag_id, "alias": "Cooking"})
        for name in ("Ann Lee", "Lee Ann"):
            performer_id = writer.insert("performers", {"name": name, **stamps})
            alias = {"performer_id": performer_id, "alias": "Annie"}
            writer.insert("performer_aliases", alias)
    first = site.add()
    site.mirror()
    site.box.scenes = [
        known(
            "Known",
            first,
            performers=[
                named(name)
                for name in (
                    "BY NAME",
                    "Was Named",
                    "Nina North",
                    "New Person",
                    "Annie",
                )
            ],
            tags=[named(name) for name in ("cooking", "New Tag")],
            studio=named("New Studio"),
        )
    ]

    result = site.identify()

    members = {
        w for w in site.words(result) if w.startswith(("add p", "add t", "set s"))
    }
    assert members == {
        "add performer By Name",
        "add performer Renamed Here",
        "add tag Kitchen",
    }
    evidence = site.changes(result)[0].evidence
    assert evidence["not in Stash:"] == (
        "performers New Person; studio New Studio; tags New Tag"
    )
    assert evidence["not the same:"] == (
        "Nina North has another id at this stash-box; 2 are called Annie"
    )
    assert site.client.find_tag("New Tag") is None


def test_several_candidates_wait_for_a_person(site: Site) -> None:
    """Each is shown, and neither automatic approval nor a bulk decision takes one."""
    first = site.add()
    site.mirror()
    site.box.scenes = [
        known("One", first, code="SAME", date="2023"),
        known("Two", first, code="SAME", date="2024"),
    ]

    result = site.identify(auto_approve=True)

    changes = site.changes(result)
    assert {c.in_words for c in changes} >= {
        "set title One",
        "set title Two",
        "set date 2023",
        "set date 2024",
        "set code SAME",
    }
    assert {c.state for c in changes} == {"pending"}
    assert max(c.confidence for c in changes) <= 0.6
    assert result.plan_id is not None
    with site.database.transaction() as session:
        in_bulk = ReviewPlanParams(plan_id=result.plan_id, decision="accept")
        decided = decide(session, in_bulk)
    assert decided.decided == 0
    (one,) = [c for c in changes if c.in_words == "set title One"]
    with site.database.transaction() as session:
        chosen = in_bulk.model_copy(update={"change_ids": (one.id,)})
        assert decide(session, chosen).decided == 1


def test_a_hash_of_thousands_of_scenes(site: Site) -> None:
    """The five most certain candidates are shown, and the number of all of them."""
    first = site.add("Real Title.mp4")
    site.mirror()
    site.box.scenes = [known(f"Intro {n}", first) for n in range(300)]
    site.box.scenes.append(known("Real Title", first))

    changes = site.changes(site.identify())

    titles = [c.in_words for c in changes if c.field == "title"]
    assert len(titles) == stash_box.SHOWN_CANDIDATES
    assert "set title Real Title" in titles
    assert {c.evidence["candidates"] for c in changes} == {301}


def test_a_scene_that_has_its_id(site: Site) -> None:
    """Only the scene with this id counts; others with the same hash do not."""
    first = site.add()
    site.client.set_box_id(first, site.box.endpoint, remote_id("Mine"))
    site.mirror()
    site.box.scenes = [known("Other", first), known("Mine", first)]

    assert site.words(site.identify()) == {"set title Mine"}


def test_two_stash_boxes(site: Site) -> None:
    """Both are asked; the value of the first is preferred, that of the second waits."""
    first = site.add()
    site.mirror()
    with StashBox() as second:
        site.server.boxes.append(Box(second.endpoint, second.api_key, "second"))
        site.box.scenes = [known("First", first, code="SAME")]
        second.scenes = [known("Second", first, code="SAME")]
        result = site.identify(auto_approve=True)
        other_order = {"endpoints": [second.endpoint, site.box.endpoint]}
        reversed_ = site.identify(other_order, auto_approve=True)

    def states(result: AnalysisResult) -> dict[str, str]:
        texts = [c for c in site.changes(result) if c.field in ("title", "code")]
        return {c.in_words: c.state for c in texts}

    assert states(result) == {
        "set title First": "approved",
        "set title Second": "pending",
        "set code SAME": "approved",
    }
    assert states(reversed_)["set title Second"] == "approved"
    ids = [c for c in site.changes(result) if c.field == "stash_ids"]
    assert len(ids) == 2
    # The answers of both are kept, whatever the order.
    assert len(site.asked()) == 1


@pytest.mark.parametrize(
    ("date", "is_proposed"),
    [
        ("2023", True),
        ("2023-05", True),
        ("2023-02-29", False),
        ("20230405", False),
        ("2023-13", False),
        ("0000", False),
        ("", False),
    ],
)
def test_dates(site: Site, date: str, is_proposed: bool) -> None:
    """A year, a month or a day that exists; anything else is not proposed."""
    first = site.add()
    site.mirror()
    site.box.scenes = [known("Dated", first, date=date)]

    words = site.words(site.identify())

    assert (f"set date {date}" in words) == is_proposed


def test_a_rejected_match_is_remembered_by_content(site: Site) -> None:
    """Who rejects the id rejects the match, for another scene of this content too."""
    first = site.add(oshash=osh(77))
    site.mirror()
    site.box.scenes = [known("Wrong", first)]
    result = site.identify()
    (box_id,) = [c for c in site.changes(result) if c.field == "stash_ids"]
    assert result.plan_id is not None
    with site.database.transaction() as session:
        params = ReviewPlanParams(
            plan_id=result.plan_id, decision="reject", change_ids=(box_id.id,)
        )
        decide(session, params)
    site.add(phash=ph(first), oshash=osh(77))
    third = site.add(phash=ph(first), oshash=osh(78))
    site.mirror()

    again = site.changes(site.identify())

    assert {change.scene_id for change in again} == {third}


def test_a_rejected_match_outlives_its_scene(site: Site) -> None:
    """A file that leaves Stash and comes back is not offered the rejected match."""
    first = site.add(oshash=osh(77))
    for _ in range(3):
        site.add()
    site.mirror()
    site.box.scenes = [scene("Wrong", fingerprints=[("OSHASH", osh(77), 61)])]
    result = site.identify()
    (box_id,) = [c for c in site.changes(result) if c.field == "stash_ids"]
    assert result.plan_id is not None
    with site.database.transaction() as session:
        params = ReviewPlanParams(
            plan_id=result.plan_id, decision="reject", change_ids=(box_id.id,)
        )
        decide(session, params)
    with site.server.store.transaction() as writer:
        writer.run("DELETE FROM scenes WHERE id = ?", [first])
        writer.run("DELETE FROM files WHERE id = ?", [first])
    site.mirror()
    site.mirror()
    with site.database.transaction() as session:
        assert session.get(Scene, first) is None

    again = site.add(oshash=osh(77))
    site.mirror()

    assert again != first
    assert site.words(site.identify()) == set()


def test_what_many_scenes_share_proves_nothing(site: Site) -> None:
    """A perceptual hash of more than three local scenes identifies none of them."""
    ids = [site.add(phash=ph(1000)) for _ in range(stash_box.SHARED_BY)]
    site.mirror()
    site.box.scenes = [scene("Intro", fingerprints=[("PHASH", ph(1000), 61)])]
    assert len({c.scene_id for c in site.changes(site.identify())}) == len(ids)

    site.add(phash=ph(1000))
    site.mirror()

    assert site.words(site.identify()) == set()


# --- what is asked -------------------------------------------------------------------


def test_forty_scenes_in_a_request_and_none_again(site: Site) -> None:
    """Within the days of the setting nothing is asked again; afterwards everything."""
    for _ in range(90):
        site.add()
    without = [site.add(phash=None), site.add(phash="0")]
    site.mirror()

    result = site.identify()
    assert site.asked() == [40, 40, 10]
    assert result.scenes_analyzed == 92
    assert result.costs["stash_box"]["requests"] == 3
    site.identify()
    assert len(site.asked()) == 3

    new = site.add()
    site.mirror()
    site.identify()
    assert site.asked()[3:] == [1]

    with site.database.transaction() as session:
        outputs = session.scalar(select(func.count()).select_from(TaggerResult))
        facts = read_scenes(session, [new, *without])
    assert outputs == 91
    later = stash_box.StashBox(
        StashBoxSettings(days=30),
        site.client,
        site.database,
        now=lambda: datetime.now(UTC) + timedelta(days=31),
    )
    with site.database.transaction() as session:
        output = session.scalars(select(TaggerResult.output)).first()
    assert later.needs_reading(facts[new], output)
    assert not any(later.needs_reading(facts[i], None) for i in without)


def test_a_new_hash_is_asked_for(site: Site) -> None:
    """A scene that gets another file is another content."""
    first = site.add()
    site.mirror()
    site.identify()
    with site.server.store.transaction() as writer:
        writer.run("UPDATE fingerprints SET value = 'ff' WHERE type = 'phash'")
        writer.run("UPDATE files SET updated_at = '2030-01-01T00:00:00Z'")
        writer.run("UPDATE scenes SET updated_at = '2030-01-01T00:00:00Z'")
    site.mirror()
    site.box.scenes = [scene("New", fingerprints=[("PHASH", "ff", 61)])]

    assert "set title New" in site.words(site.identify(scene_ids=(first,)))


def test_the_scene_that_breaks_a_call_is_found(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Halves are asked for until it is alone; the others are identified."""
    ids = [site.add() for _ in range(40)]
    site.mirror()
    odd = [named("Odd", hair_color="BROWN")]
    site.box.scenes = [known(f"Film {i}", i) for i in ids if i != ids[17]]
    site.box.scenes.append(known("Breaks", ids[17], performers=odd))
    caplog.set_level(logging.WARNING)

    result = site.identify()

    assert result.scenes_analyzed == 39
    (failure,) = result.errors
    assert failure.item == f"scene {ids[17]}"
    assert "(BROWN is not a valid HairColorEnum)" in failure.reason
    assert len(failure.reason) < 300
    assert max(len(record.getMessage()) for record in caplog.records) < 400
    titles = Counter(c.field for c in site.changes(result))
    assert titles["title"] == 39
    # 40, then two requests for each halving.
    assert len(site.asked()) <= 1 + 2 * 6
    with site.database.transaction() as session:
        analyzed = session.scalars(select(Scene.id).where(~Scene.analyzed)).all()
    assert analyzed == [ids[17]]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (PlainTextResponse("Too Many Requests", 429), "status 429"),
        (PlainTextResponse("Bad Gateway", 502), "status 502"),
        (PlainTextResponse("<html>maintenance</html>", 200), "does not answer as a"),
        (PlainTextResponse("Internal Server Error", 500), "each of 12 scenes"),
    ],
    ids=["429", "502", "html", "500 for each"],
)
def test_an_outage_defers(site: Site, said: Response, words: str) -> None:
    """The scenes stay unanalyzed, nothing is stored, and the next run asks again."""
    ids = [site.add() for _ in range(12)]
    site.mirror()
    site.box.fault = lambda operation, variables: said

    with pytest.raises(AnalysisDeferred, match=words) as caught:
        site.identify()

    assert caught.value.where == site.box.endpoint
    assert caught.value.result.scenes_deferred == 12
    with site.database.transaction() as session:
        assert not session.scalars(select(Scene.id).where(Scene.analyzed)).all()
        assert session.scalar(select(func.count()).select_from(TaggerResult)) == 0
    site.box.fault = lambda operation, variables: None
    site.box.scenes = [known("Found", ids[0])]
    assert "set title Found" in site.words(site.identify())


def test_a_failure_at_few_scenes_is_theirs(site: Site) -> None:
    """Other detectors and other scenes go on: three failures are no outage."""
    for _ in range(3):
        site.add()
    site.mirror()
    site.box.fault = lambda operation, variables: PlainTextResponse("oops", 500)

    result = site.identify(detect_tags=True)

    assert (result.status, len(result.errors)) == ("completed_with_errors", 3)
    assert "The stash-box failed (status 500)" in result.errors[0].reason


def test_one_stash_box_is_asked_again_and_not_the_other(site: Site) -> None:
    """What one stash-box has answered is kept, although the other one is new."""
    site.add()
    site.mirror()
    site.identify()
    with StashBox() as second:
        site.server.boxes.append(Box(second.endpoint, second.api_key, "second"))
        site.identify()
        assert len(second.operations(SCAN)) == 1
    assert len(site.asked()) == 1


def test_an_older_stash_does_not_know_the_ids_of_tags(site: Site) -> None:
    """Tags are then found by their names alone, and the scene is identified."""
    site.client.create_tag("Outdoor")
    first = site.add()
    site.mirror()
    site.box.scenes = [known("Found", first, tags=[named("Outdoor")])]
    site.server.faults.unknown_fields.add("ScrapedTag.remote_site_id")

    words = site.words(site.identify())

    assert {"set title Found", "add tag Outdoor"} <= words


def test_an_older_stash_lists_what_it_cannot_create(site: Site) -> None:
    """A tag without its id at the stash-box is named in the evidence, not created."""
    first = site.add()
    site.mirror()
    site.box.scenes = [
        known(
            "Found",
            first,
            tags=[named("Outdoor")],
            performers=[named("Ann Example")],
        )
    ]
    site.server.faults.unknown_fields.add("ScrapedTag.remote_site_id")

    result = site.identify({"create_missing": ["tags", "performers"]})
    words = site.words(result)
    evidence = [dict(change.evidence) for change in site.changes(result)]

    assert "add performer Ann Example" in words
    assert not [text for text in words if "tag" in text]
    assert [e["not in Stash:"] for e in evidence if "not in Stash:" in e] == [
        "tags Outdoor"
    ]


# --- wrong settings ------------------------------------------------------------------


def test_wrong_settings_are_sentences(site: Site) -> None:
    """No stash-box, an unknown one, and a key that the stash-box refuses."""
    site.add()
    site.mirror()
    with pytest.raises(ConfigurationError, match="Stash knows: http://127") as unknown:
        site.identify({"endpoints": ["http://nowhere.example/graphql"]})
    assert unknown.value.where == "http://nowhere.example/graphql"

    site.box.api_key = "changed"
    with pytest.raises(ConfigurationError, match="refuses the API key") as refused:
        site.identify()
    assert "Metadata Providers" in refused.value.remedy

    site.server.boxes.clear()
    with pytest.raises(ConfigurationError, match="no stash-box to identify"):
        site.identify()
    site.identify(detect_fingerprints=False)


def test_letter_case_of_an_address_does_not_matter(site: Site) -> None:
    """Ids are stored with the address as Stash names the stash-box."""
    first = site.add()
    site.mirror()
    site.box.scenes = [known("Found", first)]

    result = site.identify(
        {"endpoints": [site.box.endpoint.upper().replace("HTTP", "http")]}
    )

    with site.database.transaction() as session:
        proposed = session.scalars(
            select(PlanChange.proposed).where(
                PlanChange.field == "stash_ids", PlanChange.plan_id == result.plan_id
            )
        ).all()
    assert [box["endpoint"] for box in proposed] == [site.box.endpoint]


def test_text_that_cannot_be_stored_is_one_scenes(site: Site) -> None:
    """A title with the character 0 fails its scene, and no other one."""
    first, second = site.add(), site.add()
    site.mirror()
    site.box.scenes = [known("Bad \0 title", first), known("Good", second)]

    result = site.identify()

    (failure,) = result.errors
    assert failure.item == f"scene {first}"
    assert "set title Good" in site.words(result)


def test_a_reader_by_itself_reads_one_scene(site: Site) -> None:
    """One scene is a batch of one, and its failure is an error."""
    first = site.add()
    site.mirror()
    with site.database.transaction() as session:
        facts = read_scenes(session, [first])[first]
    reader = stash_box.StashBox(StashBoxSettings(), site.client, site.database)

    assert reader.read(facts)[site.box.endpoint]["scenes"] == []
    site.box.fault = lambda operation, variables: JSONResponse(
        {"errors": [{"message": "made-up failure"}], "data": None}
    )
    with pytest.raises(ItemError, match="made-up failure"):
        reader.read(facts)


# --- what Stash does not have --------------------------------------------------------

EVERYTHING: Any = {"create_missing": ["performers", "studio", "tags"]}


def apply(site: Site, plan_id: int | None, **params: Any) -> ApplyResult:
    assert plan_id is not None
    return apply_plan(
        site.client,
        site.database,
        ApplyPlanParams(plan_id=plan_id, **{"auto_approve": True, **params}),
        Progress(),
        create_missing_tags=False,
    )


def library(site: Site) -> dict[str, set[tuple[str, ...]]]:
    """Return the names in Stash, each with its ids at stash-boxes."""
    kinds = {
        "tags": site.client.tags(),
        "performers": site.client.performers(),
        "studios": site.client.studios(),
    }
    return {
        kind: {(row.name, *(box.stash_id for box in row.stash_ids)) for row in rows}
        for kind, rows in kinds.items()
    }


def unknown(title: str, number: int) -> dict[str, Any]:
    """Return a scene of the stash-box of whose names Stash has none."""
    return known(
        title,
        number,
        performers=[named("New Person", disambiguation="second")],
        studio=named("New Studio"),
        tags=[named("New Tag")],
    )


def test_what_stash_lacks_is_created_once_and_dropped_by_undo(site: Site) -> None:
    """With its id at the stash-box, for several scenes; the last undo takes it away."""
    first, second, third = site.add(), site.add(), site.add()
    site.mirror()
    site.box.scenes = [unknown("One", first), unknown("Two", second)]
    before = library(site)

    result = site.identify(EVERYTHING)
    site.box.scenes.append(unknown("Three", third))
    with site.database.transaction() as session:
        session.execute(delete(TaggerResult))
    later = site.identify(EVERYTHING, scene_ids=(third,))
    (new,) = {
        c.evidence["not in Stash yet:"]
        for c in site.changes(result)
        if c.field == "performers"
    }
    applied = apply(site, result.plan_id)
    again = apply(site, later.plan_id)

    assert new == "created when applied"
    assert (applied.conflicts, again.conflicts) == (0, 0)
    assert library(site) == {
        "tags": {("New Tag", remote_id("New Tag"))},
        "performers": {("New Person", remote_id("New Person"))},
        "studios": {("New Studio", remote_id("New Studio"))},
    }
    (person,) = site.client.performers()
    assert person.disambiguation == "second"
    scenes, _ = site.client.scenes([first, second, third])
    assert [[p.id for p in s.performers] for s in scenes] == [[person.id]] * 3
    assert all(s.studio is not None and len(s.tags) == 1 for s in scenes)

    undone = take_back(site, result.plan_id)
    assert undone.created == {
        "performer New Person": "scenes: 1",
        "studio New Studio": "scenes: 1",
        "tag New Tag": "scenes: 1",
    }
    undone = take_back(site, later.plan_id)
    assert undone.created == {
        "performer New Person": "deleted",
        "studio New Studio": "deleted",
        "tag New Tag": "deleted",
    }
    assert library(site) == before
    site.mirror()
    with site.database.transaction() as session:
        left = [session.scalars(select(model.id)).all() for model in (Performer, Tag)]
    assert left == [[], []]


def take_back(site: Site, plan_id: int | None) -> UndoResult:
    assert plan_id is not None
    return undo(site.client, site.database, UndoParams(plan_id=plan_id), Progress())


def test_nothing_is_created_unless_a_setting_says_so(site: Site) -> None:
    """By default, and for a kind that the setting does not name, names are listed."""
    first = site.add()
    site.mirror()
    site.box.scenes = [unknown("One", first)]

    people = site.identify({"create_missing": ["performers"]})

    assert "add performer New Person" in site.words(people)
    assert "add tag New Tag" not in site.words(people)
    evidence = site.changes(people)[0].evidence
    assert evidence["not in Stash:"] == "studio New Studio; tags New Tag"
    apply(site, people.plan_id)
    assert library(site)["tags"] == set()


def test_what_somebody_made_meanwhile_is_taken(site: Site) -> None:
    """By its id at the stash-box, though renamed, or by its name."""
    first = site.add()
    site.mirror()
    site.box.scenes = [unknown("One", first)]
    result = site.identify(EVERYTHING)
    box_id = {"endpoint": site.box.endpoint, "stash_id": remote_id("New Person")}
    person = site.client.create_object(
        "performer", {"name": "Renamed", "stash_ids": [box_id]}
    )
    tag = site.client.create_tag("new tag")

    apply(site, result.plan_id)

    (scene_now,), _ = site.client.scenes([first])
    assert [p.id for p in scene_now.performers] == [person]
    assert [t.id for t in scene_now.tags] == [tag.id]
    take_back(site, result.plan_id)
    assert {row.name for row in site.client.performers()} == {"Renamed"}
    assert {row.name for row in site.client.tags()} == {"new tag"}


def test_a_name_with_another_id_is_not_taken(site: Site) -> None:
    """Who has this name may be somebody else: the change waits for a person."""
    first = site.add()
    site.mirror()
    site.box.scenes = [unknown("One", first)]
    result = site.identify(EVERYTHING)
    other = {"endpoint": site.box.endpoint, "stash_id": remote_id("somebody else")}
    site.client.create_object("performer", {"name": "New Person", "stash_ids": [other]})

    applied = apply(site, result.plan_id)

    assert applied.to_retry == 1
    (failure,) = applied.errors
    assert "has another id at" in failure.reason
    (scene_now,), _ = site.client.scenes([first])
    assert scene_now.performers == ()
    assert scene_now.title == "One"


@pytest.mark.parametrize("after", [False, True], ids=["refused", "answer lost"])
def test_a_lost_answer_creates_nothing_twice(site: Site, after: bool) -> None:
    """Stash is read after the failure, and the same run tries again."""
    first = site.add()
    site.mirror()
    site.box.scenes = [unknown("One", first)]
    result = site.identify({"create_missing": ["performers"]})
    if after:
        site.server.faults.drop_connection(field="performerCreate", after=True)
    else:
        site.server.faults.answer_status(503, field="performerCreate")

    assert apply(site, result.plan_id).errors == ()

    assert len(library(site)["performers"]) == 1
    (scene_now,), _ = site.client.scenes([first])
    assert len(scene_now.performers) == 1
    take_back(site, result.plan_id)
    assert library(site)["performers"] == set()


@pytest.mark.parametrize("is_created", [True, False], ids=["created", "not created"])
def test_a_run_that_died_while_creating_is_continued(
    site: Site, is_created: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the dead run created is found by its id, and belongs to the plan.

    What it did not create, it has not: who creates it by hand keeps it.
    """
    first = site.add()
    site.mirror()
    site.box.scenes = [unknown("One", first)]
    result = site.identify({"create_missing": ["performers"]})
    changes = {change.field: change.id for change in site.changes(result)}
    create, asked = site.client.create_object, []

    def die(kind: NamedKind, given: dict[str, Any]) -> NoReturn:
        asked.append((kind, given))
        if is_created:
            create(kind, given)
        raise KilledError

    monkeypatch.setattr(site.client, "create_object", die)
    with pytest.raises(KilledError):
        apply(site, result.plan_id, change_ids=(changes["performers"],))
    monkeypatch.undo()
    apply(site, result.plan_id, change_ids=(changes["title"],))

    ids = [person.id for person in site.client.performers()]
    with site.database.transaction() as session:
        assert [made.id for _, made in created_objects(session)] == ids
        assert session.scalars(select(Performer.id)).all() == ids
    if not is_created:
        create(*asked[0])
    apply(site, result.plan_id)
    assert len(library(site)["performers"]) == 1
    take_back(site, result.plan_id)
    assert len(library(site)["performers"]) == (0 if is_created else 1)


def test_what_somebody_edited_stays(site: Site) -> None:
    """A created performer that got a birthday is a person's, not the plan's."""
    first = site.add()
    site.mirror()
    site.box.scenes = [unknown("One", first)]
    result = site.identify({"create_missing": ["performers"]})
    apply(site, result.plan_id)
    with site.server.store.transaction() as writer:
        writer.run("UPDATE performers SET birthdate = '1990-05-06'")

    undone = take_back(site, result.plan_id)

    assert undone.created == {"performer New Person": "birthdate"}
    assert len(library(site)["performers"]) == 1
