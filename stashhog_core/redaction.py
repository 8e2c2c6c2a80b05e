"""Making text safe to show, log and store: no secrets, nothing that acts unseen.

Every error of ours and every log line passes through `without_secrets`. It knows the
values of the secret settings, which `remember` notes when the settings are read, and
the form in which addresses carry credentials, for addresses that no setting holds.
Names come from files and servers, and may hold characters that steer a terminal.
"""

import logging
import re
import traceback
from base64 import b64encode
from typing import Any
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "***"
REPLACEMENT = "\ufffd"

_SHORTEST = 4
"""Shorter values are parts of too many words to be hidden wherever they stand."""

# Up to the last @ of the host's part: a password may hold one unescaped. What our own
# advice writes in its place is none.
_CREDENTIALS = re.compile(r"(?<=://)(?!user:password@)[^\s/?#]+@")
_KEY_IN_QUERY = re.compile(r"(?i)([?&](?:api_?key|token|password|passwd)=)[^&\s'\"#]+")

# Control characters could steer a terminal; marks of direction, and what has no width,
# could make a name look like another one; halves of characters cannot be written.
_UNSEEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_BREAKS = re.compile(r"[\t\n\r]+")

_known: set[str] = set()
_pattern: re.Pattern[str] | None = None


def remember(secret: str) -> None:
    """Hide a value from now on, in each form in which it may be sent or shown."""
    forms = {secret, secret.strip(), unquote(secret), quote(secret, safe="")}
    # How it looks in the text of an exception.
    forms |= {repr(form)[1:-1] for form in forms}
    _learn(forms)


def remember_credentials(user: str, password: str) -> None:
    """Hide a password, and the header that carries it with its user's name."""
    remember(password)
    _learn({b64encode(f"{user}:{unquote(password)}".encode()).decode()})


def remember_address(address: str) -> None:
    """Hide the credentials that an address carries, if any."""
    userinfo, found, _ = _authority(address).rpartition("@")
    if found:
        user, _, password = userinfo.partition(":")
        remember_credentials(unquote(user), password)
        if not password:
            # A token in the place of the user.
            remember(user)


def without_secrets(text: str) -> str:
    """Return a text in which every secret is replaced by `***`."""
    text = _CREDENTIALS.sub("", text)
    text = _KEY_IN_QUERY.sub(rf"\1{HIDDEN}", text)
    return text if _pattern is None else _pattern.sub(HIDDEN, text)


def visible_lines(text: str) -> str:
    """Return a text in which every character that has an effect unseen is replaced.

    Lines stay lines, and tabs stay tabs.
    """
    return _UNSEEN.sub(REPLACEMENT, text)


def visible(text: str) -> str:
    """Return the same on one line."""
    return visible_lines(_BREAKS.sub(" ", text))


def clean_logs() -> None:
    """Have every log line of this process pass through `without_secrets`."""
    logging.setLogRecordFactory(_CleanRecord)


class _CleanRecord(logging.LogRecord):
    """A log record of which neither the message nor the traceback holds a secret.

    Nor does the message hold what would steer the terminal that shows it.
    """

    def __init__(self, *args: Any, **facts: Any) -> None:
        super().__init__(*args, **facts)
        if self.exc_info and self.exc_info[0] is not None:
            # Formatters take this in place of the traceback that they would write.
            lines = traceback.format_exception(*self.exc_info)
            self.exc_text = without_secrets("".join(lines).rstrip("\n"))

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the message as it may be shown."""
        return visible_lines(without_secrets(super().getMessage()))


def forget() -> None:
    """Hide no value any more, as before the settings were read."""
    global _pattern
    _known.clear()
    _pattern = None


def _authority(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return address.partition("://")[2].partition("/")[0]


def _learn(values: set[str]) -> None:
    global _pattern
    new = {value for value in values if len(value) >= _SHORTEST} - _known
    if not new:
        return
    _known.update(new)
    longest_first = sorted(_known, key=len, reverse=True)
    # A password such as `postgres` is a part of other words.
    _pattern = re.compile(
        "|".join(rf"(?<!\w){re.escape(value)}(?!\w)" for value in longest_first)
    )
