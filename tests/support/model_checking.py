"""Model checks: histories of two runs, a person, and troubles, drawn at random."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

import httpx
import psycopg
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from sandbox.stash.server import StandIn
from stashhog_core.db.session import Database
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.conftest import UsedDatabase
from tests.support.disturbed import MortalDatabase, Run, Trouble

_WANTED = os.environ.get("STASHHOG_TEST_MODEL_EXAMPLES")


@dataclass(frozen=True)
class World:
    """What the histories of a model check happen in, one after another.

    Attributes:
        databases: One for each of two runs that may be under way at once.
        inner: What carries requests to Stash.
        observer: Sees what is committed.
        seen: How often what came about.
    """

    stand_in: StandIn
    used: UsedDatabase
    database: Database
    databases: list[MortalDatabase]
    inner: httpx.BaseTransport
    observer: psycopg.Connection
    seen: Counter[str]


@dataclass(kw_only=True)
class Begun:
    """A run that has begun.

    Attributes:
        holds: What no other run has in hand meanwhile: it is locked.
    """

    run: Run
    holds: frozenset[Any]


B = TypeVar("B", bound=Begun)


class History(RuleBasedStateMachine, Generic[B]):
    """A history whose steps all follow from one seed.

    Hypothesis repeats and varies parts of what it has drawn, and with a seed for each
    step most of its histories begin alike.
    """

    world: World

    def __init__(self) -> None:
        super().__init__()
        world = self.world
        self.stand_in, self.observer = world.stand_in, world.observer
        self.database, self.databases = world.database, world.databases
        self.seen = world.seen
        world.used.remove_rows()
        self.settings = StashSettings(url=self.stand_in.url)
        self.seed = self.steps = 0
        self.paused: dict[int, B] = {}
        """Which of the two databases → a run that pauses."""
        self.faults: list[str] = []

    @initialize(seed=st.integers(0, 2**64))
    def begin(self, seed: int) -> None:
        """Set up what the history begins with."""
        self.seed = seed
        self.set_up(self._chance())

    @rule()
    def step(self) -> None:
        """A run starts or goes on, or a person does something."""
        self.steps += 1
        chance = self._chance()
        self.time_passes(chance)
        steps = self.possible_steps()
        (chosen,) = chance.choices([*steps], [*steps.values()])
        note(f"{self.steps}: {chosen.__name__}")
        self.seen[chosen.__name__] += 1
        chosen(chance)

    def _chance(self) -> Random:
        return Random(f"{self.seed} {self.steps}")

    def set_up(self, chance: Random) -> None:
        """Set up what the history begins with."""
        raise NotImplementedError

    def time_passes(self, chance: Random) -> None:
        """Let time pass, or not, before a step."""

    def possible_steps(self) -> Mapping[Callable[[Random], None], float]:
        """Return what may happen next, each with a weight."""
        raise NotImplementedError

    def finish(self) -> None:
        """Judge the end of the history; all runs have ended."""
        raise NotImplementedError

    def teardown(self) -> None:
        """End every run, and judge the end."""
        try:
            while self.paused:
                _, begun = self.paused.popitem()
                begun.run.go_on()
                self._rests(begun)
            self.finish()
            self.seen["histories"] += 1
        finally:
            for begun in self.paused.values():
                begun.run.go_on(then="killed")

    # --- runs --------------------------------------------------------------------

    def client(self) -> StashClient:
        """Return a client of Stash that no trouble befalls."""
        # Such a run as transport leaves the connections open.
        run = Run(self.databases[0], self.world.inner, on_read=self.has_read)
        return StashClient(self.settings, run)

    def new_run(self, **given: Any) -> Run:
        """Return a run on a free database, to be started."""
        (index, *_) = {0, 1} - self.paused.keys()
        run = Run(self.databases[index], self.world.inner, **given)
        run.on_read = self.has_read
        return run

    def start(self, begun: B, work: Callable[[StashClient, Database], Any]) -> None:
        """Let a run work until its end, or until it pauses."""

        def with_client(run: Run) -> None:
            with StashClient(self.settings, run, retry_delays_seconds=()) as client:
                work(client, run.database)

        run = begun.run
        note(f"{begun.holds}: {run.trouble} at {run.at}, then {run.then}")
        run.start(with_client)
        self._rests(begun)

    def go_on(self, chance: Random) -> None:
        """A run that paused goes on, or dies where it was."""
        begun = self.paused.pop(chance.choice(sorted(self.paused)))
        then: Trouble = chance.choice(("killed", "", ""))
        note(f"{begun.holds} goes on {then}")
        begun.run.go_on(then=then)
        self._rests(begun)

    def _rests(self, begun: B) -> None:
        if begun.run.paused:
            self.paused[self.databases.index(begun.run.database)] = begun
        else:
            self.ended(begun)

    def ended(self, begun: B) -> None:
        """Judge a run that has ended."""
        run = begun.run
        note(f"{begun.holds} ended: {run.error!r} after {run.steps} steps")
        self.seen.update(run.happened)
        if not run.ended_as_expected:
            raise AssertionError("no run ends like this") from run.error
        if self.faults:
            raise AssertionError(self.faults)

    def has_read(self, request: str) -> None:
        """Note that somebody has read from Stash."""

    def has_written(self, begun: B, what: str = "a commit") -> None:
        """See that a run whose lock another one has got writes nothing more."""
        if begun.run.is_replaced:
            self.faults.append(f"{what} after the lock was lost to another run")
        for other in self.paused.values():
            if other.run.has_lost_lock and begun.holds & other.holds:
                other.run.is_replaced = True


def draw(
    history: type[History[Any]], world: World, histories: int, steps: int, **given: Any
) -> None:
    """Draw histories: in `make test` the same each time, in `make model` many others.

    Args:
        history: What a history is.
        world: What the histories happen in.
        histories: Number of histories in `make test`.
        steps: Largest number of steps of a history.
        given: Further attributes of the class.
    """
    machine = type("Machine", (history,), {"world": world, **given})
    drawn = settings(
        max_examples=int(_WANTED or histories),
        stateful_step_count=steps,
        derandomize=_WANTED is None,
        database=None,
        # A history is short, and to find a shorter one that fails takes minutes.
        phases=[Phase.generate],
        report_multiple_bugs=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=drawn)
    print(dict(world.seen))
