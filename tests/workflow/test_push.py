"""Pushes: what qBittorrent and Stash call when something has happened."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.states import Cancelled, Completed, Running
from typer.testing import CliRunner

from flows.auto_stash_sync import auto_stash_sync
from flows.jobs import process_downloads, sync
from stashhog.cli.app import app
from stashhog.push import Pushed, push
from stashhog.services.prefect_server import ask
from stashhog_core.errors import ConfigurationError, TransientError
from tests.support.prefect import register, runs_of
from tests.support.services import free_port

pytestmark = pytest.mark.slow

DOWNLOADS = "process_downloads/pushed-downloads"


@pytest.fixture
def downloads(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """A deployment that queues its runs, without any yet."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    deployment_id = register(
        process_downloads,
        "pushed-downloads",
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy="ENQUEUE"),
    )
    with get_client(sync_client=True) as client:
        for run in runs_of(deployment_id):
            client.delete_flow_run(run.id)
    return deployment_id


def pushed(**parameters: object) -> Pushed:
    return push(DOWNLOADS, parameters, delay_seconds=3600)


def at_once(number: int) -> set[str]:
    # More threads than that only wait for each other in the server.
    with ThreadPoolExecutor(min(number, 25)) as pool:
        return {run.run_id for run in pool.map(lambda _: pushed(), range(number))}


def set_state(run_id: str, state: object) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run_id), state, force=True)  # type: ignore[arg-type]


def test_a_hundred_calls_in_a_burst_are_one_run(downloads: UUID) -> None:
    """All of them are covered by it, and it waits for more."""
    covering = at_once(100)

    (run,) = runs_of(downloads)
    assert covering == {str(run.id)}
    assert run.state_name == "Scheduled"
    assert "push" in run.tags


def test_calls_during_a_run_lead_to_one_more_run(downloads: UUID) -> None:
    """The run that goes may have looked already; so nothing is lost."""
    (first,) = at_once(5)
    set_state(first, Running())

    pushed_later = at_once(20)
    later = at_once(20)

    assert len(pushed_later) == 1
    assert first not in pushed_later
    assert later == pushed_later
    assert len(runs_of(downloads)) == 2


@pytest.mark.parametrize("end", [Completed(), Cancelled()], ids=["done", "cancelled"])
def test_a_run_that_ended_covers_nothing(downloads: UUID, end: object) -> None:
    """After it, the next call makes a new one."""
    first = pushed()
    set_state(first.run_id, end)

    assert pushed().run_id != first.run_id


def test_other_parameters_are_another_run(downloads: UUID) -> None:
    """A run that waits covers only calls that ask for the same."""
    plain, small = pushed(), pushed(exclude_small_vids=True)

    assert plain.run_id != small.run_id
    assert pushed(exclude_small_vids=True).run_id == small.run_id


def test_a_deployment_that_drops_runs_is_refused(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push while it goes would be lost."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    register(
        auto_stash_sync,
        "pushed-schedule",
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy="CANCEL_NEW"
        ),
    )

    with pytest.raises(ConfigurationError, match="cancels a new run"):
        push("auto_stash_sync/pushed-schedule", {}, delay_seconds=1)


def test_an_unknown_deployment_is_named(downloads: UUID) -> None:
    """One sentence, and where to look."""
    with pytest.raises(ConfigurationError, match=r"no deployment sync/nosuch"):
        push("sync/nosuch", {}, delay_seconds=1)


@pytest.mark.parametrize("end", ["/", "//", " ", "/ "])
def test_the_address_of_the_api_may_end_with_a_slash(
    downloads: UUID, prefect_api: str, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Prefect's own client takes both forms, so a push does."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api + end)

    run = pushed()

    assert [run.id for run in runs_of(downloads)] == [UUID(run.run_id)]


def test_an_address_that_is_not_the_apis_is_said_to_be_that(
    downloads: UUID, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `/api`, the server says that it has no such page, not no deployment."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api.removesuffix("/api"))

    with pytest.raises(ConfigurationError, match="is not Prefect's API"):
        pushed()


def test_wrong_parameters_are_refused_by_prefect_too(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the field named."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    register(sync, "pushed-sync")

    with pytest.raises(ConfigurationError, match="force"):
        push("sync/pushed-sync", {"force": "perhaps"}, delay_seconds=1)


def test_a_server_that_comes_back_is_waited_for(
    downloads: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call is tried again, and is still one run."""
    monkeypatch.setattr("stashhog.push.PAUSES_SECONDS", (0.01, 0.01))
    failures = [httpx.ConnectError("away"), httpx.ReadTimeout("slow")]

    def ask_in_vain(*arguments: Any) -> httpx.Response:
        if failures:
            raise failures.pop()
        return ask(*arguments)

    monkeypatch.setattr("stashhog.push.ask", ask_in_vain)

    covering = pushed()

    assert failures == []
    assert [str(run.id) for run in runs_of(downloads)] == [covering.run_id]


def test_prefect_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pushed may try again; the schedule comes anyway."""
    monkeypatch.setattr("stashhog.push.PAUSES_SECONDS", ())
    url = f"http://127.0.0.1:{free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)

    with pytest.raises(TransientError, match="does not answer"):
        push(DOWNLOADS, {}, delay_seconds=1)


def test_the_command(downloads: UUID) -> None:
    """`stashhog push` says which run covers the call; wrong parameters end in it."""
    terminal = CliRunner()

    done = terminal.invoke(app, ["push", DOWNLOADS, "--delay", "3600"])
    wrong = terminal.invoke(app, ["push", DOWNLOADS, "-p", "nosuch=1"])

    (run,) = runs_of(downloads)
    assert done.exit_code == 0
    assert run.name in done.stdout
    assert isinstance(wrong.exception, ConfigurationError)
    assert "nosuch" in str(wrong.exception)
