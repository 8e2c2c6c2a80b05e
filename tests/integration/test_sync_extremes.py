"""Sync with odd libraries, busy servers, moved clocks and a database that goes away.

Over HTTP, against the stand-in; where it says so, in memory.
"""

import random
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, text

from sandbox.stash.server import StandIn
from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.models import Scene, SyncRun, Tag
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError, TransientError
from stashhog_core.params import VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Fingerprint
from stashhog_core.sync.job import pending_scenes
from stashhog_core.sync.loader import STABLE_SECONDS
from stashhog_core.sync.verify import verify_mirror
from tests.support.fake_stash import FakeStash, refs
from tests.support.processes import postmaster
from tests.support.sync import run
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow


def assert_mirror_is_right(stash: StashClient, database: Database) -> None:
    """Nothing is pending, no field differs, and all fetched anew changes nothing."""
    checked = verify_mirror(
        stash, database, VerifyMirrorParams(scenes=10_000), Progress()
    )
    assert not pending_scenes(stash, database)
    assert (checked.differences, checked.errors) == (0, ())
    full = run(stash, database, force=True, deep=True)
    assert (full.created, full.updated, full.failed) == (0, 0, 0)


def client(stash: StandIn) -> StashClient:
    return StashClient(StashSettings(url=stash.url))


def test_names_with_zero_bytes_and_empty_names(database: Database) -> None:
    """What PostgreSQL cannot hold is left out, once: nothing stays pending for it."""
    stash = FakeStash()
    tag, empty = stash.add_tag("a\0b", aliases=("c\0",)), stash.add_tag("")
    who, studio = stash.add_performer("\0"), stash.add_studio("x\0")
    scene = stash.add_scene(
        "t\0itle",
        tags=refs(tag, empty),
        performers=refs(who),
        studio=refs(studio)[0],
        details="\0",
        urls=("https://example.invalid/\0",),
    )
    stash.replace_file(
        scene,
        path="/data/\0.mp4",
        fingerprints=(Fingerprint(type="oshash", value="fe\0ed"),),
    )
    stash.add_marker(scene, tag)
    result = run(stash, database)

    assert (result.created, result.failed) == (1, 0)
    with database.transaction() as session:
        assert session.scalars(select(Scene.title)).all() == ["title"]
        assert sorted(session.scalars(select(Tag.name))) == ["", "ab"]
    assert_mirror_is_right(stash, database)


# The clocks of New York go forward and back on these mornings.
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(datetime(2031, 3, 9, 7, tzinfo=UTC), id="forward"),
        pytest.param(datetime(2031, 11, 2, 6, tzinfo=UTC), id="back"),
    ],
)
def test_clocks_that_change(
    tmp_path: Path, database: Database, change: datetime
) -> None:
    """The same local hour twice, or an hour that is left out, hides no edit."""
    library = tmp_path / "library"
    library.mkdir()
    with (
        StandIn(
            home=tmp_path / "home",
            library=library,
            timezone="America/New_York",
            scenes=20,
        ) as server,
        client(server) as stash,
    ):
        for minutes in (-30, 30):
            moment = change + timedelta(minutes=minutes)
            server.clock.offset = moment - datetime.now(UTC)
            stash.update_scene(7, {"title": f"at {minutes}"})
            server.clock.offset += timedelta(seconds=2)

            assert pending_scenes(stash, database).count == (20 if minutes < 0 else 1)
            run(stash, database)
            with database.transaction() as session:
                scene = session.get_one(Scene, 7)
                assert scene.title == f"at {minutes}"
                assert scene.stash_updated_at is not None
                assert abs(scene.stash_updated_at - moment) < timedelta(minutes=20)
            assert_mirror_is_right(stash, database)


class Writers:
    """Threads that edit a server until the block ends."""

    def __init__(self, server: StandIn, scenes: int, number: int = 2) -> None:
        self._server = server
        self._scenes = scenes
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(seed,)) for seed in range(number)
        ]
        self.edits = 0
        self.errors: list[StashHogError] = []

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, seed: int) -> None:
        rng = random.Random(seed)
        with client(self._server) as stash:
            try:
                while not self._stop.is_set():
                    self._edit(stash, rng)
                    self.edits += 1
            except StashHogError as error:
                self.errors.append(error)

    def _edit(self, stash: StashClient, rng: random.Random) -> None:
        scene = rng.randint(1, self._scenes)
        kind = rng.randrange(4)
        if kind == 0:
            stash.update_scene(scene, {"title": f"Title {rng.random()}"})
        elif kind == 1:
            stash.bulk_update_scenes([scene], add_tag_ids=[rng.randint(1, 300)])
        elif kind == 2:
            tag = stash.create_tag(f"Tag of {rng.random()}").id
            stash.bulk_update_scenes([scene], add_tag_ids=[tag])
        else:
            stash.create_marker(
                scene_id=scene,
                title="new",
                seconds=rng.random(),
                primary_tag_id=rng.randint(1, 300),
            )


def test_writers_at_work(tmp_path: Path, database: Database) -> None:
    """However busy Stash was during syncs, one more makes the mirror equal."""
    library = tmp_path / "library"
    library.mkdir()
    with (
        StandIn(home=tmp_path / "home", library=library, scenes=2500) as server,
        client(server) as stash,
    ):
        with Writers(server, 2500) as writers:
            first = run(stash, database, stabilize_seconds=STABLE_SECONDS)
            for _ in range(2):
                run(stash, database, stabilize_seconds=STABLE_SECONDS)
        assert writers.errors == []
        assert writers.edits > 20
        assert (first.created, first.failed) == (2500, 0)

        run(stash, database, stabilize_seconds=STABLE_SECONDS)
        assert_mirror_is_right(stash, database)


@pytest.fixture
def own_server(home: Path) -> Iterator[Database]:
    """A database whose server a test may stop."""
    database = Database(start_embedded(home, "own"))
    migrate(database)
    yield database
    database.close()


def stopped(database: Database, home: Path) -> None:
    stop_embedded(home)


def crashed(database: Database, home: Path) -> None:
    server = postmaster(home)
    # As `pg_ctl stop -m immediate` does: what was not on the disk is lost.
    server.send_signal(signal.SIGQUIT)
    server.wait(PATIENCE_SECONDS)


def cut_off(database: Database, home: Path) -> None:
    with database.engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


@pytest.mark.parametrize("ended", [stopped, crashed, cut_off])
def test_database_that_goes_away_in_the_middle(
    own_server: Database, home: Path, ended: Callable[[Database, Path], None]
) -> None:
    """Committed pages stay, nothing is counted twice, and the history tells of it."""
    stash = FakeStash(page_size=5000)
    for _ in range(6500):
        stash.add_scene()

    has_ended = threading.Event()

    def unplug(_: object) -> None:
        if len(stash.asked("scenes")) >= 5 and not has_ended.is_set():
            has_ended.set()
            ended(own_server, home)

    # In a transaction: a connection that is cut while it is idle is replaced.
    event.listen(own_server.engine, "commit", unplug)
    with pytest.raises(TransientError, match="The database did not answer"):
        run(stash, own_server)

    start_embedded(home, "own")
    own_server.engine.dispose()
    with own_server.transaction() as session:
        stored = session.scalar(select(func.count()).select_from(Scene)) or 0
        ((noted, status),) = session.execute(select(SyncRun.created, SyncRun.status))
    assert stored < 6500
    assert noted == stored
    assert status == ("failed" if ended is cut_off else "running")
    assert pending_scenes(stash, own_server).reasons == {"new": 6500 - stored}

    result = run(stash, own_server)
    assert (result.created, result.unchanged) == (6500 - stored, stored)
    with own_server.transaction() as session:
        history = session.execute(
            select(SyncRun.status, SyncRun.created).order_by(SyncRun.id)
        )
        assert [tuple(row) for row in history] == [
            ("failed" if ended is cut_off else "interrupted", stored),
            ("completed", 6500 - stored),
        ]
    assert_mirror_is_right(stash, own_server)
