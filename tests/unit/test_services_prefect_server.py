"""Where the Prefect server of `stashhog up` listens, and which database it uses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stashhog.services.lifecycle import open_to_the_network
from stashhog.services.prefect_server import (
    api_url,
    asyncpg_url,
    auth_string,
    own_api,
    server_database,
    ui_url,
)
from stashhog.services.state import record
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings


@pytest.fixture(autouse=True)
def clean_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine decides."""
    for name in ("HOST", "PORT", "AUTH_STRING"):
        monkeypatch.delenv(f"PREFECT_SERVER_API_{name}", raising=False)
    for name in ("API_DATABASE_CONNECTION_URL", "API_URL", "UI_URL"):
        monkeypatch.delenv(f"PREFECT_{name}", raising=False)


def test_the_server_listens_on_loopback_unless_set_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without settings nobody else reaches it."""
    assert api_url() == "http://127.0.0.1:4200/api"

    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "4300")
    assert api_url() == "http://127.0.0.1:4300/api"
    assert not open_to_the_network()


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        pytest.param("0.0.0.0", "127.0.0.1", id="everywhere"),  # noqa: S104
        pytest.param("::", "127.0.0.1", id="everywhere, IPv6 too"),
        pytest.param("10.0.0.5", "10.0.0.5", id="one interface"),
        pytest.param("fd00::5", "[fd00::5]", id="one interface of IPv6"),
    ],
)
def test_a_server_for_other_machines_asks_for_a_password(
    monkeypatch: pytest.MonkeyPatch, host: str, asked: str
) -> None:
    """Listening beyond this machine without a password is noticed."""
    monkeypatch.setenv("PREFECT_SERVER_API_HOST", host)

    assert api_url() == f"http://{asked}:4200/api"
    assert open_to_the_network()
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:secret")
    assert not open_to_the_network()


def test_only_a_server_of_this_installation_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that `up` has started, while it runs; or the one that is set."""
    settings = Settings(home=tmp_path)
    url = "http://127.0.0.1:4300/api"
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    assert (own_api(settings), ui_url(settings)) == (None, None)
    record(settings, url, {"server": os.getpid()})
    assert own_api(settings) == url
    assert ui_url(settings) == "http://127.0.0.1:4300"
    record(settings, url, {"server": ended.pid})
    ended.communicate()
    assert (own_api(settings), ui_url(settings)) == (None, None)
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.lan/api")
    assert own_api(settings) == "http://prefect.lan/api"
    assert ui_url(settings) == "http://prefect.lan"
    monkeypatch.setenv("PREFECT_UI_URL", "https://runs.lan/")
    assert ui_url(settings) == "https://runs.lan"


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_wrong_port_is_said(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    """One sentence names the variable and what is allowed."""
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", port)

    with pytest.raises(ConfigurationError, match="a port from 1 to 65535"):
        api_url()


def test_prefect_variables_may_stand_in_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`.env` is read as for our own settings; the environment wins."""
    (tmp_path / ".env").write_text(
        "PREFECT_SERVER_API_PORT=4301\nPREFECT_SERVER_API_AUTH_STRING=admin:file\n"
    )
    assert api_url() == "http://127.0.0.1:4301/api"
    assert auth_string() == "admin:file"

    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:environment")
    assert auth_string() == "admin:environment"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param("postgresql://u:p%40s@db/x", "u:p%40s@db/x", id="password"),
        pytest.param("postgresql+psycopg://u@db:5433/x", "u@db:5433/x", id="port"),
        pytest.param(
            "postgresql://u@db/x?sslmode=require&connect_timeout=5",
            "u@db/x?ssl=require",
            id="encryption",
        ),
        pytest.param(
            "postgresql://u:@/x?host=/run/pg", "u:@/x?host=%2Frun%2Fpg", id="socket"
        ),
    ],
)
def test_the_address_of_a_database_in_the_form_of_prefects_driver(
    given: str, expected: str
) -> None:
    """User, password, host, socket and encryption are carried over."""
    assert asyncpg_url(given) == f"postgresql+asyncpg://{expected}"


def test_options_that_cannot_be_carried_over_are_said() -> None:
    """Nothing that guards a connection is dropped silently."""
    with pytest.raises(ConfigurationError, match="sslrootcert") as raised:
        asyncpg_url("postgresql://u:secret@db/x?sslrootcert=/ca.pem")

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["sqlite+aiosqlite:////tmp/p.db", "postgresql://u:secret@db/prefect"]
)
def test_the_server_never_runs_on_another_database(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """An address of SQLite, or one that Prefect would not take, is refused."""
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", url)

    with pytest.raises(ConfigurationError, match=r"postgresql\+asyncpg") as raised:
        server_database(Settings())

    assert "secret" not in str(raised.value)


def test_a_database_that_prefect_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's own variable wins over the database beside ours."""
    url = "postgresql+asyncpg://u:p@db/prefect"
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", url)

    assert server_database(Settings()) == url
