"""Copying a whole database into a file and back, by PostgreSQL's own programs.

The programs ship with the embedded server. They read every server of their own version
or older, and what they write can be restored to every supported version.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, NoReturn

import psycopg
from psycopg import pq, sql

from stashhog_core.db.address import DatabaseAddress, first_line, read_address
from stashhog_core.errors import ConfigurationError

RESTORING, REPLACED = "_restoring", "_replaced"
"""Suffixes of a database that is being restored, and of one that was replaced."""

_CHUNK_BYTES = 1 << 20
# Servers before version 17 do not know the setting, and a restore ends at an error.
_TOO_NEW = (b"SET transaction_timeout = 0;", 170000)
_MAINTENANCE = ("postgres", "template1")


def dump(url: str, to: IO[bytes]) -> None:
    """Write a database, as it is at one moment, in PostgreSQL's custom format.

    Jobs may go on meanwhile. Owners and privileges are left out.

    Raises:
        ConfigurationError: PostgreSQL refuses to read the database; says why.
    """
    options = ("--format=custom", "--no-owner", "--no-privileges", "--no-password")
    with _Program(("pg_dump", *options), url, stdout=subprocess.PIPE) as program:
        shutil.copyfileobj(program.output, to, _CHUNK_BYTES)


def exists(connection: "psycopg.Connection[Any]", name: str) -> bool:
    """Tell whether the server has a database of this name."""
    found = connection.execute(
        "SELECT 1 FROM pg_database WHERE datname = %s", [name]
    ).fetchone()
    return found is not None


class Replacement:
    """New databases that take the place of others all at once, or not at all.

    Each database is restored under another name. `commit` renames all of them in one
    transaction, so that a kill at any moment leaves either all old or all new
    databases. What a killed call leaves behind is removed by the next one.

    Args:
        url: Address of any database of the server, which need not exist.
        names: The databases that are to be replaced.

    Raises:
        ConfigurationError: The server does not let this user make databases.
    """

    def __init__(self, url: str, names: Sequence[str]) -> None:
        self._where = read_address(url)
        self._names = names
        self._connection = _maintenance_connection(self._where)
        try:
            self._remove_left()
        except psycopg.Error as error:
            self._connection.close()
            raise _refused(self._where, error) from error

    def __enter__(self) -> "Replacement":
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever was not committed. If the server is gone, the next call removes it,
        # and the error that is on its way says so.
        with suppress(psycopg.Error):
            self._remove_left()
        self._connection.close()

    @property
    def connection(self) -> "psycopg.Connection[Any]":
        """A connection to the server, to none of the databases, in autocommit mode."""
        return self._connection

    def restore(self, name: str, source: IO[bytes]) -> str:
        """Restore a dump under a temporary name; return the address of the result.

        Raises:
            ConfigurationError: The dump is damaged, or the server refuses it.
        """
        there = self._where.named(name + RESTORING)
        self._create(name, there.name)
        options = ("--set=ON_ERROR_STOP=1", "--no-password", f"--output={os.devnull}")
        into = ("psql", "--no-psqlrc", "--quiet", "--single-transaction", *options)
        keep = ("--no-owner", "--no-privileges", "--no-comments")
        read = ("pg_restore", *keep, "--file=-")
        pipe = subprocess.PIPE
        with _Program(into, there.text, stdin=pipe) as writer:
            with _Program(read, there.text, stdin=pipe, stdout=pipe) as reader:
                feeder = threading.Thread(target=_feed, args=(source, reader.input))
                feeder.start()
                first = reader.output.read(_CHUNK_BYTES)
                line, known_since = _TOO_NEW
                if self._connection.info.server_version < known_since:
                    first = first.replace(line, b"", 1)
                try:
                    writer.input.write(first)
                    shutil.copyfileobj(reader.output, writer.input, _CHUNK_BYTES)
                except BrokenPipeError:
                    writer.raise_failure()
            feeder.join()
        return there.text

    def commit(self) -> None:
        """Put the restored databases in the places of the others, and drop those.

        Raises:
            ConfigurationError: Another program is connected to one of them.
        """
        try:
            with self._connection.transaction():
                for name in self._names:
                    if not exists(self._connection, name + RESTORING):
                        continue
                    if exists(self._connection, name):
                        self._rename(name, name + REPLACED)
                    self._rename(name + RESTORING, name)
        except psycopg.errors.ObjectInUse as error:
            raise ConfigurationError(
                "Other programs are connected to the database, so nothing was restored",
                where=self._where.in_words,
                remedy="stop them, such as `stashhog up` and workers of other "
                f"machines, and try again ({first_line(error)})",
            ) from error
        except psycopg.Error as error:
            raise _refused(self._where, error) from error

    def _rename(self, before: str, after: str) -> None:
        self._connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                sql.Identifier(before), sql.Identifier(after)
            )
        )

    def _create(self, like: str, name: str) -> None:
        """Make an empty database that sorts and compares as another one does."""
        query = "SELECT to_jsonb(d) FROM pg_database d WHERE datname = %s"
        try:
            row = self._connection.execute(query, [like]).fetchone()
        except psycopg.Error as error:
            raise _refused(self._where, error) from error
        facts: dict[str, Any] = row[0] if row else {}
        options = {"LC_COLLATE": "datcollate", "LC_CTYPE": "datctype"}
        statement = sql.SQL(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'"
        ).format(sql.Identifier(name))
        provider = {"b": "builtin", "i": "icu"}.get(facts.get("datlocprovider", "c"))
        locale = facts.get("datlocale") or facts.get("daticulocale")
        if provider and locale:
            options_of = {"builtin": "BUILTIN_LOCALE", "icu": "ICU_LOCALE"}[provider]
            statement += sql.SQL(" LOCALE_PROVIDER {} {} {}").format(
                sql.SQL(provider), sql.SQL(options_of), sql.Literal(locale)
            )
        for option, column in options.items():
            if facts.get(column):
                statement += sql.SQL(" {} {}").format(
                    sql.SQL(option), sql.Literal(facts[column])
                )
        try:
            self._connection.execute(statement)
        except psycopg.Error as error:
            raise _refused(self._where, error) from error

    def _remove_left(self) -> None:
        """Drop what no call has committed.

        PostgreSQL may still be working on it for a call that was killed.
        """
        for name in self._names:
            for suffix in (RESTORING, REPLACED):
                self._connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                        sql.Identifier(name + suffix)
                    )
                )


def _refused(where: DatabaseAddress, error: psycopg.Error) -> ConfigurationError:
    return ConfigurationError(
        "PostgreSQL does not let this user restore a database",
        where=where.in_words,
        remedy="the user must own the databases and may need the right to make "
        f"databases: ALTER ROLE {where.user} CREATEDB ({first_line(error)})",
    )


def _maintenance_connection(where: DatabaseAddress) -> "psycopg.Connection[Any]":
    """Connect to a database of the server that is none of ours.

    Raises:
        ConfigurationError: The server lets this user connect to none.
    """
    refusal: psycopg.Error | None = None
    for name in _MAINTENANCE:
        try:
            return psycopg.connect(where.named(name).text, autocommit=True)
        except psycopg.Error as error:
            refusal = error
    raise ConfigurationError(
        "StashHog cannot connect to the server's database postgres, which a restore "
        "needs",
        where=where.in_words,
        remedy="start PostgreSQL, or allow the connection "
        f"({first_line(refusal) if refusal else ''})",
    )


def _feed(source: IO[bytes], into: IO[bytes]) -> None:
    """Write all of a stream into a program and close it.

    A program that has ended early says why itself.
    """
    with suppress(BrokenPipeError), into:
        shutil.copyfileobj(source, into, _CHUNK_BYTES)


class _Program:
    """A program of PostgreSQL that works on a database, for a `with` block.

    The block ends when the program has ended.

    Raises:
        ConfigurationError: The program failed; says what the program said.
    """

    def __init__(self, words: Sequence[str], url: str, **streams: Any) -> None:
        from stashhog_core.db.embedded import postgres_program

        self._where = read_address(url)
        self._name = words[0]
        # By environment: anybody may read the arguments of a program.
        options = pq.Conninfo.parse(self._where.text.encode())
        address = {
            option.envvar.decode(): option.val.decode()
            for option in options
            if option.envvar and option.val
        }
        self._process = subprocess.Popen(
            [postgres_program(words[0]), *words[1:]],
            env={**os.environ, **address, "LC_ALL": "C.UTF-8"},
            stderr=subprocess.PIPE,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams},
        )
        self._said = b""
        # Read as it comes: a program that says much would wait for a reader.
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        if self._process.stderr is not None:
            self._said = self._process.stderr.read()

    @property
    def input(self) -> IO[bytes]:
        """The stream that the program reads."""
        stream = self._process.stdin
        if stream is None:
            raise RuntimeError(f"{self._name} reads nothing")
        return stream

    @property
    def output(self) -> IO[bytes]:
        """The stream that the program writes."""
        stream = self._process.stdout
        if stream is None:
            raise RuntimeError(f"{self._name} writes nothing")
        return stream

    def __enter__(self) -> "_Program":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # What could not be written any more is why the program failed.
                with suppress(BrokenPipeError):
                    stream.close()
        if self._end() and kind is None:
            self.raise_failure()

    def raise_failure(self) -> NoReturn:
        """Wait for the end of the program, and raise what the program said."""
        status = self._end()
        lines = self._said.decode(errors="replace").strip().splitlines()
        raise ConfigurationError(
            f"PostgreSQL's program {self._name} failed",
            where=self._where.in_words,
            remedy=lines[0] if lines else f"it ended with status {status}",
        )

    def _end(self) -> int:
        status = self._process.wait()
        self._listener.join()
        if self._process.stderr is not None:
            self._process.stderr.close()
        return status
