"""Settings: read once, checked by name and value, secrets hidden."""

from pathlib import Path

import pytest

from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import StashSettings, get_settings


def test_defaults_need_no_environment() -> None:
    """With nothing set, every setting has its default and no service is named."""
    settings = get_settings()

    assert settings.stash.url is None
    assert settings.database.url is None
    assert settings.analysis.batch_size == 100
    assert settings.stash.scan_paths == ("/data",)
    assert settings.downloads.category == "stash"


def test_environment_wins_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment beats the same one in `.env`."""
    Path(".env").write_text(
        "STASHHOG_STASH__URL=http://file:1\nSTASHHOG_ANALYSIS__BATCH_SIZE=7\n"
    )
    monkeypatch.setenv("STASHHOG_STASH__URL", "http://environment:2")

    settings = get_settings()

    assert settings.stash.url == "http://environment:2"
    assert settings.analysis.batch_size == 7


@pytest.mark.parametrize("where", ["environment", "file"])
def test_unknown_variable_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A misspelt setting is refused, with the name that was meant."""
    if where == "environment":
        monkeypatch.setenv("STASHHOG_STASH__ULR", "http://x")
    else:
        Path(".env").write_text("STASHHOG_STASH__ULR=http://x\n")

    with pytest.raises(ConfigurationError, match="did you mean STASHHOG_STASH__URL"):
        get_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("STASHHOG_ANALYSIS__BATCH_SIZE", "-1", id="negative"),
        pytest.param("STASHHOG_ANALYSIS__BATCH_SIZE", "many", id="not-a-number"),
        pytest.param("STASHHOG_STASH__URL", "localhost:9999", id="no-scheme"),
        pytest.param("STASHHOG_DOWNLOADS__PLACE", "move", id="unknown-choice"),
        pytest.param("STASHHOG_DOWNLOADS__LAYOUT", "/{name}", id="absolute-layout"),
        pytest.param("STASHHOG_DOWNLOADS__LAYOUT", "../{name}", id="layout-upwards"),
        pytest.param("STASHHOG_DOWNLOADS__LAYOUT", "{title}", id="unknown-field"),
        pytest.param("STASHHOG_DOWNLOADS__LAYOUT", "{name!r}", id="conversion"),
        pytest.param("STASHHOG_DOWNLOADS__LAYOUT", "{name", id="half-a-field"),
        pytest.param("STASHHOG_DOWNLOADS__LAYOUT", "{category}", id="no-name"),
        pytest.param("STASHHOG_DOWNLOADS__FILE_MODE", "999", id="no-permissions"),
        pytest.param("STASHHOG_QBITTORRENT__DONE_TAG", "a,b", id="two-tags"),
        pytest.param("STASHHOG_QBITTORRENT__FAILED_TAG", "synced", id="same-tag"),
        pytest.param("STASHHOG_QBITTORRENT__CLEAN_UP", "all", id="unknown-clean-up"),
        pytest.param("STASHHOG_STASH__SCAN_PATHS", "[]", id="empty-is-everything"),
    ],
)
def test_bad_value_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A value that is not allowed is refused by the variable's name."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name) as caught:
        get_settings()

    assert "\n" not in str(caught.value)


def test_json_that_cannot_be_read_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists and objects are JSON; anything else is refused with an example."""
    monkeypatch.setenv("STASHHOG_STASH__PATH_MAP", "/a=/b")

    with pytest.raises(ConfigurationError, match="JSON"):
        get_settings()


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither key nor password appears when settings are printed."""
    monkeypatch.setenv("STASHHOG_STASH__API_KEY", "hidden-key")
    monkeypatch.setenv("STASHHOG_DATABASE__URL", "postgresql://u:hidden-pw@h/d")

    assert "hidden" not in repr(get_settings())


@pytest.mark.parametrize("timing", ["on", "off", "600", "0 4 * * *", "*/5 1-3 * * MON"])
def test_schedules_are_switched_timed_or_cron(
    monkeypatch: pytest.MonkeyPatch, timing: str
) -> None:
    """Each form that the description names is taken."""
    monkeypatch.setenv("STASHHOG_SCHEDULES__AUTO_STASH_SYNC", timing)

    assert get_settings().schedules.auto_stash_sync == timing


@pytest.mark.parametrize("timing", ["0", "-5", "daily", "0 4 * *", "1.5", "yes"])
def test_other_schedules_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, timing: str
) -> None:
    """A schedule of no known form names its setting."""
    monkeypatch.setenv("STASHHOG_SCHEDULES__CLEANUP", timing)

    with pytest.raises(ConfigurationError, match="STASHHOG_SCHEDULES__CLEANUP"):
        get_settings()


@pytest.mark.parametrize(
    ("url", "public_url", "expected"),
    [
        (None, None, None),
        ("http://stash:9999/", None, "http://stash:9999"),
        ("http://stash:9999/graphql", None, "http://stash:9999"),
        ("http://me:secret@stash/sub/", None, "http://stash/sub"),
        (
            "http://stash:9999",
            "https://media.example/stash/",
            "https://media.example/stash",
        ),
    ],
)
def test_links_lead_where_a_browser_finds_stash(
    url: str | None, public_url: str | None, expected: str | None
) -> None:
    """By the public address if there is one; never with credentials."""
    settings = StashSettings(url=url, public_url=public_url)

    assert settings.link_base == expected
