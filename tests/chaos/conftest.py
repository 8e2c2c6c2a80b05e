"""Rounds of chaos: services that are new each time, and an undisturbed run."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, update

from sandbox.ai_server import AiStandIn
from sandbox.samples import Sample
from sandbox.stash.server import StandIn
from stashhog_core.db.models import DownloadItem
from stashhog_core.db.session import Database
from stashhog_core.detection.result_cache import RawOutput, store_outputs
from stashhog_core.settings import PREFIX, get_settings
from tests.conftest import UsedDatabase
from tests.support.chaos import Disturbance, Outcome, Point, Setting, run
from tests.support.chaos_table import table
from tests.support.end_state import end_state
from tests.support.media import write_video
from tests.support.outside import Outside
from tests.support.qbittorrent import (
    PASSWORD,
    USERNAME,
    QBittorrentServer,
    running_qbittorrent,
)
from tests.support.services import Services, sample_services
from tests.workflow.conftest import (
    prefect_api,
    prefect_database,
    stored_title_cards,
)

__all__ = ["prefect_api", "prefect_database"]

QBITTORRENT = "qBittorrent and an AI server"
FOLDER = "a watch folder and title cards"
KINDS = (QBITTORRENT, FOLDER)
"""Where the downloads of a history come from, and who looks at its videos."""

MORE_VIDEOS = int(os.environ.get("STASHHOG_TEST_CHAOS_VIDEOS", "0"))
"""How many short videos there are besides the samples."""

_IN_A_FOLDER = 20
_LEAST_BATCH = 3


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
    torrents: Mapping[str, str]

    def run(self, *disturbances: Disturbance) -> Outcome:
        """Run the main job in a process of its own."""
        return run(self.setting, disturbances, self.outside)

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
        server = self.outside.qbittorrent
        return {
            **end_state(self.services, self.database),
            "torrents": {
                name: (server.tags(info_hash), server.category(info_hash))
                for name, info_hash in self.torrents.items()
            },
        }


@dataclass(frozen=True)
class Undisturbed:
    """What a run does that nothing disturbs, and what it leaves behind."""

    points: Counter[Point]
    end_state: dict[str, Any]


class Rounds:
    """Makes the services of each history, and knows what an undisturbed run does.

    Args:
        used_database: The database, empty between two rounds.
        postgres_home: The home under which its server runs.
        prefect_api: Prefect's API.
        videos: The folder of the downloads, and what they are.
        folder: Where the services keep their files. The same for all rounds, as the
            ends of their histories are compared.
        qbittorrent: Has the downloads of all rounds.
        ai_server: Looks at the videos of all rounds.
    """

    def __init__(
        self,
        used_database: UsedDatabase,
        postgres_home: Path,
        prefect_api: str,
        videos: tuple[Path, list[Sample]],
        folder: Path,
        qbittorrent: QBittorrentServer,
        ai_server: AiStandIn,
    ) -> None:
        self._used_database = used_database
        self._postgres_home = postgres_home
        self._prefect_api = prefect_api
        self._videos = videos
        self._folder = folder
        self._qbittorrent = qbittorrent
        self._ai_server = ai_server
        self._torrents: dict[str, str] = {}
        # Title cards that an undisturbed run has read need not be read again.
        self._readings: list[RawOutput] = []
        self._undisturbed: dict[str, Undisturbed] = {}

    @contextmanager
    def new(self, kind: str, *, in_processes: bool = False) -> Iterator[Round]:
        """Make the services of a round of one of KINDS.

        Args:
            kind: Where the downloads come from, and who looks at the videos.
            in_processes: Whether mapped tasks run in processes of their own.
        """
        (self._folder / "library").mkdir(parents=True)
        with (
            ExitStack() as at_last,
            pytest.MonkeyPatch.context() as patch,
            StandIn(self._folder / "stash", self._folder / "library") as stand_in,
        ):
            # Not before the stand-in has stopped, which may still be writing.
            at_last.callback(shutil.rmtree, self._folder)
            stand_in.faults.item_seconds = 0
            services = sample_services(
                stand_in,
                self._used_database.url,
                *self._videos,
                self._folder,
                patch.setenv,
            )
            torrents = {}
            variables = {"RUNNER__KIND": "processes" if in_processes else "threads"}
            if kind == QBITTORRENT:
                torrents = self._seed(services.downloads)
                self._set_videos(services)
                variables |= self._variables
            for name, value in variables.items():
                patch.setenv(f"{PREFIX}{name}", value)
            get_settings.cache_clear()
            database = self._used_database.opened
            with database.transaction() as session:
                store_outputs(session, self._readings)
            try:
                yield Round(
                    services,
                    database,
                    self._setting,
                    Outside(
                        stand_in,
                        self._used_database.url,
                        self._postgres_home,
                        self._qbittorrent,
                        self._ai_server,
                        list(torrents.values()),
                    ),
                    torrents,
                )
            finally:
                database.close()
                self._used_database.empty()

    def undisturbed(self, kind: str) -> Undisturbed:
        """Return what a run of a kind does that nothing disturbs."""
        if kind not in self._undisturbed:
            with self.new(kind) as first:
                outcome = first.run()
                assert outcome.exit_code == 0
                self._undisturbed[kind] = Undisturbed(outcome.points, first.end_state())
                self._readings += stored_title_cards(first.database)
        return self._undisturbed[kind]

    @property
    def _setting(self) -> Setting:
        variables = {
            name: value for name, value in os.environ.items() if name.startswith(PREFIX)
        }
        batch_size = max(_LEAST_BATCH, MORE_VIDEOS // _LEAST_BATCH)
        parameters = {"batch_size": batch_size}
        return Setting(self._folder, variables, self._prefect_api, parameters)

    @property
    def _variables(self) -> dict[str, str]:
        return {
            "DOWNLOADS__SOURCE": "qbittorrent",
            "QBITTORRENT__URL": self._qbittorrent.url,
            "QBITTORRENT__USERNAME": USERNAME,
            "QBITTORRENT__PASSWORD": PASSWORD,
            "QBITTORRENT__POST_IMPORT_CATEGORY": "done",
            "AI_SERVER__URL": self._ai_server.url,
            "AI_SERVER__PARALLEL_REQUESTS": str(self._ai_server.capacity),
        }

    def _seed(self, downloads: Path) -> dict[str, str]:
        """Have qBittorrent seed the downloads, none of which has been taken.

        Returns:
            Name → hash.
        """
        server = self._qbittorrent
        if not server.is_running:
            server.start_again()
        if not self._torrents:
            self._torrents = {
                path.name: server.seed(path) for path in downloads.iterdir()
            }
        server.wait_until_seeding(self._torrents.values())
        server.unmark_all()
        return self._torrents

    def _set_videos(self, services: Services) -> None:
        """Have the AI server see something in every third video.

        Stash has no tag for some of it. In each video it is another thing: which of two
        batches creates a tag of both is not the same in each run.
        """
        self._ai_server.videos = {
            str(services.placed(sample)): {
                "actions": {"Dancing": [(0.0, 25.0, 0.8)]},
                "places": {f"Place {number}": [(1.0, 3.0, 0.9)]},
            }
            if number % 3 == 0
            else {}
            for number, sample in enumerate(services.samples)
        }


@pytest.fixture(scope="session")
def videos(
    sample_videos: tuple[Path, list[Sample]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Sample]]:
    """The downloads of all rounds, and what they are."""
    made, samples = sample_videos
    folder = tmp_path_factory.mktemp("downloads")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    samples = [replace(s, path=folder / s.path.relative_to(made)) for s in samples]
    for number in range(MORE_VIDEOS):
        path = folder / f"set {number // _IN_A_FOLDER}" / f"video {number}.mp4"
        write_video(
            path, seconds=1, width=160, height=120, seed=number, frames_per_second=15
        )
        samples.append(Sample(path))
    return folder, samples


@pytest.fixture(scope="session")
def rounds(
    used_database: UsedDatabase,
    postgres_files: Path,
    prefect_api: str,
    videos: tuple[Path, list[Sample]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rounds]:
    """The rounds of the session, whose servers are shared."""
    with (
        running_qbittorrent(tmp_path_factory.mktemp("qbittorrent")) as qbittorrent,
        AiStandIn(capacity=2) as ai_server,
    ):
        folder = tmp_path_factory.getbasetemp() / "round"
        yield Rounds(
            used_database,
            postgres_files,
            prefect_api,
            videos,
            folder,
            qbittorrent,
            ai_server,
        )
