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
        *(
            pytest.param(f"STASHHOG_{name}", address, id=f"{name}={address}")
            for name in (
                "STASH__URL",
                "STASH__PUBLIC_URL",
                "AI_SERVER__URL",
                "TEXT_MODEL__BASE_URL",
                "QBITTORRENT__URL",
            )
            for address in (
                "http://host:port",
                "http://host:99999",
                "http://host:0",
                "http://host:80:80",
                "http://[::1",
                "http://.a..b",
                f"http://{'a' * 70}",
                "http://ho st",
                "http://host\x01",
                "ftp://host",
                "http://",
            )
        ),
        pytest.param("STASHHOG_STASH__PATH_MAP", "[" * 99_999, id="nested-deeply"),
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


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://my_stash:9999/stash/", "http://my_stash:9999/stash/"),
        ("https://[::1]:8080", "https://[::1]:8080"),
        ("http://bücher.example", "http://bücher.example"),
        ("localhost:8080", "http://localhost:8080"),
    ],
)
def test_address_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, given: str, address: str
) -> None:
    """With underscores, IPv6 and any script; that of qBittorrent needs no http."""
    monkeypatch.setenv("STASHHOG_QBITTORRENT__URL", given)

    assert get_settings().qbittorrent.url == address


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


def test_example_may_be_used_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every line of it switched on, each setting has its default."""
    example = Path(__file__).parents[2] / "deployments" / "env.example"
    defaults = get_settings()
    get_settings.cache_clear()
    lines = example.read_text().splitlines()
    Path(".env").write_text(
        "\n".join(line.removeprefix("#") for line in lines if "STASHHOG_" in line)
    )

    assert get_settings() == defaults


@pytest.mark.parametrize("name", ["HOME", "DOWNLOADS__FOLDER", "STASH__URL"])
def test_what_is_set_to_nothing_is_not_set(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An empty path is not the current folder."""
    defaults = get_settings()
    get_settings.cache_clear()
    monkeypatch.setenv(f"STASHHOG_{name}", "")

    assert get_settings() == defaults


def test_empty_category_is_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a text, nothing is a value."""
    monkeypatch.setenv("STASHHOG_DOWNLOADS__CATEGORY", "")

    assert get_settings().downloads.category == ""


def test_file_of_the_project_counts_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is no `.env`, as in the folder that a worker starts a run in."""
    (tmp_path / ".env").write_text("STASHHOG_ANALYSIS__BATCH_SIZE=7\n")
    monkeypatch.setattr("stashhog_core.settings.PROJECT", tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    assert get_settings().analysis.batch_size == 7


def test_the_environment_may_name_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file that STASHHOG_ENV_FILE names is read instead of any `.env`."""
    (tmp_path / ".env").write_text("STASHHOG_ANALYSIS__BATCH_SIZE=7\n")
    (tmp_path / "mine").write_text("STASHHOG_STASH__URL=http://localhost:9\n")
    monkeypatch.setenv("STASHHOG_ENV_FILE", str(tmp_path / "mine"))

    settings = get_settings()

    assert settings.stash.url == "http://localhost:9"
    assert settings.analysis.batch_size != 7


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path does not pass for a file without settings."""
    monkeypatch.setenv("STASHHOG_ENV_FILE", "/nowhere/.env")

    with pytest.raises(ConfigurationError, match=r"STASHHOG_ENV_FILE.*/nowhere"):
        get_settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("STASH__SCAN_PATHS", "/data", r"STASHHOG_STASH__SCAN_PATHS is not JSON"),
        ("STASH__URL", "nas:9999", r"STASHHOG_STASH__URL.*http://localhost:9999"),
    ],
)
def test_wrong_value_names_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """And says how to write it."""
    monkeypatch.setenv(f"STASHHOG_{name}", value)

    with pytest.raises(ConfigurationError, match=said):
        get_settings()
