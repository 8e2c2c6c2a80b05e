"""Where the pages are served, and what keeps them from it."""

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from stashhog.web.server import serve
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import DatabaseSettings, Settings, WebSettings


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    url = DatabaseSettings(url=SecretStr(database_url))
    return Settings(home=tmp_path / "home", database=url)


def test_a_taken_port_is_named(settings: Settings) -> None:
    """With the setting that chooses another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        web = WebSettings(port=taken.getsockname()[1])
        with pytest.raises(
            ConfigurationError, match=rf"Port {web.port} .*STASHHOG_WEB__PORT"
        ):
            serve(settings.model_copy(update={"web": web}))


def test_the_port_of_prefects_server_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages would keep the server out when they come first."""
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "4300")
    web = WebSettings(port=4300)

    with pytest.raises(ConfigurationError, match="cannot both use port 4300"):
        serve(settings.model_copy(update={"web": web}))
