"""The address of a PostgreSQL database."""

import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, quote_plus, unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, timeout_from_conninfo

from stashhog_core.errors import ConfigurationError

APPLICATION = "stashhog"
"""How our connections are named in pg_stat_activity."""

_OPTIONS = {
    "connect_timeout": "10",
    # A server that vanished without a word is noticed within a minute.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": APPLICATION,
}
_FORM = re.compile(
    r"postgres(?:ql(?:\+psycopg)?)?://"
    r"(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:(?:\[(?P<numeric>[^/?]+)\]|(?P<host>[^/:?]+))?(?::(?P<port>\d*))?)?"
    r"/(?P<name>[^?]+)"
    r"(?:\?(?P<options>.*))?"
)


@dataclass(frozen=True)
class DatabaseAddress:
    """Where a database is, and what is asked of each connection to it.

    Attributes:
        name: Name of the database.
        host: Host of the server; None: the options or the environment name the host.
        port: Port of the server; None: the usual one.
        user: Account on the server; None: that of the operating system.
        password: Password of the account. It is not shown in the `repr`.
        options: Options of libpq, such as `sslmode`, by name. One that stands several
            times in the address has several values.
    """

    name: str
    host: str | None
    port: int | None
    user: str | None
    password: str | None = field(repr=False)
    options: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """What libpq needs to connect, credentials included: not for messages."""
        credentials = server = ""
        if self.user is not None:
            credentials = quote(self.user, safe=" +")
            if self.password is not None:
                credentials += f":{quote(self.password, safe=' +')}"
            credentials += "@"
        if self.host is not None:
            server = f"[{self.host}]" if ":" in self.host else self.host
        if self.port is not None:
            server += f":{self.port}"
        options = "&".join(
            f"{quote_plus(name)}={quote_plus(value)}"
            for name, value in sorted(self.options, key=lambda option: option[0])
        )
        start = f"postgresql://{credentials}{server}/{self.name}"
        return f"{start}?{options}" if options else start

    @property
    def in_words(self) -> str:
        """Host and name, without credentials."""
        host = self.host or ",".join(self.values("host")) or "local socket"
        return f"{host}/{self.name}"

    def values(self, option: str) -> list[str]:
        """Return the values of an option, none if the address lacks the option."""
        return [value for name, value in self.options if name == option]

    def named(self, name: str) -> "DatabaseAddress":
        """Return the address of another database on the same server."""
        return replace(self, name=name)


def read_address(text: str) -> DatabaseAddress:
    """Read an address, such as `postgresql://user:password@host/name`.

    It gets the options of ours that it lacks.

    Raises:
        ConfigurationError: The text is no address of a PostgreSQL database, or has an
            option that PostgreSQL does not accept.
    """
    match = _FORM.match(text)
    if match is None:
        # Without the text in the sentence, which may hold a password.
        raise ConfigurationError(
            "STASHHOG_DATABASE__URL is not a PostgreSQL address",
            remedy="write the address as postgresql://user:password@host/name",
        )
    parts = match.groupdict()
    if "@" in (parts["host"] or ""):
        # What was read as the host begins with the rest of the password.
        raise ConfigurationError(
            "The password in STASHHOG_DATABASE__URL holds an @",
            remedy="write each @ of the password as %40",
        )
    given = parse_qsl(parts["options"] or "")
    names = {name for name, _ in given}
    address = DatabaseAddress(
        name=parts["name"],
        host=parts["host"] or parts["numeric"],
        port=int(parts["port"]) if parts["port"] else None,
        user=_decoded(parts["user"]),
        password=_decoded(parts["password"]),
        options=(*given, *((k, v) for k, v in _OPTIONS.items() if k not in names)),
    )
    try:
        known = conninfo_to_dict(address.text)
        timeout_from_conninfo(known)
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            "STASHHOG_DATABASE__URL has an option that PostgreSQL does not accept",
            remedy=f"correct or remove the option ({first_line(error)})",
        ) from None
    return address


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or else its kind."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)
