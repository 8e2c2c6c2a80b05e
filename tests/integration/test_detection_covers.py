"""The cover that a stash-box has: proposed, applied, and undone exactly."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import delete, func, select

from sandbox.stash.outputs import Outputs
from sandbox.stash.scraping import Box
from sandbox.stash.server import StandIn
from sandbox.stash_box import Picture as Served
from sandbox.stash_box import StashBox, scene
from stashhog_core.db.models import Picture, Scene
from stashhog_core.db.session import Database
from stashhog_core.detection.job import analyze
from stashhog_core.params import (
    AnalysisParams,
    ApplyPlanParams,
    SyncParams,
    UndoParams,
)
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.plans import ChangeDetails, plan_changes
from stashhog_core.plans.proposals import CoverValue
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult, ApplyResult, UndoResult
from stashhog_core.settings import Settings, StashBoxSettings, StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import sync
from tests.support.pictures import png

pytestmark = pytest.mark.slow

STAMP = "2026-01-01T00:00:00Z"
OLD, NEW = png(320, 180, grey=10), png(640, 360, grey=200)


@dataclass
class Site:
    """A Stash with one scene that has a cover, and a stash-box that knows it."""

    server: StandIn
    client: StashClient
    database: Database
    box: StashBox
    scene_id: int = 0
    runs: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def prepare(self, cover: bytes | None = OLD) -> None:
        """Add the scene with this cover, and mirror it."""
        with self.server.store.transaction() as writer:
            stamps = {"created_at": STAMP, "updated_at": STAMP}
            self.scene_id = writer.insert("scenes", stamps)
            path = str(self.server.library / "film.mp4")
            facts = {"path": path, "basename": "film.mp4", "duration": 61, "size": 1}
            codecs = {"video_codec": "h264", "audio_codec": "aac", "format": "mp4"}
            sides = {"width": 640, "height": 360, "frame_rate": 25.0, "bit_rate": 1}
            row = {**facts, **codecs, **sides, **stamps, "mod_time": STAMP}
            file_id = writer.insert("files", row)
            link = {"scene_id": self.scene_id, "file_id": file_id, "position": 0}
            writer.insert("scenes_files", link)
            for kind, value in (("oshash", "0" * 15 + "1"), ("phash", "9e3779b97f4a")):
                row = {"file_id": file_id, "type": kind, "value": value}
                writer.insert("fingerprints", row)
        if cover is not None:
            self.put_cover(cover)
        sync(self.client, self.database, SyncParams(), Progress(), trigger="test")

    def serve(self, picture: Served | None) -> None:
        """Have the stash-box serve this as the picture of the scene."""
        if picture is not None:
            self.box.pictures["/cover"] = picture
        self.box.scenes = [
            scene(
                "A title",
                fingerprints=[("OSHASH", "0" * 15 + "1", 61)],
                duration=61,
                images=[f"{self.box.url}/cover"],
            )
        ]

    def put_cover(self, content: bytes) -> None:
        """Set the cover of the scene behind the API's back."""
        path = Outputs(self.server.store.generated).cover(self.scene_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def identify(self, strategy: str = "overwrite") -> AnalysisResult:
        settings = StashBoxSettings.model_validate({"strategies": {"cover": strategy}})
        return analyze(
            Settings(stash_box=settings),
            self.client,
            self.database,
            AnalysisParams(
                detect_video_tags=False,
                detect_tags=False,
                detect_fingerprints=True,
                include_analyzed=True,
            ),
            Progress(),
            run_id=f"run {next(self.runs)}",
        )

    def proposed(self, result: AnalysisResult) -> list[ChangeDetails]:
        assert result.plan_id is not None
        with self.database.transaction() as session:
            return plan_changes(session, result.plan_id)

    def cover_of(self, result: AnalysisResult) -> ChangeDetails | None:
        found = [c for c in self.proposed(result) if c.field == "cover"]
        return found[0] if found else None

    def apply(self, result: AnalysisResult) -> ApplyResult:
        assert result.plan_id is not None
        return apply_plan(
            self.client,
            self.database,
            ApplyPlanParams(plan_id=result.plan_id, auto_approve=True),
            Progress(),
            create_missing_tags=True,
            pauses_seconds=(),
        )

    def undo(self, result: AnalysisResult) -> UndoResult:
        params = UndoParams(plan_id=result.plan_id)
        return undo(self.client, self.database, params, Progress(), pauses_seconds=())


@pytest.fixture
def site(stand_in: StandIn, database: Database) -> Iterator[Site]:
    with StashBox() as box, StashClient(StashSettings(url=stand_in.url)) as client:
        stand_in.boxes.append(Box(box.endpoint, box.api_key, "box"))
        yield Site(stand_in, client, database, box)


def test_a_cover_is_applied_and_undone_exactly(site: Site) -> None:
    """The earlier cover comes back byte by byte; the cover is a change of its own."""
    site.prepare()
    site.serve(Served(NEW))

    result = site.identify()
    change = site.cover_of(result)
    assert change is not None
    assert change.in_words == f"set cover PNG, 640x360, {len(NEW) / 1000:.0f} kB"
    assert isinstance(change.value, CoverValue)

    applied = site.apply(result)
    assert applied.errors == ()
    assert site.client.cover(site.scene_id) == NEW
    undone = site.undo(result)

    assert (undone.conflicts, undone.failed) == (0, 0)
    assert site.client.cover(site.scene_id) == OLD


@pytest.mark.parametrize("strategy", ["merge", "ignore"])
def test_a_cover_is_proposed_only_if_asked(site: Site, strategy: str) -> None:
    """Nobody can see whether a person has chosen the cover that is there."""
    site.prepare()
    site.serve(Served(NEW))

    assert site.cover_of(site.identify(strategy)) is None
    with site.database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Picture)) == 0


@pytest.mark.parametrize(
    ("served", "words"),
    [
        pytest.param(None, "no picture (text/plain)", id="not-found"),
        pytest.param(Served(b"<html>", "text/html"), "text/html", id="page"),
        pytest.param(Served(b"<html>", "image/png"), "neither JPEG", id="wrong-type"),
        pytest.param(Served(png(1, 1)), "1x1 pixels", id="pixel"),
        pytest.param(
            Served(png(320, 180, padding=50_000_000)), "50 MB", id="50-megabytes"
        ),
    ],
)
def test_what_is_no_cover_stands_in_the_evidence(
    site: Site, served: Served | None, words: str
) -> None:
    """The other values of the scene are proposed all the same."""
    site.prepare()
    site.serve(served)

    result = site.identify()

    assert site.cover_of(result) is None
    first = site.proposed(result)[0]
    assert words in first.evidence["no cover:"]
    assert "set title A title" in {c.in_words for c in site.proposed(result)}


def test_a_scene_without_cover_gets_none(site: Site) -> None:
    """Stash cannot be without a cover again, so an undo would not be exact."""
    site.prepare(cover=None)
    site.serve(Served(NEW))

    result = site.identify()

    assert site.cover_of(result) is None
    assert "undo" in site.proposed(result)[0].evidence["no cover:"]


def test_a_cover_that_somebody_has_changed_stays(site: Site) -> None:
    """Before it is applied, and before it is undone."""
    other = png(320, 180, grey=99)
    site.prepare()
    site.serve(Served(NEW))
    result = site.identify()

    site.put_cover(other)
    assert site.apply(result).conflicts == 1
    assert site.client.cover(site.scene_id) == other

    site.put_cover(OLD)
    again = site.identify()
    assert site.cover_of(again) is not None
    assert site.apply(again).conflicts == 0
    site.put_cover(other)
    assert site.undo(again).conflicts == 1
    assert site.client.cover(site.scene_id) == other


def test_an_organized_scene_keeps_its_cover(site: Site) -> None:
    """Who marks a scene as organized has decided about its values."""
    site.prepare()
    site.serve(Served(NEW))
    with site.database.transaction() as session:
        session.get_one(Scene, site.scene_id).organized = True

    assert site.cover_of(site.identify()) is None


def test_a_picture_that_is_no_longer_stored(site: Site) -> None:
    """The change stays approved, and says what to do."""
    site.prepare()
    site.serve(Served(NEW))
    result = site.identify()
    with site.database.transaction() as session:
        session.execute(delete(Picture))

    applied = site.apply(result)

    (error,) = applied.errors
    assert "no longer stored: analyze the scene again" in error.reason
    assert site.client.cover(site.scene_id) == OLD


def test_an_answer_that_was_lost(site: Site) -> None:
    """The cover that Stash has by then is recognized, and can be undone."""
    site.prepare()
    site.serve(Served(NEW))
    result = site.identify()
    site.server.faults.drop_connection(field="sceneUpdate", after=True, times=3)

    site.apply(result)
    site.server.faults.clear()
    site.undo(result)

    assert site.client.cover(site.scene_id) == OLD
