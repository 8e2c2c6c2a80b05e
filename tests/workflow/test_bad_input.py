"""Wrong parameters are refused with the field; wrong surroundings in one sentence."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ParameterBindError, PrefectHTTPStatusError

from flows.process_new_scenes import process_new_scenes
from flows.stash_generate import stash_generate
from flows.sync import sync
from flows.sync_scenes import sync_scenes
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import get_settings
from tests.support.deployed import ROOT
from tests.support.services import Services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WRONG = [
    pytest.param("batch_size", 0, id="too-small"),
    pytest.param("batch_size", 1001, id="too-large"),
    pytest.param("batch_size", "many", id="no-number"),
    pytest.param("parallel_batches", 33, id="too-many"),
    pytest.param("max_minutes", 0, id="no-time"),
    pytest.param("steps", ["dance"], id="unknown-step"),
    pytest.param("steps", [], id="no-step"),
    pytest.param("step_retries", -1, id="negative"),
    pytest.param("exclude_small_vids", "perhaps", id="no-truth"),
]
UNKNOWN = pytest.param("bach_size", 5, id="unknown-name")


@pytest.fixture
def client(prefect_api: str) -> Iterator[SyncPrefectClient]:
    del prefect_api
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployment(client: SyncPrefectClient) -> str:
    """The main job's deployment, as prefect.yaml makes it; nobody runs it."""
    deployment_id = client.create_deployment(
        flow_id=client.create_flow(process_new_scenes),
        name="refusing",
        entrypoint="flows.process_new_scenes.process_new_scenes",
        parameter_openapi_schema=process_new_scenes.parameters.model_dump(),
        enforce_parameter_schema=True,
    )
    return str(deployment_id)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_refused_by_the_api(
    client: SyncPrefectClient, deployment: str, name: str, value: Any
) -> None:
    """The form and every program come this way: no run is made, the field is named."""
    with pytest.raises(PrefectHTTPStatusError) as refused:
        client.request(
            "POST",
            "/deployments/{id}/create_flow_run",
            path_params={"id": deployment},
            json={"parameters": {name: value}},
        )

    assert refused.value.response.status_code in {409, 422}
    assert name in refused.value.response.text


@pytest.mark.parametrize(
    ("flow", "name"),
    [(stash_generate, "sceneIDs"), (sync_scenes, "scene_ids")],
    ids=["stash_generate", "sync_scenes"],
)
def test_ids_are_numbers_or_texts(
    client: SyncPrefectClient, flow: Flow[..., Any], name: str
) -> None:
    """The API takes ids as integers and as the texts that results give, not words."""
    deployment = client.create_deployment(
        flow_id=client.create_flow(flow),
        name="taking",
        parameter_openapi_schema=flow.parameters.model_dump(),
        enforce_parameter_schema=True,
    )

    run = client.create_flow_run_from_deployment(
        deployment, parameters={name: ["1", 2]}
    )

    taken = flow.validate_parameters(run.parameters)[name]
    assert tuple(map(int, taken)) == (1, 2)
    with pytest.raises(PrefectHTTPStatusError, match=name):
        client.create_flow_run_from_deployment(deployment, parameters={name: ["two"]})


def test_an_unknown_name_fails_the_run_at_once(services: Services) -> None:
    """Prefect's API takes it; the run says which it is before anything is done."""
    with pytest.raises(ParameterBindError, match="bach_size"):
        process_new_scenes(bach_size=5)

    assert list(services.library.iterdir()) == []


@pytest.mark.parametrize(("name", "value"), [*WRONG, UNKNOWN])
def test_refused_in_the_terminal(tmp_path: Path, name: str, value: Any) -> None:
    """One sentence with the field, status 2, and nothing was started."""
    done = stashhog(
        tmp_path, "run", "process_new_scenes", "--param", f"{name}={json.dumps(value)}"
    )

    assert done.returncode == 2
    assert name in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "home").exists()


def test_before_migrations(
    services: Services, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database of one's own without tables: the command that makes them."""
    url = empty_database.connection_string
    monkeypatch.setenv("STASHHOG_DATABASE__URL", url)
    get_settings.cache_clear()

    assert_one_sentence(sync(return_state=True), "stashhog migrate")
    assert_one_sentence(process_new_scenes(return_state=True), "stashhog migrate")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        pytest.param("STASH__URL", None, "STASHHOG_STASH__URL", id="missing"),
        pytest.param("STASH__ULR", "http://x", "STASHHOG_STASH__URL", id="misspelt"),
        pytest.param(
            "ANALYSIS__BATCH_SIZE", "0", "STASHHOG_ANALYSIS__BATCH_SIZE", id="wrong"
        ),
    ],
)
def test_without_settings(
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str | None,
    words: str,
) -> None:
    """What is missing, misspelt or not allowed is named by its variable."""
    if value is None:
        monkeypatch.delenv(f"STASHHOG_{variable}")
    else:
        monkeypatch.setenv(f"STASHHOG_{variable}", value)
    get_settings.cache_clear()

    assert_one_sentence(process_new_scenes(return_state=True), words)


def test_without_a_work_pool(prefect_api: str, tmp_path: Path) -> None:
    """`prefect deploy` before the pool exists: refused, and the pool is named."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "prefect", "--no-prompt", "deploy"),
            # Other tests make the pool that the file names.
            *("--name", "sync", "--pool", "not-there"),
        ],
        cwd=ROOT,
        env=os.environ
        | {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    said = " ".join((done.stdout + done.stderr).split())
    assert "not-there" in said
    assert "work pool" in said
    assert "Traceback" not in said


def test_without_prefects_api(tmp_path: Path) -> None:
    """The address is named, and how to go on without it."""
    away = "http://127.0.0.1:9/api"

    done = stashhog(tmp_path, "run", "sync", PREFECT_API_URL=away)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert away in done.stderr
    assert "PREFECT_API_URL" in done.stderr


def stashhog(folder: Path, *arguments: str, **variables: str) -> Any:
    """Run the terminal in an empty home."""
    return subprocess.run(
        [sys.executable, "-c", "from stashhog.cli.app import main; main()", *arguments],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "STASHHOG_HOME": str(folder / "home")}
        | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_one_sentence(state: Any, words: str) -> None:
    error = state.result(raise_on_failure=False)
    assert state.is_failed()
    assert isinstance(error, ConfigurationError)
    assert words in str(error)
    assert "\n" not in str(error)
    assert words in state.message
