"""Runs that a worker makes, while parts of `stashhog up` are killed.

What is killed, and at which request of the run to Stash, is drawn. A further run
follows that nobody disturbs. Prefect takes a killed run for dead after three
heartbeats, and the next one waits for that, so a history takes minutes, in which the
processors rest. A history can be played again by its number:
`STASHHOG_TEST_CHAOS_FIRST=17 STASHHOG_TEST_CHAOS_SERVICES=1 make chaos`.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from sandbox.samples import Sample
from sandbox.stash.faults import nothing
from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.session import Database
from stashhog_core.detection.result_cache import RawOutput, store_outputs
from stashhog_core.settings import PREFIX, get_settings
from tests.chaos.test_chaos import FIRST, RUNS
from tests.conftest import copy_cluster, postgres_home
from tests.support.end_state import differences, end_state
from tests.support.locks import wait_until_unlocked
from tests.support.prefect import processes_of
from tests.support.processes import kill_all, postmaster, processes
from tests.support.services import (
    FEW_SAMPLES,
    RunningServices,
    Services,
    prepared_services,
)
from tests.workflow.conftest import stored_title_cards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]

HISTORIES = int(os.environ.get("STASHHOG_TEST_CHAOS_SERVICES", max(1, RUNS // 10)))
JOB = "process_new_scenes/process-new-scenes"
RUN, DATABASE = "run", "database"
"""Victims besides the parts of `up`."""

VICTIMS = (
    (RUN,),
    ("worker",),
    ("worker", RUN),
    ("supervisor",),
    ("supervisor", "worker", RUN),
    ("server",),
    ("server", RUN),
    (DATABASE,),
    ("supervisor", "server", "worker", "pages", RUN, DATABASE),
)
"""What may be killed at once."""

MOST_KILLS = 2
_OVER = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


@dataclass
class Killer:
    """Counts the requests to Stash; kills before one of them is carried out.

    Args:
        number: Of this request, from 1; 0: none.
        victims: Returns what is killed there.
    """

    number: int
    victims: Callable[[], list[psutil.Process]]
    count: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, _fields: set[str]) -> None:
        with self._lock:
            self.count += 1
            if self.count == self.number:
                kill_all(self.victims())


@dataclass(frozen=True)
class History:
    """The services of one history, which run.

    Attributes:
        up: The parts of `stashhog up`, and the stand-in Stash.
        database: Its embedded database.
        samples: The downloads.
    """

    up: RunningServices
    database: Database
    samples: list[Sample]

    def run(self) -> str:
        """Have the worker make a run; return the name of its last state."""
        return self._end_of(self._start())

    def run_and_kill(self, names: tuple[str, ...], number: int) -> str:
        """Have a run made, kill at one of its requests, and mend the parts.

        Returns:
            What happened.
        """
        run = ""
        killer = Killer(number, lambda: self._victims(names, run))
        self.up.stash.faults.on_request = killer
        run = self._start()
        self.up.wait_until(
            lambda: killer.count >= number or self._is_over(run), f"request {number}"
        )
        self.up.stash.faults.on_request = nothing
        if "supervisor" in names:
            again = self.up.command("stashhog", "up")
            assert again.returncode == 0, again.stderr + self.up.logs()
        self.up.wait_until_well()
        state = self._end_of(run)
        self.up.wait_until(lambda: not processes_of(run), "the end of its processes")
        return f"{' and '.join(names)} killed at request {number}: {state}"

    def end_state(self) -> dict[str, Any]:
        """Return what the runs have left behind, in Prefect too."""
        services = Services(
            self.up.stash, self.up.downloads, self.up.stash.library, self.samples
        )
        wanted = {"flow_runs": {"state": {"type": {"not_any_": _OVER}}}}
        left = self.up.ask("POST", "/flow_runs/filter", wanted)
        return {
            **end_state(services, self.database),
            "runs that are not over": [
                (run["name"], run["state"]["name"])
                for run in left
                if run["state"]["type"] != "SCHEDULED"
            ],
        }

    def _start(self) -> str:
        return self.up.start(JOB, {"batch_size": 1})

    def _end_of(self, run: str) -> str:
        return str(self.up.wait_for_end(run)["state"]["name"])

    def _is_over(self, run: str) -> bool:
        return self.up.ask("GET", f"/flow_runs/{run}")["state"]["type"] in _OVER

    def _victims(self, names: tuple[str, ...], run: str) -> list[psutil.Process]:
        found = processes(
            number for name, number in self.up.pids().items() if name in names
        )
        if RUN in names:
            found += processes_of(run)
        if DATABASE in names:
            server = postmaster(self.up.home)
            found += [server, *server.children()]
        return found


class Histories:
    """Makes the services of each history, and knows what an undisturbed run does.

    Args:
        cluster: The files of an embedded server with both databases.
        videos: The folder of the downloads, and what they are.
        folder: Where the services keep their files.
    """

    def __init__(
        self, cluster: Path, videos: tuple[Path, list[Sample]], folder: Path
    ) -> None:
        self._cluster = cluster
        self._videos = videos
        self._folder = folder
        # Title cards that an undisturbed run has read need not be read again.
        self._readings: list[RawOutput] = []
        self._undisturbed: tuple[int, dict[str, Any]] | None = None

    @contextmanager
    def new(self) -> Iterator[History]:
        """Start the services of a history."""
        made, samples = self._videos
        with (
            postgres_home() as home,
            pytest.MonkeyPatch.context() as patch,
            ExitStack() as at_last,
        ):
            copy_cluster(self._cluster, home)
            at_last.callback(shutil.rmtree, self._folder)
            up = at_last.enter_context(prepared_services(home, self._folder))
            up.add_downloads(made)
            database = Database(start_embedded(home))
            at_last.callback(database.close)
            for name, value in up.variables.items():
                if name.startswith(PREFIX):
                    patch.setenv(name, value)
            get_settings.cache_clear()
            with database.transaction() as session:
                store_outputs(session, self._readings)
            started = up.command("stashhog", "up")
            assert started.returncode == 0, started.stderr + up.logs()
            up.wait_until_well()
            few = [sample for sample in samples if sample.path.name in FEW_SAMPLES]
            yield History(up, database, few)

    def undisturbed(self) -> tuple[int, dict[str, Any]]:
        """Return how many requests a run makes that nothing disturbs, and its end."""
        if self._undisturbed is None:
            with self.new() as history:
                counter = Killer(0, list)
                history.up.stash.faults.on_request = counter
                assert history.run() == "CompletedWithErrors"
                count = counter.count
                self._undisturbed = count, history.end_state()
                self._readings += stored_title_cards(history.database)
        return self._undisturbed


@pytest.fixture(scope="module")
def histories(
    migrated_cluster: Path,
    sample_videos: tuple[Path, list[Sample]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Histories:
    """The histories of this file."""
    folder = tmp_path_factory.getbasetemp() / "services"
    return Histories(migrated_cluster, sample_videos, folder)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + HISTORIES))
def test_parts_may_be_killed_while_a_worker_runs_the_job(
    seed: int, histories: Histories
) -> None:
    """Whatever part dies, after one more run the end is that of a clean run."""
    count, clean = histories.undisturbed()
    chance = Random(seed)
    with histories.new() as history:
        lines = []
        for _ in range(chance.randint(1, MOST_KILLS)):
            victims = chance.choice(VICTIMS)
            lines.append(history.run_and_kill(victims, chance.randint(1, count)))
        print("\n".join(lines))
        last = history.run()
        wait_until_unlocked(history.database)
        found = differences(clean, history.end_state())
        if found:
            pytest.fail("\n".join([*lines, f"at last: {last}", *found]))
