"""A Prefect API on PostgreSQL for the session, and the product's services set up."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    temporary_settings,
)
from sqlalchemy import select

from sandbox.samples import Sample, seed_library
from sandbox.stash.server import StandIn
from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.models import TaggerResult
from stashhog_core.db.session import Database
from stashhog_core.detection import title_cards
from stashhog_core.detection.result_cache import RawOutput, store_outputs
from stashhog_core.settings import get_settings
from tests.conftest import copy_cluster, postgres_home
from tests.support.prefect import Runner
from tests.support.services import RunningServices, Services, prepared_services


@pytest.fixture(scope="session")
def prefect_database(migrated_cluster: Path) -> Iterator[str]:
    """The address of a database for Prefect."""
    with postgres_home() as home:
        copy_cluster(migrated_cluster, home)
        url = start_embedded(home, "prefect")
        yield url.replace("postgresql://", "postgresql+asyncpg://")


@pytest.fixture(scope="session")
def prefect_api(
    prefect_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A Prefect server for the whole session."""
    home = tmp_path_factory.mktemp("prefect")
    with temporary_settings(
        {
            PREFECT_HOME: home,
            PREFECT_API_DATABASE_CONNECTION_URL: prefect_database,
            PREFECT_SERVER_ANALYTICS_ENABLED: False,
            # Each flow would wait a second for its heartbeat to end.
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        }
    ):
        # Without a port of its own: threads of Prefect that do not know these settings
        # start the one that has none, which is then this one.
        server = SubprocessASGIServer()
        server.start(timeout=120)
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            yield server.api_url
            # What is still to be sent would be tried for a minute on a dead server.
            APILogWorker.instance().drain()
            EventsWorker.drain_all()
        server.stop()


_Readings = dict[tuple[str, str], RawOutput]


@pytest.fixture(scope="session")
def title_card_readings() -> _Readings:
    """What stands on the title cards of the videos that were read so far."""
    return {}


@pytest.fixture
def read_once(database: Database, title_card_readings: _Readings) -> Iterator[None]:
    """The result cache has what earlier tests read: to read a video takes a second."""
    with database.transaction() as session:
        store_outputs(session, title_card_readings.values())
    yield
    query = select(
        TaggerResult.content_hash,
        TaggerResult.tagger,
        TaggerResult.configuration,
        TaggerResult.output,
    ).where(TaggerResult.tagger == title_cards.NAME)
    with database.transaction() as session:
        for row in session.execute(query).mappings():
            reading = RawOutput(**row)
            title_card_readings[reading.content_hash, reading.configuration] = reading


@pytest.fixture
def services(
    stand_in: StandIn,
    database_url: str,
    read_once: None,
    prefect_api: str,
    sample_videos: tuple[Path, list[Sample]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Services:
    """Sample downloads, a stand-in Stash and an empty database, set as services."""
    del prefect_api, read_once
    folder, samples = sample_videos
    seed_library(stand_in.store)
    downloads = tmp_path / "downloads"
    shutil.copytree(folder, downloads)
    samples = [replace(s, path=downloads / s.path.relative_to(folder)) for s in samples]
    library = stand_in.library
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "DATABASE__URL": database_url,
        "STASH__URL": stand_in.url,
        "STASH__SCAN_PATHS": json.dumps([str(library)]),
        "STASH__POLL_INTERVAL_SECONDS": "0.1",
        "DOWNLOADS__SOURCE": "folder",
        "DOWNLOADS__FOLDER": str(downloads),
        "DOWNLOADS__LIBRARY_ROOT": str(library),
        "DOWNLOADS__SETTLE_SECONDS": "0",
        "ANALYSIS__DETECT_PERFORMERS": "true",
        "ANALYSIS__DETECT_STUDIOS": "true",
    }.items():
        monkeypatch.setenv(f"STASHHOG_{name}", value)
    get_settings.cache_clear()
    return Services(stand_in, downloads, library, samples)


_FEW = {"harbor-morning.mp4", "quiet-lake.mp4", "fast-steps.mp4", "broken-download.mp4"}


@pytest.fixture
def few_services(services: Services) -> Services:
    """These services with three videos and a corrupt file to download."""
    for path in services.downloads.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in _FEW:
            path.unlink()
    return replace(services, samples=[s for s in services.samples if s.path.exists()])


@pytest.fixture(scope="module")
def prepared_up(
    migrated_cluster: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServices]:
    """What `stashhog up` needs; shared by the tests of a file, as a start takes long.

    tests/workflow/test_wheel.py starts with an empty home.
    """
    with postgres_home() as home:
        copy_cluster(migrated_cluster, home)
        with prepared_services(home, tmp_path_factory.mktemp("up")) as services:
            yield services


@pytest.fixture
def up(prepared_up: RunningServices) -> RunningServices:
    """The running services; a test may leave them broken or stopped."""
    if not prepared_up.is_running():
        started = prepared_up.command("stashhog", "up")
        assert started.returncode == 0, started.stderr + prepared_up.logs()
    return prepared_up


@pytest.fixture(scope="session")
def session_worker(
    prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    """A process worker for the whole session."""
    del prefect_api
    with get_client(sync_client=True) as client:
        runner = Runner("worked", "worker", client, tmp_path_factory.mktemp("worker"))
        with runner.running():
            yield runner


@pytest.fixture(scope="session")
def session_server(
    prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    """A program that serves the flows, for the whole session."""
    del prefect_api
    with get_client(sync_client=True) as client:
        runner = Runner("served", "serve", client, tmp_path_factory.mktemp("serve"))
        with runner.running():
            yield runner


@pytest.fixture
def worker(session_worker: Runner, services: Services) -> Runner:
    """A process worker with this test's services."""
    del services
    session_worker.configure()
    return session_worker


@pytest.fixture(params=["worker", "serve"])
def runner(request: pytest.FixtureRequest, services: Services) -> Runner:
    """A process worker, or `serve`, with this test's services."""
    del services
    which = "session_worker" if request.param == "worker" else "session_server"
    runner: Runner = request.getfixturevalue(which)
    runner.configure()
    return runner
