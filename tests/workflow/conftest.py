"""A Prefect API on PostgreSQL for the session, and the product's services set up."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
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

from sandbox.samples import Sample
from sandbox.stash.server import StandIn
from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.models import TaggerResult
from stashhog_core.db.session import Database
from stashhog_core.detection import title_cards
from stashhog_core.detection.result_cache import RawOutput, store_outputs
from tests.conftest import copy_cluster, postgres_home, shared_folder
from tests.support.prefect import Runner, end_left_runs, start_server
from tests.support.services import (
    FEW_SAMPLES,
    RunningServices,
    Services,
    prepared_services,
    sample_services,
)


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
        start_server(server)
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            yield server.api_url
            # What is still to be sent would be tried for a minute on a dead server.
            APILogWorker.instance().drain()
            EventsWorker.drain_all()
        server.stop()


class _Readings:
    """What stands on the title cards of the videos that any process has read so far."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def all(self) -> list[RawOutput]:
        """Return the readings."""
        files = self._folder.glob("*.json")
        return [RawOutput(**json.loads(file.read_text())) for file in files]

    def add(self, reading: RawOutput) -> None:
        """Keep a reading, unless it is known."""
        key = repr((reading.content_hash, reading.configuration))
        name = hashlib.sha256(key.encode()).hexdigest()
        file = self._folder / f"{name}.json"
        if not file.exists():
            part = self._folder / f"{name}.{os.getpid()}"
            part.write_text(json.dumps(asdict(reading)))
            part.rename(file)


@pytest.fixture(scope="session")
def title_card_readings(tmp_path_factory: pytest.TempPathFactory) -> _Readings:
    """The readings of this session."""
    return _Readings(shared_folder(tmp_path_factory) / "readings")


def stored_title_cards(database: Database) -> list[RawOutput]:
    """Return what the result cache has of title cards."""
    query = select(
        TaggerResult.content_hash,
        TaggerResult.tagger,
        TaggerResult.configuration,
        TaggerResult.output,
    ).where(TaggerResult.tagger == title_cards.NAME)
    with database.transaction() as session:
        return [RawOutput(**row) for row in session.execute(query).mappings()]


@pytest.fixture
def read_once(database: Database, title_card_readings: _Readings) -> Iterator[None]:
    """The result cache has what earlier tests read: to read a video takes a second."""
    with database.transaction() as session:
        store_outputs(session, title_card_readings.all())
    yield
    for reading in stored_title_cards(database):
        title_card_readings.add(reading)


@pytest.fixture
def no_run(prefect_api: str) -> None:
    """No other run is going on, whatever earlier tests have left."""
    del prefect_api
    end_left_runs()


@pytest.fixture
def services(
    stand_in: StandIn,
    database_url: str,
    read_once: None,
    no_run: None,
    sample_videos: tuple[Path, list[Sample]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Services:
    """Sample downloads, a stand-in Stash and an empty database, set as services."""
    del no_run, read_once
    return sample_services(
        stand_in, database_url, *sample_videos, tmp_path, monkeypatch.setenv
    )


@pytest.fixture
def few_services(services: Services) -> Services:
    """These services with three videos and a corrupt file to download."""
    for path in services.downloads.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in FEW_SAMPLES:
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


@pytest.fixture(scope="module")
def process_worker(
    prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    """A process worker for the tests of a file: it asks for runs every second."""
    del prefect_api
    with get_client(sync_client=True) as client:
        runner = Runner("worked", "worker", client, tmp_path_factory.mktemp("worker"))
        with runner.running():
            yield runner


@pytest.fixture(scope="module")
def serving_program(
    prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    """A program that serves the flows, for the tests of a file, as it asks, too."""
    del prefect_api
    with get_client(sync_client=True) as client:
        runner = Runner("served", "serve", client, tmp_path_factory.mktemp("serve"))
        with runner.running():
            yield runner


@pytest.fixture
def worker(process_worker: Runner, services: Services) -> Runner:
    """A process worker with this test's services."""
    del services
    process_worker.configure()
    return process_worker


@pytest.fixture(params=["worker", "serve"])
def runner(request: pytest.FixtureRequest, services: Services) -> Runner:
    """A process worker, or `serve`, with this test's services."""
    del services
    which = "process_worker" if request.param == "worker" else "serving_program"
    runner: Runner = request.getfixturevalue(which)
    runner.configure()
    return runner
