"""Histories of apply and undo: two runs, a person who edits in Stash, and troubles.

Whatever the order, nothing that the person did is lost or overwritten, each change is
in the state that Stash shows, and undo leaves what Stash would have without StashHog.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import note
from hypothesis.stateful import invariant

from sandbox.stash.editing import (
    destroy_markers,
    destroy_scenes,
    update_marker,
    update_scene,
    update_scenes,
)
from sandbox.stash.naming import create, destroy, update
from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError
from stashhog_core.params import (
    ApplyPlanParams,
    ReviewPlanParams,
    UndoParams,
    VerifyMirrorParams,
)
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.decisions import decide, take_back
from stashhog_core.plans.proposals import (
    BoxIdValue,
    MarkerValue,
    NamedValue,
    Proposal,
    TextValue,
    Value,
    add_marker,
    add_member,
    add_url,
    read_value,
    remove_member,
    set_text,
)
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.verify import verify_mirror
from tests.support import sync
from tests.support.disturbed import Run, Trouble, wait_for_locks
from tests.support.model_checking import Begun, History, World, draw
from tests.support.person import (
    ENTITIES,
    ONE_VALUED,
    Fact,
    Key,
    Person,
    begin_again,
    entities_of,
    facts_of,
    key_of,
    used,
)
from tests.support.plans import plan_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

MARK = (0.9, "test", {"rule": "seen"})
BOX = "https://box.example/graphql"
MINE, OLD, OUTDOOR = 1, 2, 3
JADE, GOLDEN, SILVER = 1, 1, 2
MOST_PLANS = 3


def nova() -> Proposal:
    """Propose a performer whom Stash does not have: a stash-box knows her."""
    value = NamedValue(None, "Nova Starr", BoxIdValue(BOX, "nova"))
    return Proposal("performers", "add", None, value, *MARK)


def studio(was: Any, studio_id: int, name: str) -> Proposal:
    """Propose another studio."""
    base = NamedValue(was, "before") if was else None
    return Proposal("studio", "set", base, NamedValue(studio_id, name), *MARK)


def proposals(kind: int, now: dict[Key, Any]) -> dict[int, list[Proposal]]:
    """Return what one of three plans proposes for the values that scenes have now."""
    title, details = now.get(("title", 1), ""), now.get(("details", 1), "")
    fresh = add_member("tags", None, "Fresh", *MARK)
    match kind:
        case 0:
            return {
                1: [
                    add_member("tags", MINE, "Mine", *MARK),
                    fresh,
                    remove_member("tags", OLD, "Old", *MARK),
                    set_text("title", title, "Better", *MARK),
                    set_text("details", details, "Fine.", *MARK),
                    add_marker(None, "Fresh", 5.0, 9.0, *MARK),
                ],
                2: [
                    add_member("tags", MINE, "Mine", *MARK),
                    add_member("performers", JADE, "Jade Kush", *MARK),
                    nova(),
                    studio(now.get(("studio", 2)), GOLDEN, "Golden Hour"),
                ],
            }
        case 1:
            # Two names of one tag are two changes and one tag in Stash.
            names = ("Outdoor", "Open Air")
            one_tag = [add_member("tags", None, name, *MARK) for name in names]
            return {
                1: [fresh, set_text("title", title, "Best", *MARK), nova(), *one_tag],
                2: [fresh, add_url("https://films.example/2", *MARK)],
            }
        case _:
            return {1: [fresh], 2: [add_marker(MINE, "Mine", 2.0, None, *MARK)]}


Disturbance = tuple[Trouble, int]
"""What happens to a run, and before which of its steps."""

UNDISTURBED: Disturbance = ("", 0)
TROUBLES: tuple[Trouble, ...] = (
    *("killed", "killed", "lost", "lost", "paused", "paused", "paused"),
    *("not sent", "refused", "Ctrl-C", "lock lost", "lock lost", ""),
)
# The first steps come in every run.
STEPS = (1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9, 10, 12, 14)
READS_PER_STEP = 4
"""About so many moments without a transaction come by while a run makes a step."""

# The person's edits: (what, where, value).
EDITS: list[tuple[str, int, Any]] = [
    ("title", 1, "My words"),
    ("title", 1, "Scene 1"),
    ("details", 1, "My words"),
    ("studio_id", 2, SILVER),
    ("studio_id", 2, None),
    ("add tag", 1, OUTDOOR),
    ("add tag", 1, OLD),
    ("add tag", 1, MINE),
    ("remove tag", 1, MINE),
    ("remove tag", 1, OLD),
    ("add named", 2, "Fresh"),
    ("remove named", 1, "Fresh"),
    ("describe tag", 0, "Fresh"),
    ("rename tag", 0, "Fresh"),
    ("create tag", 0, "Fresh"),
    ("destroy tag", 0, "Fresh"),
    ("destroy tag", 0, "Mine"),
    ("remove performer", 2, JADE),
    ("describe performer", 0, "Nova Starr"),
    ("destroy performer", 0, "Nova Starr"),
    ("rename marker", 0, None),
    ("destroy marker", 0, None),
    ("destroy scene", 2, None),
]


@dataclass(frozen=True)
class Change:
    """A change of a plan, as the database has it."""

    plan_id: int
    id: int
    scene_id: int
    field: str
    action: str
    state: str
    base: Any
    proposed: Any
    effect: dict[str, Any] | None

    @property
    def value(self) -> Value:
        """What is proposed."""
        return read_value(self.proposed)

    @property
    def is_unknown(self) -> bool:
        """Whether Stash may have it without a record of that."""
        return self.state in ("approved", "failed") and bool(
            self.effect and self.effect.get("intended")
        )


@dataclass(kw_only=True)
class PlanRun(Begun):
    """A run that applies or undoes plans.

    Attributes:
        resolves: Plans of whose undo nothing is unknown once it has ended well.
    """

    resolves: Collection[int]


class ApplyAndUndo(History[PlanRun]):
    """Two scenes, up to three plans, two runs, a person, and every kind of trouble."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.stand_in.store
        begin_again(self.store, 2)
        update_scenes(
            self.store, {"ids": ["1"], "tag_ids": {"ids": [str(OLD)], "mode": "ADD"}}
        )
        self.person = Person(self.store)
        self.facts = set(self.person.facts)
        self.plans: list[int] = []
        self.unresolved: set[int] = set()
        """Plans with an undo that did not end well: what it undid may be unrecorded."""
        self.contested: set[Key] = set()
        """What two runs of different plans had in hand at once."""
        self.is_applied_first = self.is_mirrored = False

    def set_up(self, chance: Random) -> None:
        """Mirror the library or not, and make a plan of it."""
        self.is_applied_first = chance.random() < 0.5
        self.is_mirrored = chance.random() < 0.3
        if self.is_mirrored:
            self._sync()
        self._propose(chance.choice((0, 0, 1, 2)), "approved")

    # --- runs --------------------------------------------------------------------

    def _run(
        self,
        work: Callable[[StashClient, Database], Any],
        plan_ids: Collection[int],
        disturbance: Disturbance,
        resolves: Collection[int] = (),
    ) -> Run:
        """Start a run that holds these plans."""
        trouble, at = disturbance
        run = self.new_run(trouble=trouble, at=at)
        begun = PlanRun(run=run, holds=frozenset(plan_ids), resolves=resolves)
        run.on_change = partial(self._has_changed, begun)
        run.on_commit = partial(self.has_written, begun)
        if trouble == "lock lost":
            run.counts_reads = True
            run.at *= READS_PER_STEP
        self.start(begun, work)
        return run

    def ended(self, begun: PlanRun) -> None:
        """Judge a run that has ended."""
        super().ended(begun)
        if begun.run.error is None:
            self.unresolved -= set(begun.resolves)

    def _apply(self, plan_id: int, disturbance: Disturbance = UNDISTURBED) -> Run:
        def work(client: StashClient, database: Database) -> None:
            apply_plan(
                client,
                database,
                ApplyPlanParams(plan_id=plan_id),
                Progress(),
                create_missing_tags=True,
                pauses_seconds=(0,),
            )

        return self._run(work, [plan_id], disturbance)

    def _undo(
        self,
        plan_ids: Collection[int],
        disturbance: Disturbance = UNDISTURBED,
        **which: Any,
    ) -> Run:
        def work(client: StashClient, database: Database) -> None:
            params = UndoParams(**which)
            undo(client, database, params, Progress(), pauses_seconds=(0,))

        # What an undo that died has undone is recorded by the next one alone.
        is_whole = "plan_id" in which
        resolves = set(plan_ids) - (set() if is_whole else self.unresolved)
        if not self._pausing() & set(plan_ids):
            self.unresolved |= set(plan_ids)
        return self._run(work, plan_ids, disturbance, resolves)

    def possible_steps(self) -> Mapping[Callable[[Random], None], float]:
        """Return what may happen next."""
        steps: dict[Callable[[Random], None], float] = {self.edit: 2, self.decide: 1}
        if len(self.paused) < 2:
            steps |= {self.run_job: 5, self.undo_part: 1}
        if self.paused:
            steps[self.go_on] = 3
        if len(self.plans) < MOST_PLANS:
            steps[self.propose] = 1
        return steps

    def run_job(self, chance: Random) -> None:
        """A run applies or undoes a plan, and something may happen to it."""
        # Of the newest plan most is still to be done.
        plan_id = chance.choice([*self.plans, self.plans[-1]])
        disturbance = chance.choice(TROUBLES), chance.choice(STEPS)
        job = chance.choice(("apply", "apply", "undo"))
        note(f"{job} plan {plan_id}: {disturbance}")
        if job == "apply":
            self._apply(plan_id, disturbance)
        else:
            self._undo([plan_id], disturbance, plan_id=plan_id)

    def undo_part(self, chance: Random) -> None:
        """A run undoes one change, or what was applied to one scene."""
        changes = self._changes()
        applied = [c for c in changes if c.state == "applied"]
        if not applied:
            return
        chosen = chance.choice(applied)
        of_scene = [
            c
            for c in changes
            if c.scene_id == chosen.scene_id and (c.state == "applied" or c.is_unknown)
        ]
        if chance.random() < 0.5:
            note(f"undo scene {chosen.scene_id}")
            plan_ids = {change.plan_id for change in of_scene}
            self._undo(plan_ids, scene_id=chosen.scene_id)
        else:
            note(f"undo change {chosen.id}")
            self._undo([chosen.plan_id], change_ids=[chosen.id])

    # --- people ------------------------------------------------------------------

    def propose(self, chance: Random) -> None:
        """A run makes one more plan of what Stash has now."""
        self._propose(chance.randrange(3), chance.choice(("approved", "pending")))

    def _propose(self, kind: int, state: str) -> None:
        note(f"propose {kind}, {state}")
        now = {key_of(f): f[2] for f in self.facts if f[0] in ONE_VALUED}
        scenes = {f[1] for f in self.facts if f[0] == "scene"}
        made = {s: p for s, p in proposals(kind, now).items() if s in scenes}
        self.plans.append(plan_of(self.database, made, state))

    def decide(self, chance: Random) -> None:
        """A person decides on a plan or a change, or takes the last decision back."""
        plan_id = chance.choice(self.plans)
        decision = chance.choice(("accept", "accept", "reject", "take back"))
        number = chance.choice((None, chance.randrange(10)))
        note(f"{decision} plan {plan_id}, change {number}")
        with suppress(StashHogError), self.database.transaction() as session:
            if decision == "take back":
                take_back(session, plan_id)
                return
            changes = self._changes([plan_id])
            given: dict[str, Any] = {}
            if number is not None and changes:
                given["change_ids"] = [changes[number % len(changes)].id]
            decide(
                session, ReviewPlanParams(plan_id=plan_id, decision=decision, **given)
            )

    def edit(self, chance: Random) -> None:
        """The person makes one of the edits that are possible now."""
        possible = []
        for what, where, value in EDITS:
            change, made = self._edit(what, where, value)
            if change is not None and not any(map(self._is_in_hand, made)):
                possible.append((f"{what} {value}", change))
        name, change = chance.choice(possible)
        note(f"edit: {name}")
        self.person.edit(change)
        self._leave_to_plans(facts_of(self.store) - self.facts)
        self.facts = facts_of(self.store)
        self.seen[name] += 1

    def _leave_to_plans(self, added: set[Fact]) -> None:
        """Take what a plan has added for the plan's, though a person adds it again.

        Nothing in Stash shows that the person had removed it.
        """
        for change in self._changes():
            if change.state == "applied" and change.action == "add":
                fact = _fact_of(change)
                if fact in added:
                    self.person.facts.discard(fact)
                    self.person.touched.discard(key_of(fact))

    def _edit(
        self, what: str, scene: int, value: Any
    ) -> tuple[Callable[[], object] | None, Sequence[Fact]]:
        """Return how to make an edit, and the facts that it makes true or ends.

        None: the edit would change nothing, or Stash refuses it.
        """
        verb, _, kind = what.partition(" ")
        nothing: tuple[None, list[Fact]] = (None, [])
        if verb in ("title", "details", "studio_id"):
            field = verb.removesuffix("_id")
            fact = _fact(field, scene, value)
            is_there = any(f[:2] == (field, scene) for f in self.facts)
            if not is_there or fact in self.facts:
                return nothing
            return partial(update_scene, self.store, {"id": str(scene), verb: value}), [
                fact
            ]
        if verb == "destroy" and kind == "scene":
            if _fact("scene", scene) not in self.facts:
                return nothing
            return partial(destroy_scenes, self.store, [str(scene)], {}), []
        if kind == "marker":
            markers = sorted(f for f in self.facts if f[0] == "markers")
            if not markers:
                return nothing
            marker_id = str(markers[-1][2])
            if verb == "destroy":
                return partial(destroy_markers, self.store, [marker_id]), []
            given = {"id": marker_id, "title": "My marker"}
            return partial(update_marker, self.store, given), []
        ids = {f[2]: f[1] for f in self.facts if f[0] == "performer"}
        field = "performers"
        if kind != "performer":
            ids = {f[2]: f[1] for f in self.facts if f[0] == "tag"}
            field = "tags"
        if verb == "create":
            if value in ids or value in self._created()[1]:
                return nothing
            return partial(create, self.store, "tag", {"name": value}), []
        member_id = ids.get(value) if isinstance(value, str) else value
        if member_id not in ids.values():
            return nothing
        if verb in ("add", "remove"):
            fact = _fact(field, scene, member_id)
            is_there = _fact("scene", scene) in self.facts
            if not is_there or (fact in self.facts) == (verb == "add"):
                return nothing
            name = {"tags": "tag_ids", "performers": "performer_ids"}[field]
            change = {"ids": [str(member_id)], "mode": verb.upper()}
            return partial(
                update_scenes, self.store, {"ids": [str(scene)], name: change}
            ), [fact]
        if verb == "destroy":
            marked = {f[6] for f in self.facts if f[0] == "markers"}
            if kind == "tag" and member_id in marked:
                return nothing
            return partial(destroy, self.store, kind, [str(member_id)]), []
        words = "description" if kind == "tag" else "details"
        given = {"name": "My name"} if verb == "rename" else {words: "My words"}
        if verb == "rename" and "My name" in ids:
            return nothing
        return partial(update, self.store, kind, {"id": str(member_id), **given}), []

    def _is_in_hand(self, fact: Fact) -> bool:
        """Tell whether nobody could say whose edit this is.

        A run pauses that may have looked already, or a request for the same edit has an
        unknown outcome and may still be carried out.
        """
        ends = "remove" if fact in self.facts else "add set"
        return any(
            change.action in ends and self._is_about(change, fact)
            for change in self._maybe()
        )

    def _maybe(self) -> list[Change]:
        """Return the changes that Stash may have or not, whatever their state."""
        plans = self._pausing() | self.unresolved
        scenes = {fact[1] for fact in self.facts if fact[0] == "scene"}
        return [
            change
            for change in self._changes()
            if (change.plan_id in plans or change.is_unknown)
            and change.scene_id in scenes
        ]

    def _pausing(self) -> set[int]:
        """Return the plans of runs that pause."""
        return {plan_id for begun in self.paused.values() for plan_id in begun.holds}

    # --- what must hold ------------------------------------------------------------

    def _changes(self, plan_ids: Collection[int] | None = None) -> list[Change]:
        """Return the changes of these plans; None: of all."""
        rows = self.observer.execute(
            "SELECT plan_id, id, scene_id, field, action, state, base, proposed, "
            "effect FROM plan_change WHERE plan_id = ANY(%s) ORDER BY id",
            [list(self.plans if plan_ids is None else plan_ids)],
        )
        return [Change(*row) for row in rows]

    def _created(self) -> tuple[set[Key], set[str]]:
        """Return what plans say to have created, and the names of what they may have.

        Of the latter nobody knows whether Stash has them.
        """
        sure: set[Key] = set()
        unsure: set[str] = set()
        for (facts,) in self.observer.execute("SELECT facts FROM analysis_plan"):
            made = [
                *(("tag", n, i) for n, i in facts.get("created_tags", {}).items()),
                *(
                    (row["kind"], row["name"], row["id"])
                    for row in facts.get("created_objects", {}).values()
                ),
            ]
            sure |= {(kind, id_) for kind, _, id_ in made if id_ is not None}
            unsure |= {name for _, name, id_ in made if id_ is None}
        return sure, unsure

    def _has_changed(self, begun: PlanRun, request: str) -> None:
        """Judge a change that a run has made in Stash."""
        self.has_written(begun, request)
        after = facts_of(self.store)
        gone, new = self.facts - after, after - self.facts
        keys = {key_of(f) for f in gone | new}
        changes = self._changes(begun.holds)
        for fact in gone & self.person.facts:
            if fact[0] in ONE_VALUED:
                if not any(self._may_replace(c, fact) for c in changes):
                    self.faults.append(f"{request} overwrote {fact}")
            elif not any(
                c.action == "remove" and self._is_about(c, fact) for c in changes
            ):
                self.faults.append(f"{request} removed {fact}")
        for fact in gone:
            if fact[0] in ENTITIES and key_of(fact) in used(self.facts):
                self.faults.append(f"{request} removed {fact}, which is in use")
        others = self._changes(self._pausing() - begun.holds)
        for fact in gone | new:
            if any(self._is_about(c, fact) for c in others):
                self.contested.add(key_of(fact))
        self.person.covered |= self.person.touched & keys
        back = {key_of(f) for f in new & self.person.facts} & self.person.covered
        self.person.touched -= keys - back
        self.person.touched |= back
        self.facts = after

    def _may_replace(self, change: Change, fact: Fact) -> bool:
        """Tell whether a change is about a value that is replaced."""
        if (change.field, change.scene_id) != (fact[0], fact[1]):
            return False
        base = change.base
        was = base if not isinstance(base, dict) else base["id"]
        return (was or None) == (fact[2] or None) or bool(
            change.effect and change.effect.get("after") == fact[2]
        )

    def _is_about(self, change: Change, fact: Fact) -> bool:
        """Tell whether a fact may be the doing of a change."""
        if (change.field, change.scene_id) != (fact[0], fact[1]):
            return False
        value = change.value
        if isinstance(value, NamedValue):
            if fact[0] == "studio":
                return True
            effect = change.effect or {}
            kind = {"tags": "tag", "performers": "performer"}[fact[0]]
            names = {f[1]: f[2] for f in self.facts | self.person.facts if f[0] == kind}
            return fact[2] in (value.id, effect.get("id")) or (
                names.get(fact[2]) == value.name
            )
        if isinstance(value, MarkerValue):
            effect = change.effect or {}
            return effect.get("marker_id") == fact[2] or value.seconds == fact[4]
        if isinstance(value, TextValue) and fact[0] == "urls":
            return value.text == fact[2]
        return True

    def _expected(self) -> tuple[set[Fact], Counter[Key]]:
        """Return what Stash should have, and how many plans claim to have made it."""
        facts = set(self.person.facts)
        claims: dict[Key, set[int]] = {}
        have = {key_of(f) for f in self.facts if f[0] in ENTITIES}
        scenes = {f[1] for f in facts if f[0] == "scene"}
        for change in self._changes():
            if change.state != "applied" or change.scene_id not in scenes:
                continue
            fact = _fact_of(change)
            key = key_of(fact)
            claims.setdefault(key, set()).add(change.plan_id)
            if key in self.person.touched or not entities_of(fact) <= have:
                continue
            if change.action == "remove":
                facts.discard(fact)
            else:
                facts = {f for f in facts if key_of(f) != key} | {fact}
        return facts, Counter({key: len(plans) for key, plans in claims.items()})

    def _check(self, *, is_over: bool = False) -> None:
        """Compare Stash with what the person and the changes' states say."""
        expected, claims = self._expected()
        maybe = self._maybe()
        assert not (is_over and maybe), maybe
        created, perhaps = self._created()
        needed = used(expected)
        for fact in self.facts ^ expected:
            key = key_of(fact)
            if key in self.contested or claims[key] > 1:
                continue
            if any(self._is_about(change, fact) for change in maybe):
                continue
            if fact[0] in ENTITIES and fact in self.facts:
                kind = fact[0].removesuffix(" named"), fact[1]
                if kind in created or fact[2] in perhaps or key in needed:
                    continue
            where = "is" if fact in self.facts else "is not"
            raise AssertionError(f"{fact} {where} in Stash: {self._changes()}")

    @invariant()
    def states_are_what_stash_shows(self) -> None:
        """Each change, and each tag or performer, is accounted for."""
        self._check()

    def finish(self) -> None:
        """Run each job once undisturbed, and compare."""
        if self.is_applied_first:
            for plan_id in self.plans:
                run = self._apply(plan_id)
                # Nothing of a plan is open if all of it was rejected.
                if run.error is not None and "was cancelled" not in str(run.error):
                    raise AssertionError("no clean apply") from run.error
            self._check()
            assert self._maybe() == [] or self.unresolved
        # Twice: a value may be another plan's until that one is undone.
        self._undo_all()
        if self._maybe() or any(c.state == "applied" for c in self._changes()):
            self._undo_all()
        self._check(is_over=True)
        mine = self.person.facts
        assert self.facts == mine | {
            fact for fact in self.facts if key_of(fact) in used(mine)
        }
        if self.is_mirrored:
            self._check_mirror()
        wait_for_locks(self.database, 0)

    def _undo_all(self) -> None:
        for plan_id in reversed(self.plans):
            run = self._undo([plan_id], plan_id=plan_id)
            if run.error is not None:
                raise AssertionError("no clean undo") from run.error

    def _sync(self) -> None:
        # An edit in the second of a sync is found by the next one only.
        clock = self.stand_in.clock
        clock.offset += timedelta(minutes=1)
        with self.client() as client:
            sync.run(client, self.database)
        clock.offset += timedelta(minutes=1)

    def _check_mirror(self) -> None:
        self._sync()
        with self.client() as client:
            params = VerifyMirrorParams()
            found = verify_mirror(client, self.database, params, Progress())
        assert found.differences == 0, found


def _fact(*parts: Any) -> Fact:
    return parts + (None,) * (7 - len(parts))


def _fact_of(change: Change) -> Fact:
    """Return what an applied change has made true, or has ended."""
    value, effect = change.value, change.effect or {}
    if isinstance(value, MarkerValue):
        at = (value.seconds, value.end_seconds)
        marker = (effect["marker_id"], value.title, *at, effect["tag_id"])
        return _fact("markers", change.scene_id, *marker)
    if isinstance(value, TextValue):
        return _fact(change.field, change.scene_id, value.text)
    made = effect["after"] if change.field == "studio" else effect["id"]
    return _fact(change.field, change.scene_id, made)


def test_apply_and_undo(world: World) -> None:
    """Whatever happens in whatever order, the person's library is left in the end."""
    draw(ApplyAndUndo, world, 40, 10)
    assert world.seen.keys() >= set(TROUBLES) - {""}
