"""Secrets stay out of what is shown, logged and stored."""

import logging
import pickle
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from stashhog_core import redaction
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, ItemError, unexpected
from stashhog_core.redaction import (
    clean_logs,
    remember,
    remember_address,
    remember_credentials,
    visible,
    visible_lines,
    without_secrets,
)
from stashhog_core.results import BatchResult, ItemFailure
from stashhog_core.settings import AiServerSettings, Settings, StashSettings

PLANTED = "Hunter2-planted"


@pytest.fixture(autouse=True)
def _known_again() -> Iterator[None]:
    """What a test has hidden is hidden from that test alone."""
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)
    redaction.forget()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET http://me:pw@host:1/x failed", "GET http://host:1/x failed"),
        ("http://me:p@ss@host/x", "http://host/x"),
        ("'http://token@host' and http://b:c@d", "'http://host' and http://d"),
        ("http://host/a?apikey=abc&x=1", "http://host/a?apikey=***&x=1"),
        ("mail me@host about http://host/@me", "mail me@host about http://host/@me"),
        ("postgresql://u:p%40w@h/db", "postgresql://h/db"),
    ],
)
def test_addresses_lose_their_credentials(text: str, clean: str) -> None:
    """Whoever holds them: no setting has to be known for that."""
    assert without_secrets(text) == clean


@given(
    st.text(st.characters(categories=["L", "N", "P"]), min_size=4).filter(
        lambda text: text.strip() == text
    )
)
def test_a_known_secret_is_hidden_in_every_form(secret: str) -> None:
    """As it is, quoted for an address, as a header carries it, and as repr shows it."""
    remember_credentials("me", secret)
    header = b64encode(f"me:{secret}".encode()).decode()

    for form in (secret, quote(secret, safe=""), header):
        assert form not in without_secrets(f"it was «{form}», they say")
    redaction.forget()


def test_a_secret_that_is_a_word_hides_that_word_alone() -> None:
    """A password such as `postgres` does not make addresses unreadable."""
    remember("postgres")

    assert without_secrets("postgresql: postgres, pg") == "postgresql: ***, pg"


def test_errors_and_results_hold_no_secret() -> None:
    """Also after they have travelled between processes."""
    remember_address(f"http://me:{PLANTED}@host/path")
    error = ItemError(
        f"Refused {PLANTED}", where=f"http://me:{PLANTED}@host", remedy="x"
    )

    travelled = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert str(travelled) == "Refused *** (http://host): x"
    assert PLANTED not in repr(travelled)
    assert unexpected(ValueError(PLANTED)) == "ValueError: ***"
    assert ItemFailure(item="x", reason=PLANTED).reason == "***"
    assert BatchResult(batch_num=1, errors=(PLANTED,)).errors == ("***",)


def test_log_lines_and_tracebacks_hold_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither in the message, nor in its arguments, nor in an exception's text."""
    remember(PLANTED)
    clean_logs()
    log = logging.getLogger("stashhog_core.test")

    try:
        raise ValueError(PLANTED)
    except ValueError:
        log.exception("It is %s", PLANTED)

    assert "It is ***" in caplog.text
    assert "ValueError: ***" in caplog.text
    assert PLANTED not in caplog.text


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
def test_a_key_loses_the_newline_of_its_file(end: str) -> None:
    """A mounted secret ends with one; no server would take it."""
    settings = StashSettings(url="http://host", api_key=SecretStr(f"abc.def{end}"))

    assert settings.api_key
    assert settings.api_key.get_secret_value() == "abc.def"


@pytest.mark.parametrize("key", ["ab\ncd", "schlüssel", "a\0b"])
def test_what_cannot_be_a_key_is_refused_unseen(key: str) -> None:
    """No header can carry it; the sentence does not repeat it."""
    with pytest.raises(ValidationError) as refused:
        StashSettings(url="http://host", api_key=SecretStr(key))

    said = refused.value.errors()[0]["msg"]
    assert "characters that a key cannot have" in said
    assert key not in said


def test_a_password_with_a_bare_at_shows_nothing_of_itself() -> None:
    """Its rest would be taken for the host, and shown as such."""
    with pytest.raises(
        ConfigurationError, match="each @ of the password as %40"
    ) as said:
        Database(f"postgresql://me:abc@{PLANTED}@host/db")

    assert PLANTED not in str(said.value)


def test_every_setting_that_can_hold_a_secret_is_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys, passwords, and the credentials of any address, at any depth."""
    from stashhog_core.settings import hide_secrets

    settings = Settings(
        stash=StashSettings(
            url="http://me:planted-1@host",
            public_url="http://me:planted-2@host",
            api_key=SecretStr("planted-3"),
            servers={"attic": {"url": "http://a:planted-4@b", "api_key": "planted-5"}},
        ),
        ai_server=AiServerSettings(url="http://me:planted-6@host"),
        database={"url": "postgresql://me:planted-7@host/name"},
        qbittorrent={"url": "http://me:planted-8@host", "password": "planted-9"},
        text_model={"base_url": "http://me:planted-10@h", "api_key": "planted-11"},
    )

    hide_secrets(settings)

    said = without_secrets(" ".join(f"planted-{n}" for n in range(1, 13)))
    assert said == " ".join(["***"] * 11 + ["planted-12"])


@pytest.mark.parametrize(
    "unseen",
    ["\0", "\x1b", "\x7f", "\x9b", "\xad", "\u061c", "\u200b", "\u200f", "\u2028",
     "\u202e", "\u2066", "\ufeff", "\ud800", "\U000e0041"],
    ids=ascii,
)  # fmt: skip
def test_what_has_an_effect_unseen_is_replaced(unseen: str) -> None:
    """It could steer a terminal, turn a line around, or tell two names apart."""
    assert visible(f"a{unseen}b") == "a\ufffdb"
    assert visible_lines(f"a{unseen}b") == "a\ufffdb"


@pytest.mark.parametrize(
    "name", ["Zoë Müller", "深田えいみ", "naïve 🎬.mp4", "e\u0301"]
)
def test_names_of_all_scripts_stay(name: str) -> None:
    """Accents, quotation marks, other scripts and pictures are names like others."""
    assert visible(name) == name


def test_a_text_stays_on_its_lines_or_comes_on_one() -> None:
    """Where one line is wanted, breaks and tabs are blanks."""
    assert visible("a\n\tb\r\nc") == "a b c"
    assert visible_lines("a\n\tb") == "a\n\tb"
