"""Histories of edits by chance: a check never says "nothing" where there is something.

After each step, a check that finds nothing is compared with a listing of everything;
after each sync the mirror is compared with Stash, but for what `docs/sync.md` names.
Time passes, clocks are set, Stash is started again, in another zone, or with a backup.

`make test` makes 300 edits. STASHHOG_TEST_HISTORY_EDITS makes more. With
STASHHOG_TEST_STASH_URL and STASHHOG_TEST_STASH_LIBRARY set as for the contract suite,
the edits are made on a real Stash as well, whose clock nobody sets.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import select

from sandbox.stash.server import StandIn
from stashhog_core.db.models import MirrorCheck
from stashhog_core.db.session import Database
from stashhog_core.params import VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.sync.mirror import scene_differences
from stashhog_core.sync.survey import begin_survey
from stashhog_core.sync.verify import verify_mirror
from tests.support.creating import all_scenes
from tests.support.histories import EDITS, Editor, fill, make_one
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.watched_stash import WatchedStash, watched

pytestmark = pytest.mark.slow

NUMBER = int(os.environ.get("STASHHOG_TEST_HISTORY_EDITS", "300"))
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
EVERYTHING = VerifyMirrorParams(scenes=10_000)
START = timedelta(days=30)
"""Clocks that are set back still tell a later time than the runs of sync here do."""


class PassingTime(Progress):
    """Lets the time of a stand-in pass where the product waits."""

    def __init__(self, stash: WatchedStash) -> None:
        super().__init__()
        self._stash = stash

    def sleep(self, seconds: float) -> None:
        """Let time pass without waiting."""
        self._stash.later(seconds=seconds)


@dataclass
class History:
    """What happens to a Stash and its mirror, and what must hold all along."""

    stash: WatchedStash
    editor: Editor
    backup: Path
    random: Random
    steps: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)

    def run(self, edits: int) -> None:
        """Make so many edits, with all that happens between them."""
        fill(self.editor)
        self.sync()
        deep_at = edits // 4
        while self.kinds.total() < edits:
            self.step()
            self.check()
            if self.random.random() < 0.35:
                self.sync()
            if self.kinds.total() >= deep_at:
                deep_at += max(40, edits // 8)
                self.verify()
        self.verify()

    def step(self) -> None:
        """Make an edit or two, or have something else happen."""
        chance = self.random.random()
        if chance < 0.78 or not self.editor.server:
            for _ in range(self.random.choice([1, 1, 1, 2])):
                if name := make_one(self.editor, list(EDITS)):
                    self.kinds[name] += 1
                    self.steps.append(name)
        elif chance < 0.95:
            self.pass_time()
        else:
            self.disturb(self.editor.server)

    def pass_time(self) -> None:
        """Let seconds, minutes or hours pass, or wait for the next change of clocks."""
        clock = self.stash.server.clock
        now = datetime.now(UTC) + clock.offset
        spans = [
            timedelta(seconds=self.random.randint(1, 3)),
            timedelta(minutes=self.random.randint(1, 30)),
            timedelta(hours=self.random.randint(1, 5)),
        ]
        if (night := next_change(clock.timezone, now)) is not None:
            spans.append(night - now - timedelta(minutes=self.random.randint(0, 40)))
        span = self.random.choice(spans)
        if span > timedelta():
            self.stash.later(seconds=span.total_seconds())
        self.steps.append(f"{span} pass, it is {clock.now()}")

    def disturb(self, server: StandIn) -> None:
        """Set Stash's clock, or start it again as it was or otherwise."""
        what = self.random.choice(
            ["clock back", "clock on", "log", "restart", "zone", "save", "restore"]
        )
        seconds = self.random.randint(601, 70_000)
        if what == "clock back":
            server.clock.offset -= timedelta(seconds=seconds)
        elif what == "clock on":
            server.clock.offset += timedelta(seconds=seconds)
        elif what == "log":
            for number in range(self.random.randint(1, 40)):
                server.store.log("Info", f"line {number}")
        elif what == "save":
            self.backup.unlink(missing_ok=True)
            server.store.rows("VACUUM INTO ?", [str(self.backup)])
        else:
            server.stop()
            if what == "zone":
                server.clock.timezone = ZoneInfo(self.random.choice(ZONES))
            if what == "restore" and self.backup.exists():
                for old in server.home.glob("library.sqlite*"):
                    old.unlink()
                shutil.copyfile(self.backup, server.home / "library.sqlite")
                # A backup also takes back what no time of change shows.
                self.editor.silent.update(range(10_000))
            server.start()
        self.steps.append(f"{what}, it is {server.clock.now()}")

    def check(self) -> None:
        """Check; what it finds is what a listing of everything finds."""
        found = self.stash.pending()
        self.asked["listing" if "Library" in self.stash.asked else "no listing"] += 1
        if "Library" in self.stash.asked:
            return
        with begin_survey(self.stash.client, self.stash.database) as survey:
            survey.compare_scenes()
            survey.compare_markers()
        listed = survey.scenes.reasons()
        entities = {
            kind: len(rows.changed | rows.vanished)
            for kind, rows in survey.entities.items()
            if rows.changed | rows.vanished
        }
        assert (dict(found.reasons), dict(found.entities)) == (listed, entities), (
            self.story
        )

    def sync(self, **params: Any) -> None:
        """Sync; the mirror is right but for what is known to show in nothing."""
        is_stand_in = self.editor.server is not None
        result = self.stash.sync(
            progress=PassingTime(self.stash) if is_stand_in else None,
            stabilize_seconds=1.1,
            confirm_removals=True,
            **params,
        )
        self.steps.append("sync")
        assert result.status == "completed", (result, self.story)
        if is_stand_in:
            # A run takes its time, too.
            self.stash.later(seconds=self.random.choice([1.1, 2, 61]))
        if params.get("deep"):
            self.editor.silent.clear()
        scenes = all_scenes(self.stash.client)
        with self.stash.database.transaction() as session:
            wrong = [
                found
                for found in scene_differences(session, scenes)
                if found[0] not in self.editor.silent
            ]
        assert wrong == [], self.story

    def verify(self) -> None:
        """Sync twice, also deep: then nothing at all differs any more."""
        self.sync(deep=True)
        self.sync()
        result = verify_mirror(
            self.stash.client, self.stash.database, EVERYTHING, Progress()
        )
        assert result.errors == (), self.story
        with self.stash.database.transaction() as session:
            assert all(session.scalars(select(MirrorCheck.proved)))
        self.check()

    @property
    def story(self) -> str:
        """What has happened last."""
        return "\n".join(self.steps[-40:])


def next_change(zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return when the offset of the zone changes next; None: not within a year."""
    first = now.replace(minute=0, second=0, microsecond=0)
    hours = [first + timedelta(hours=number) for number in range(1, 366 * 24)]
    before = now.astimezone(zone).utcoffset()
    return next((h for h in hours if h.astimezone(zone).utcoffset() != before), None)


@contextmanager
def history(
    stash: WatchedStash, editor: Editor, backup: Path, seed: int
) -> Iterator[History]:
    """Yield a history whose failure says how to repeat it."""
    recorded = History(stash, editor, backup, Random(seed))
    try:
        yield recorded
    except Exception as error:
        error.add_note(f"seed {seed}; last:\n{recorded.story}")
        raise


@pytest.mark.timeout(0)
@pytest.mark.parametrize("zone", ZONES)
def test_history_of_edits(
    tmp_path: Path, database: Database, video: Path, zone: str
) -> None:
    """Whatever happens, no check and no sync misses what a listing would find."""
    seed = ZONES.index(zone)
    folder = tmp_path / "library"
    folder.mkdir()
    server = StandIn(tmp_path / "home", folder, zone)
    server.clock.offset = START
    server.faults.item_seconds = 0
    with (
        server,
        watched(server, database) as stash,
        httpx.Client(
            base_url=server.url, trust_env=False, timeout=PATIENCE_SECONDS
        ) as client,
    ):
        editor = Editor(client, Random(seed), folder, video.read_bytes(), server=server)
        with history(stash, editor, tmp_path / "backup", seed) as recorded:
            recorded.run(NUMBER // len(ZONES))

    # Many checks do without a listing, so that something is shown by them.
    assert 4 * recorded.asked["no listing"] > recorded.asked.total()
    assert len(recorded.kinds) > min(50, NUMBER // 10)


def test_enough_kinds_of_edits() -> None:
    """There are at least fifty kinds."""
    assert len(EDITS) >= 50


@pytest.mark.timeout(0)
@pytest.mark.skipif(
    "STASHHOG_TEST_STASH_URL" not in os.environ, reason="needs a real Stash"
)
def test_history_of_edits_of_a_real_stash(
    tmp_path: Path, database: Database, video: Path
) -> None:
    """The same on a real server, in whatever zone it runs."""
    url = os.environ["STASHHOG_TEST_STASH_URL"]
    folder = Path(os.environ["STASHHOG_TEST_STASH_LIBRARY"]) / f"history {os.getpid()}"
    folder.mkdir()
    seed = os.getpid()
    with (
        httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client,
        watched(url, database) as stash,
    ):
        editor = Editor(client, Random(seed), folder, video.read_bytes(), folder.name)
        with history(stash, editor, tmp_path / "backup", seed) as recorded:
            recorded.run(NUMBER)

    assert 4 * recorded.asked["no listing"] > recorded.asked.total()
