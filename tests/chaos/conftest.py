"""Rounds of chaos: services that are new each time, and an undisturbed run."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from sandbox.samples import Sample
from sandbox.stash.server import StandIn
from stashhog_core.db.models import DownloadItem, TaggerResult
from stashhog_core.db.session import Database
from stashhog_core.detection.result_cache import RawOutput, store_outputs
from stashhog_core.settings import PREFIX
from tests.conftest import UsedDatabase
from tests.support.chaos import Disturbance, Outcome, Point, Setting, run
from tests.support.chaos_table import table
from tests.support.end_state import end_state
from tests.support.outside import Outside
from tests.support.services import Services, sample_services
from tests.workflow.conftest import prefect_api, prefect_database

__all__ = ["prefect_api", "prefect_database"]

PARAMETERS = {"batch_size": 3}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show at the end of `make chaos` which points were disturbed."""
    reports = [r for found in terminalreporter.stats.values() for r in found]
    # The report of each phase of a test has the properties of those before.
    calls = [r for r in reports if getattr(r, "when", "") == "call"]
    lines = table(note for report in calls for note in report.user_properties)
    if lines:
        terminalreporter.section("points of the main job")
        terminalreporter.write_line("\n".join(lines))


@dataclass(frozen=True)
class Round:
    """Downloads, a stand-in Stash and an empty database for the runs of one history."""

    services: Services
    database: Database
    setting: Setting
    outside: Outside

    def run(self, disturbance: Disturbance | None = None) -> Outcome:
        """Run the main job in a process of its own."""
        return run(self.setting, disturbance, self.outside)

    def let_time_pass(self) -> None:
        """Make all files due that a later run is to try again."""
        with self.database.transaction() as session:
            session.execute(
                update(DownloadItem)
                .where(DownloadItem.next_try_at.is_not(None))
                .values(next_try_at=func.now())
            )

    def end_state(self) -> dict[str, Any]:
        """Return what the runs have left behind."""
        return end_state(self.services, self.database)


@dataclass(frozen=True)
class Undisturbed:
    """What a run does that nothing disturbs, and what it leaves behind."""

    points: Counter[Point]
    end_state: dict[str, Any]
    readings: list[RawOutput]


NewRound = Callable[[list[RawOutput]], AbstractContextManager[Round]]


@pytest.fixture(scope="session")
def new_round(
    used_database: UsedDatabase,
    postgres_files: Path,
    prefect_api: str,
    sample_videos: tuple[Path, list[Sample]],
    tmp_path_factory: pytest.TempPathFactory,
) -> NewRound:
    """Makes the services of a round, whose result cache has what was read before."""

    @contextmanager
    def made(readings: list[RawOutput]) -> Iterator[Round]:
        # The same for all rounds: the ends of their histories are compared.
        folder = tmp_path_factory.getbasetemp() / "round"
        (folder / "library").mkdir(parents=True)
        with (
            pytest.MonkeyPatch.context() as patch,
            StandIn(folder / "stash", folder / "library") as stand_in,
        ):
            stand_in.faults.item_seconds = 0
            services = sample_services(
                stand_in, used_database.url, *sample_videos, folder, patch.setenv
            )
            variables = {
                name: value
                for name, value in os.environ.items()
                if name.startswith(PREFIX)
            }
            database = used_database.opened
            with database.transaction() as session:
                store_outputs(session, readings)
            setting = Setting(folder, variables, prefect_api, PARAMETERS)
            outside = Outside(stand_in, used_database.url, postgres_files)
            try:
                yield Round(services, database, setting, outside)
            finally:
                used_database.opened.close()
                used_database.empty()
                shutil.rmtree(folder)

    return made


@pytest.fixture(scope="session")
def undisturbed(new_round: NewRound) -> Undisturbed:
    """An undisturbed run; title cards that it has read need not be read again."""
    with new_round([]) as first:
        outcome = first.run()
        assert outcome.exit_code == 0
        with first.database.transaction() as session:
            rows = session.execute(
                select(
                    TaggerResult.content_hash,
                    TaggerResult.tagger,
                    TaggerResult.configuration,
                    TaggerResult.output,
                )
            )
            readings = [RawOutput(**row) for row in rows.mappings()]
        return Undisturbed(outcome.points, first.end_state(), readings)
