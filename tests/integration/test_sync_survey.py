"""Which files a look at Stash lists."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from sandbox.stash.server import StandIn
from stashhog_core.db.kept_glance import forget_glance
from stashhog_core.db.manifest import forget_listing
from stashhog_core.db.models import SceneFile, SyncRun
from stashhog_core.db.session import Database
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import pending_scenes
from tests.support.fake_stash import FakeStash
from tests.support.sync import run


def path_of(database: Database, scene: int) -> str:
    with database.transaction() as session:
        query = select(SceneFile.path).where(SceneFile.scene_id == scene)
        return session.scalars(query).one()


def test_file_moved_before_there_was_a_baseline(database: Database) -> None:
    """Scenes mirrored before the first sync of all may have other files by now."""
    stash = FakeStash()
    scene = stash.add_scene()
    run(stash, database, scene_ids=[scene])
    stash.move_file(scene, "/data/moved.mp4")
    long_ago = datetime.now(UTC) - timedelta(days=100)
    stash.file_times = dict.fromkeys(stash.file_times, f"{long_ago:%Y-%m-%dT%H:%M:%SZ}")

    assert pending_scenes(stash, database).reasons == {"file": 1}
    run(stash, database)
    assert path_of(database, scene) == "/data/moved.mp4"
    assert not pending_scenes(stash, database)


def test_empty_mirror_asks_for_no_files(database: Database) -> None:
    """Every scene is fetched with its files anyway."""
    stash = FakeStash()
    stash.add_scene()
    pending = pending_scenes(stash, database)

    assert pending.reasons == {"new": 1}
    assert [listed["since"] for listed in stash.asked("Library")] == ["9999-12-31"]


@pytest.mark.slow
@pytest.mark.parametrize("timezone", ["UTC", "America/New_York"])
def test_without_a_baseline_a_server_lists_all_files(
    database: Database, tmp_path: Path, timezone: str
) -> None:
    """Over HTTP too, in any zone."""
    library = tmp_path / "library"
    library.mkdir()
    with (
        StandIn(
            home=tmp_path / "home", library=library, timezone=timezone, scenes=20
        ) as server,
        StashClient(StashSettings(url=server.url)) as stash,
    ):
        run(stash, database)
        with database.transaction() as session:
            session.execute(delete(SceneFile))
            session.execute(delete(SyncRun))
            forget_listing(session)
            forget_glance(session)

        assert pending_scenes(stash, database).reasons == {"file": 20}
