"""Apply and undo with a fault at each of their requests in turn, then undisturbed.

However they were disturbed, the end is that of clean runs: in Stash, in the mirror, in
the states and effects of the changes, and after undoing, where all is as it was before.
"""

import contextlib
import itertools
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import delete, select

from sandbox.stash.server import StandIn
from stashhog_core.db.models import (
    AnalysisPlan,
    Marker,
    PlanChange,
    Scene,
    ScenePerformer,
    SceneTag,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError
from stashhog_core.params import SyncParams
from stashhog_core.plans.plans import plan_changes, read_plan
from stashhog_core.plans.proposals import (
    Proposal,
    add_marker,
    add_member,
    remove_member,
    set_studio,
    set_text,
)
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import StashScene
from stashhog_core.sync.job import sync
from tests.support.creating import all_scenes, create_performer, create_studio
from tests.support.faults import (
    FAULTS,
    FaultyTransport,
    Moment,
    in_turn,
    plain_transport,
)
from tests.support.locks import wait_until_unlocked
from tests.support.plans import apply, job_until_killed, opened, plan_of, take_back
from tests.support.stand_in import new_scene

pytestmark = pytest.mark.slow

Chosen = Callable[[httpx.Request], bool]


def any_request(_: httpx.Request) -> bool:
    return True


def changes_something(request: httpx.Request) -> bool:
    return b'"query":"mutation' in request.content


MARK = ("test", {"rule": "seen"})


@dataclass
class Setting:
    """A Stash with two scenes, its mirror, and what a plan proposes for them."""

    stash: StandIn
    database: Database
    proposals: dict[int, list[Proposal]]
    before: dict[str, Any]
    inner: httpx.HTTPTransport
    """One set of connections for all clients."""

    def transport(
        self,
        fault: str = "",
        moment: Moment = "before",
        at: int = 0,
        chosen: Chosen = any_request,
    ) -> FaultyTransport:
        """Return a transport with a fault at one of the chosen requests; 0: at none."""
        return FaultyTransport(fault, moment, at, chosen, inner=self.inner)

    def apply(self, plan_id: int, transport: FaultyTransport | None = None) -> Any:
        """Apply a plan."""
        transport = transport or self.transport()
        return apply(self.stash.url, self.database, plan_id, transport)

    def undo(self, plan_id: int, transport: FaultyTransport | None = None) -> Any:
        """Undo a plan."""
        transport = transport or self.transport()
        return take_back(self.stash.url, self.database, plan_id, transport)

    def client(self) -> contextlib.AbstractContextManager[StashClient]:
        """Open a client."""
        return opened(self.stash.url, self.transport())

    def plan(self) -> int:
        """Store a plan, approved; the one before is forgotten."""
        with self.database.transaction() as session:
            for model in (PlanChange, AnalysisPlan):
                session.execute(delete(model))
        return plan_of(self.database, self.proposals)

    def live(self) -> tuple[list[StashScene], dict[int, str]]:
        """Return Stash's scenes, and its tags by id."""
        with self.client() as client:
            tags = {tag.id: tag.name for tag in client.tags()}
            return all_scenes(client), tags

    def library(self) -> dict[str, Any]:
        """Return what Stash has; ids that differ from round to round are left out."""
        return _library(*self.live())

    def mirrored(self) -> dict[str, Any]:
        """Return what the mirror has of the same."""
        with self.database.transaction() as session:
            return {
                "texts": session.execute(
                    select(Scene.id, Scene.title, Scene.details, Scene.studio_id)
                    .where(Scene.id.in_(self.proposals))
                    .order_by(Scene.id)
                ).all(),
                "tags": sorted(session.scalars(select(SceneTag.scene_id))),
                "performers": sorted(
                    session.execute(
                        select(ScenePerformer.scene_id, ScenePerformer.performer_id)
                    ).all()
                ),
                "markers": sorted(
                    session.execute(select(Marker.scene_id, Marker.seconds)).all()
                ),
            }

    def outcome(self, plan_id: int) -> dict[str, Any]:
        """Return what became of a plan, in Stash and here."""
        scenes, tags = self.live()
        markers = {m.id: m.seconds for s in scenes for m in s.scene_markers}
        with self.database.transaction() as session:
            plan = read_plan(session, plan_id)
            changes = [
                (c.scene_id, c.in_words, c.state, _named(c.effect, tags, markers))
                for c in plan_changes(session, plan_id)
            ]
        created = plan.facts["created_tags"]
        # A run that died may not have learned the id; undoing goes by the name then.
        assert {tags.get(i, n) for n, i in created.items()} == set(created)
        return {
            "library": _library(scenes, tags),
            "mirror": self.mirrored(),
            "plan": plan.state,
            "changes": changes,
            "created": sorted(created),
        }

    def check_before(self) -> None:
        """Make sure that all is as it was before any plan."""
        assert self.library() == self.before["library"]
        assert self.mirrored() == self.before["mirror"]


def _library(scenes: list[StashScene], tags: dict[int, str]) -> dict[str, Any]:
    plain = [_plain(scene, tags) for scene in scenes]
    return {"tags": sorted(tags.values()), "scenes": plain}


def _plain(scene: Any, tags: dict[int, str]) -> dict[str, Any]:
    facts = msgspec.to_builtins(scene)
    return {
        **{name: facts[name] for name in ("id", "title", "details", "studio")},
        "tags": sorted(tags[tag.id] for tag in scene.tags),
        "performers": sorted(p.id for p in scene.performers),
        "markers": sorted(
            (m.title, m.seconds, m.end_seconds, tags[m.primary_tag.id])
            for m in scene.scene_markers
        ),
    }


def _named(effect: Any, tags: dict[int, str], markers: dict[int, float]) -> Any:
    """Replace ids of what was created by names and seconds."""
    named = dict(effect or {})
    for key in ("id", "tag_id"):
        if key in named:
            named[key] = tags.get(named[key], named[key])
    if "marker_id" in named:
        named["marker_id"] = markers[named["marker_id"]]
    return named


@pytest.fixture
def inner() -> Iterator[httpx.HTTPTransport]:
    """Connections for all clients of a test."""
    transport = plain_transport()
    yield transport
    transport.close()


@pytest.fixture
def setting(
    stand_in: StandIn, database: Database, inner: httpx.HTTPTransport
) -> Setting:
    """Two scenes; a plan of every kind of change, some of which share a request."""
    first, second = (new_scene(stand_in, f"Scene {number}") for number in (1, 2))
    made = Setting(stand_in, database, {}, {}, inner)
    settings = StashSettings(url=stand_in.url)
    with made.client() as client:
        mine = client.create_tag("Mine").id
        old = client.create_tag("Old").id
        jade = create_performer(settings, "Jade Kush").id
        golden = create_studio(settings, "Golden Hour").id
        client.bulk_update_scenes([first, second], add_tag_ids=[old])
        sync(
            client,
            database,
            SyncParams(),
            Progress(),
            trigger="test",
            stabilize_seconds=0,
        )
    made.proposals = {
        first: [
            add_member("tags", mine, "Mine", 0.9, *MARK),
            add_member("tags", None, "Fresh", 0.9, *MARK),
            remove_member("tags", old, "Old", 0.9, *MARK),
            set_text("details", "", "Fine.", 0.9, *MARK),
            set_text("title", "Scene 1", "Better", 0.9, *MARK),
            add_marker(None, "Fresh", 5.0, 9.0, 0.9, *MARK),
        ],
        second: [
            add_member("tags", mine, "Mine", 0.9, *MARK),
            add_member("performers", jade, "Jade Kush", 0.9, *MARK),
            set_studio(golden, "Golden Hour", 0.9, *MARK),
            add_marker(mine, "Mine", 2.0, None, 0.9, *MARK),
        ],
    }
    made.before = {"library": made.library(), "mirror": made.mirrored()}
    return made


def disturbed(job: Callable[..., Any], *arguments: Any) -> None:
    with contextlib.suppress(StashHogError, KeyboardInterrupt, SystemExit):
        job(*arguments)


def clean(setting: Setting, chosen: Chosen) -> tuple[dict[str, Any], int, int]:
    """Return what clean runs come to, and how many requests they send."""
    plan_id = setting.plan()
    applying, undoing = (setting.transport(chosen=chosen) for _ in range(2))
    assert setting.apply(plan_id, applying).applied == 10
    outcome = setting.outcome(plan_id)
    assert outcome["plan"] == "applied"
    assert setting.undo(plan_id, undoing).undone == 10
    setting.check_before()
    return outcome, applying.count, undoing.count


def chosen_at(moment: Moment) -> Chosen:
    # A read that was answered before the fault has changed nothing.
    return changes_something if moment == "after" else any_request


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "killed"])
def test_fault_at_each_request(setting: Setting, fault: str, moment: Moment) -> None:
    """Nothing is lost, doubled, or undone in part, whatever the answer was."""
    chosen = chosen_at(moment)
    expected, applying, undoing = clean(setting, chosen)

    for at_apply, at_undo in itertools.zip_longest(in_turn(applying), in_turn(undoing)):
        plan_id = setting.plan()
        faulty = setting.transport(fault, moment, at_apply or 0, chosen)
        disturbed(setting.apply, plan_id, faulty)
        setting.apply(plan_id)
        assert setting.outcome(plan_id) == expected
        faulty = setting.transport(fault, moment, at_undo or 0, chosen)
        disturbed(setting.undo, plan_id, faulty)
        setting.undo(plan_id)
        setting.check_before()


@pytest.mark.parametrize("fault", ["page of a proxy", "time limit", "Ctrl-C"])
def test_undo_straight_after_a_fault(setting: Setting, fault: str) -> None:
    """What a lost answer has brought about is taken back without a further apply."""
    _, applying, _ = clean(setting, changes_something)

    for number in in_turn(applying):
        plan_id = setting.plan()
        faulty = setting.transport(fault, "after", number, changes_something)
        disturbed(setting.apply, plan_id, faulty)
        setting.undo(plan_id)
        setting.check_before()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_kill_at_each_request(
    setting: Setting, database_url: str, moment: Moment
) -> None:
    """After kill -9 the next run goes on; undoing likewise."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.support.plans"])
    chosen = chosen_at(moment)
    expected, applying, undoing = clean(setting, chosen)

    def killed(job: str, plan_id: int, at: int) -> None:
        transport = FaultyTransport("killed", moment, at, chosen)
        where = (setting.stash.url, database_url, plan_id, transport)
        child = processes.Process(target=job_until_killed, args=(job, *where))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        wait_until_unlocked(setting.database)

    for at_apply, at_undo in itertools.zip_longest(in_turn(applying), in_turn(undoing)):
        plan_id = setting.plan()
        if at_apply:
            killed("apply", plan_id, at_apply)
        setting.apply(plan_id)
        assert setting.outcome(plan_id) == expected
        if at_undo:
            killed("undo", plan_id, at_undo)
        setting.undo(plan_id)
        setting.check_before()
