"""The stash-box of the sandbox knows two of the sample videos, and no other one."""

import shutil
import socket
from collections import defaultdict
from pathlib import Path

import pytest

from sandbox.run import kept_port
from sandbox.sample_box import sample_box
from sandbox.samples import Sample, seed_library
from sandbox.stash.scraping import Box
from sandbox.stash.server import StandIn
from stashhog_core.db.session import Database
from stashhog_core.detection.job import analyze
from stashhog_core.params import AnalysisParams, SyncParams
from stashhog_core.plans.plans import plan_changes
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings, StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import sync
from tests.support.creating import all_scenes

pytestmark = pytest.mark.slow


def test_one_sample_is_identified_and_another_is_ambiguous(
    stand_in: StandIn, database: Database, sample_videos: tuple[Path, list[Sample]]
) -> None:
    """The demo shows a certain match, and one that a person has to decide on."""
    shutil.copytree(sample_videos[0], stand_in.library, dirs_exist_ok=True)
    seed_library(stand_in.store)
    with (
        sample_box(sample_videos[0]) as box,
        StashClient(StashSettings(url=stand_in.url)) as client,
    ):
        stand_in.boxes.append(Box(box.endpoint, box.api_key, "box"))
        paths = [str(stand_in.library)]
        client.start_job("scan", {"paths": paths, "scanGeneratePhashes": True})
        stand_in.jobs.wait()
        sync(
            client,
            database,
            SyncParams(),
            Progress(),
            trigger="test",
            stabilize_seconds=0,
        )
        params = AnalysisParams(
            detect_fingerprints=True, detect_video_tags=False, detect_tags=False
        )
        result = analyze(Settings(), client, database, params, Progress(), run_id="run")
        names = {
            scene.id: Path(scene.files[0].path).name for scene in all_scenes(client)
        }

    assert result.plan_id is not None
    with database.transaction() as session:
        changes = plan_changes(session, result.plan_id)
    titles = defaultdict(set)
    for change in changes:
        if change.field == "title":
            titles[names[change.scene_id]].add(change.in_words)
    assert titles == {
        "harbor-morning.mp4": {"set title Harbor Morning"},
        "late-kitchen.mkv": {
            "set title Late Kitchen",
            "set title Late Kitchen, Part Two",
        },
    }
    morning = [c for c in changes if names[c.scene_id] == "harbor-morning.mp4"]
    assert min(c.confidence for c in morning) > 0.9
    (notes,) = {c.evidence.get("not in Stash:") for c in morning} - {None}
    assert notes == "performers Felix Shore; tags Boats"


def test_the_port_stays_the_same_while_it_is_free(tmp_path: Path) -> None:
    """Ids at the stash-box name its address; a port that is taken is replaced."""
    note = tmp_path / "port"
    first = kept_port(note)
    assert kept_port(note) == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        other = kept_port(note)
    assert other != first
    assert kept_port(note) == other
    note.write_text("no port", encoding="ascii")
    assert kept_port(note) > 0


def test_samples_that_are_missing_are_not_known(tmp_path: Path) -> None:
    """A folder without samples makes a stash-box that knows nothing."""
    assert sample_box(tmp_path).scenes == []
