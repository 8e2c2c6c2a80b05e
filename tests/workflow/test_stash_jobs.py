"""The flows around the Stash jobs: their results in Prefect and in the terminal."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled
from typer.testing import CliRunner

from flows.jobs import check_stash_generate, stash_generate, stash_scan
from stashhog.cli.app import app
from stashhog_core.db.models import Scene
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from tasks.cancellation import was_cancelled
from tasks.stash_jobs import SHOWN, show_impacted_scenes
from tests.support.media import write_video
from tests.support.prefect import artifact
from tests.support.services import Services

pytestmark = pytest.mark.slow


@pytest.fixture
def stash(services: Services) -> Iterator[StashClient]:
    """The product's client of the stand-in."""
    with StashClient(get_settings().stash) as client:
        yield client


def run_id_of(state: State[Any]) -> UUID:
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


def test_scan_check_generate(
    services: Services, database: Database, stash: StashClient
) -> None:
    """What the check finds is generated; the run shows and lists what it completed."""
    write_video(services.library / "one.mp4", seconds=8)
    scanned = stash_scan(scanGeneratePhashes=False, scanGenerateSprites=False)
    ids = [stamp.id for page in stash.scene_stamps() for stamp in page]
    with database.transaction() as session:
        session.add_all(Scene(id=scene_id, title="One") for scene_id in ids)

    found = check_stash_generate()
    state = stash_generate(onlyMissing=True, previewSegments=1, return_state=True)
    made = state.result()
    shown = artifact("impacted-scenes")
    listed = CliRunner().invoke(
        app, ["scenes", "--generated", "--impacted-by", str(run_id_of(state)), "--json"]
    )

    assert scanned.status == "completed"
    assert found.missing == {"phash": 1, "sprite": 1, "vtt": 1}
    assert made.scenes_updated == tuple(str(scene_id) for scene_id in ids)
    link = f"[One]({services.stash.url}/scenes/{ids[0]})"
    assert shown["data"] == f"| id | scene |\n| --- | --- |\n| {ids[0]} | {link} |\n"
    assert shown["description"] == "1 scenes have new media"
    assert [scene["id"] for scene in json.loads(listed.stdout)] == ids
    assert was_cancelled(str(run_id_of(state))) is False


def test_only_the_first_500_are_shown(services: Services, database: Database) -> None:
    """A table of any length would not be read; the count is there."""
    ids = [str(i) for i in range(1, 1001)]

    @flow
    def show() -> None:
        show_impacted_scenes(database, ids, services.stash.url)

    show()

    shown = artifact("impacted-scenes")
    assert shown["data"].count("/scenes/") == SHOWN
    assert shown["description"] == "1000 scenes have new media; the first 500 are shown"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        pytest.param("away", "STASHHOG_STASH__URL", id="connection-refused"),
        pytest.param("server", "attic", id="unknown-server"),
        pytest.param("profile", "no generate profile", id="unknown-profile"),
    ],
)
def test_refused_at_once(
    services: Services, database: Database, what: str, words: str
) -> None:
    """What cannot work fails without a retry, in one sentence, and marks nothing."""
    with database.transaction() as session:
        session.add(Scene(id=1))
    if what == "away":
        services.stash.stop()
    values = {"server": {"server": "attic"}, "profile": {"profile": "nope"}}

    state = stash_generate(**values.get(what, {}), return_state=True)
    error = state.result(raise_on_failure=False)
    if what == "away":
        services.stash.start()

    assert isinstance(error, ConfigurationError)
    assert words in str(error)
    with database.transaction() as session:
        assert not session.get_one(Scene, 1).generated


def test_prefect_knows_who_was_cancelled(services: Services) -> None:
    """Asked for a run that is gone, its state tells; ids of no run tell nothing."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(stash_generate, state=Cancelled())

    assert was_cancelled(str(run.id))
    assert not was_cancelled("00000000-0000-0000-0000-000000000000")
    assert not was_cancelled("by-hand")
