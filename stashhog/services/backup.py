"""Backup and restore: both databases, the settings and the key of the pages.

A backup is one zip file. Its parts are stored as they are, so that `unzip` and
`pg_restore` can read them without StashHog.
"""

import fcntl
import json
import os
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import httpx
import psycopg
from packaging.version import InvalidVersion, Version
from psycopg import sql

from stashhog.local import read_prefect_variables
from stashhog.services.prefect_server import DATABASE_VARIABLES, ask
from stashhog.services.state import recorded_url, running, taking_turns
from stashhog.web.address import token_of
from stashhog_core.db import dump
from stashhog_core.db.address import read_address
from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.locks import running_jobs
from stashhog_core.db.open import open_database
from stashhog_core.db.schema import latest_revision, migrate
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, TransientError
from stashhog_core.files import unwritable, write_whole
from stashhog_core.report import counted
from stashhog_core.settings import Settings, env_file, make_home_folder

FORMAT = 1
MANIFEST, OURS, PREFECT = "backup.json", "stashhog.dump", "prefect.dump"
ENV, TOKEN = "settings.env", "web-token"
_PART = ".stashhog-backup.part"
_PRIVATE = 0o600
_PAUSE_SECONDS = 1.0
# Rows that no sync brings back, and rows that show that the home is in use.
_COUNTED = {
    "scene": ("scene", "scenes"),
    "analysis_plan": ("plan", "plans"),
    "download_item": ("file of a download", "files of downloads"),
    "library_file": ("file in the file index", "files in the file index"),
    "local_edit": ("local edit", "local edits"),
    "job_report": ("report of a run", "reports of runs"),
}


@dataclass(frozen=True)
class Backup:
    """What a backup holds.

    Attributes:
        made_at: When the backup was made.
        stashhog: Version of StashHog that made the backup.
        schema: Version of the tables.
        prefect: Version of Prefect whose database is in the backup; None: there is no
            database of Prefect in the backup.
        parts: The names of the files in the backup.
        notes: A sentence for each thing that the backup lacks.
    """

    made_at: datetime
    stashhog: str
    schema: str
    prefect: str | None
    parts: tuple[str, ...]
    notes: tuple[str, ...] = ()


def back_up(
    settings: Settings, to: Path, *, wait_seconds: float = 0
) -> tuple[Path, Backup]:
    """Write a backup to a file, or to a new file in a folder; return where it is.

    The file appears at once and whole, readable by its owner only.

    Args:
        settings: They name what is backed up.
        to: The file, which may exist, or the folder.
        wait_seconds: How long to wait for runs to end.

    Raises:
        ConfigurationError: The file cannot be written, or a database not be read.
        TransientError: Runs are active: a backup would hold half of their work.
    """
    made_at = datetime.now(UTC).replace(microsecond=0)
    path = to / f"stashhog-{made_at:%Y%m%dT%H%M%SZ}.zip" if to.is_dir() else to
    with open_database(settings) as database, _written_whole(path) as file:
        with database.connect() as connection:
            _wait_for_runs(settings, connection, wait_seconds)
            prefect = prefect_database(settings, database.connection_string)
            has_prefect = prefect is not None and dump.exists(connection, prefect)
        notes = []
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            _add_database(archive, OURS, database.connection_string)
            if prefect is not None and has_prefect:
                there = read_address(database.connection_string).named(prefect)
                _add_database(archive, PREFECT, there.text)
            elif prefect is None:
                notes.append(
                    f"The backup lacks Prefect's database, because "
                    f"{DATABASE_VARIABLES[0]} names a database of your own: back it "
                    "up with pg_dump"
                )
            if env_file().exists():
                archive.writestr(_member(ENV), env_file().read_bytes())
            archive.writestr(_member(TOKEN), token_of(settings))
            facts = Backup(
                made_at,
                metadata.version("stashhog"),
                latest_revision(),
                metadata.version("prefect") if has_prefect else None,
                tuple(archive.namelist()),
                tuple(notes),
            )
            # Last: a file without it is no backup.
            archive.writestr(_member(MANIFEST), _manifest(facts))
    return path, facts


def read_backup(path: Path) -> Backup:
    """Return what a backup holds, and make sure that the file is not damaged.

    Raises:
        ConfigurationError: The file is missing, damaged, no backup, or newer than this
            StashHog.
    """
    with _opened(path) as archive:
        try:
            facts = json.loads(archive.read(MANIFEST))
            found = Backup(
                made_at=datetime.fromisoformat(facts["made_at"]),
                stashhog=str(facts["stashhog"]),
                schema=str(facts["schema"]),
                prefect=facts["prefect"],
                parts=tuple(facts["parts"]),
                notes=tuple(facts["notes"]),
            )
            is_known = facts["format"] == FORMAT
            is_newer = _is_newer(found.prefect, metadata.version("prefect"))
        except (KeyError, TypeError, ValueError) as error:
            raise _no_backup(path) from error
        if not is_known or is_newer or found.schema > latest_revision():
            raise ConfigurationError(
                f"The backup was made by StashHog {found.stashhog}, which is newer "
                "than this version",
                where=str(path),
                remedy="update StashHog, then restore the backup",
            )
        try:
            broken = archive.testzip()
        except (OSError, zipfile.BadZipFile) as error:
            raise _damaged(path, str(error)) from error
        missing = [name for name in found.parts if name not in archive.namelist()]
        if broken or missing or OURS not in found.parts:
            raise _damaged(path, broken or ", ".join(missing) or OURS)
    return found


@contextmanager
def extracted_settings(path: Path) -> Iterator[Path | None]:
    """Yield a private file with the settings in a backup; None if it has none."""
    with _opened(path) as archive:
        content = archive.read(ENV) if ENV in archive.namelist() else None
    if content is None:
        yield None
        return
    with TemporaryDirectory() as folder:
        part = Path(folder, "env")
        write_whole(part, content, private=True)
        yield part


def restore(settings: Settings, path: Path, *, replace: bool = False) -> list[str]:
    """Put the databases and the key of a backup in the place of the present ones.

    A kill leaves the old state, or the new one. The settings that are in use say where
    the databases are; they are not changed.

    Args:
        settings: Where to restore to.
        path: The backup, which `read_backup` has read.
        replace: Also replace databases that are in use.

    Returns:
        What was done, in sentences.

    Raises:
        ConfigurationError: Services or other programs use the databases; there is data
            already; or the backup does not fit this version.
        TransientError: Runs are active.
    """
    facts = read_backup(path)
    with taking_turns(settings):
        if running(settings):
            raise ConfigurationError(
                "The services run, so nothing was restored",
                where=str(settings.home_folder),
                remedy="run `stashhog down` first",
            )
        url = _server_url(settings)
        ours = read_address(url).name
        prefect = prefect_database(settings, url)
        said = []
        names = [ours]
        if facts.prefect is not None and prefect is not None:
            names.append(prefect)
        elif facts.prefect is not None:
            said.append(
                "Prefect's history was not restored, because "
                f"{DATABASE_VARIABLES[0]} names a database of your own"
            )
        with (
            _opened(path) as archive,
            dump.Replacement(url, names) as replacement,
        ):
            _refuse_present(settings, replacement.connection, url, names, replace)
            for name, part in zip(names, (OURS, PREFECT), strict=False):
                with archive.open(part) as source:
                    there = replacement.restore(name, source)
                if name == ours:
                    said += _migrated(there, facts)
            replacement.commit()
            _restore_token(settings, archive)
    what = "both databases" if len(names) > 1 else "StashHog's database"
    return [f"Restored {what} as of {facts.made_at:%Y-%m-%d %H:%M} UTC", *said]


def keep_settings(part: Path) -> str | None:
    """Put the settings of a backup to where StashHog reads them; say what was done.

    Settings that are there stay, and the backup's come to lie beside them.
    """
    target = Path(".env").absolute()
    content = part.read_bytes()
    if not env_file().exists():
        _keep(target, content)
        return f"Restored the settings to {target}"
    if env_file().read_bytes() == content:
        return None
    beside = env_file().absolute().with_name(".env.restored")
    _keep(beside, content)
    return (
        f"Your settings in {env_file()} stay. The backup has other settings: see "
        f"{beside}"
    )


def _keep(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content, private=True)
    except OSError as error:
        raise unwritable("The file of settings", path, error) from error


def prefect_database(settings: Settings, url: str) -> str | None:
    """Return the name of Prefect's database; None if the user has chosen it.

    Args:
        settings: They say whether the server is the embedded one.
        url: Address of StashHog's database, on the same server.
    """
    variables = read_prefect_variables()
    if any(variables.get(name) for name in DATABASE_VARIABLES):
        return None
    if settings.database.url is None:
        return "prefect"
    return f"{read_address(url).name}_prefect"


def _server_url(settings: Settings) -> str:
    if settings.database.url is not None:
        return settings.database.url.get_secret_value()
    make_home_folder(settings.home_folder)
    return start_embedded(settings.home_folder)


def _wait_for_runs(
    settings: Settings, connection: "psycopg.Connection[Any]", wait_seconds: float
) -> None:
    deadline = time.monotonic() + wait_seconds
    while runs := _active_runs(settings, connection):
        if time.monotonic() >= deadline:
            raise TransientError(
                "Runs are active, and a backup would hold half of their work",
                where=", ".join(runs),
                remedy="try again when the runs have ended, or use --wait SECONDS",
            )
        time.sleep(_PAUSE_SECONDS)


def _active_runs(
    settings: Settings, connection: "psycopg.Connection[Any]"
) -> list[str]:
    """Return who works on the databases: jobs, and runs that are between two jobs.

    Raises:
        TransientError: Prefect's server runs, but does not answer.
    """
    jobs = running_jobs(connection)
    url = recorded_url(settings)
    if jobs or url is None or "server" not in running(settings):
        return jobs
    wanted = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}}}
    try:
        said = ask(url, "/flow_runs/filter", wanted)
        said.raise_for_status()
    except httpx.HTTPError as error:
        raise TransientError(
            "Prefect's server does not say whether runs are active",
            where=url,
            remedy="try again in a minute, or run `stashhog down` first",
        ) from error
    return [str(run["name"]) for run in said.json()]


def _refuse_present(
    settings: Settings,
    connection: "psycopg.Connection[Any]",
    url: str,
    names: list[str],
    replace: bool,
) -> None:
    """Make sure that nobody works on the databases, and that they may be replaced."""
    if not dump.exists(connection, names[0]):
        return
    database = Database(url)
    try:
        with database.connect() as ours:
            if jobs := running_jobs(ours):
                raise TransientError(
                    "Runs are active, so nothing was restored",
                    where=", ".join(jobs),
                    remedy="try again when the runs have ended",
                )
            present = list(_present(ours))
    finally:
        database.close()
    if present and not replace:
        where = settings.home_folder if settings.database.url is None else None
        raise ConfigurationError(
            f"There is data already: {', '.join(present)}",
            where=str(where or read_address(url).in_words),
            remedy="make a backup of it with `stashhog backup`, then replace it with "
            "`stashhog restore --replace`",
        )


def _present(connection: "psycopg.Connection[Any]") -> Iterator[str]:
    """Yield how many rows there are, by kind, where there are any."""
    for table, nouns in _COUNTED.items():
        found = connection.execute("SELECT to_regclass(%s)", [table]).fetchone()
        if found and found[0]:
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            (count,) = connection.execute(query).fetchone() or (0,)
            if count:
                yield counted(count, *nouns)


def _migrated(url: str, facts: Backup) -> list[str]:
    """Bring a restored database to this version's tables; say what was done.

    Raises:
        ConfigurationError: The tables are newer than this version.
    """
    database = Database(url)
    try:
        applied = migrate(database)
    finally:
        database.close()
    if not applied:
        return []
    return [
        f"The backup was made by StashHog {facts.stashhog}: migrated its tables from "
        f"{facts.schema} to {applied[-1]}"
    ]


def _restore_token(settings: Settings, archive: zipfile.ZipFile) -> None:
    if TOKEN in archive.namelist():
        folder = settings.home_folder / "web"
        make_home_folder(folder)
        write_whole(folder / "token", archive.read(TOKEN), private=True)


def _add_database(archive: zipfile.ZipFile, name: str, url: str) -> None:
    with archive.open(_member(name), "w", force_zip64=True) as part:
        dump.dump(url, part)


def _member(name: str) -> zipfile.ZipInfo:
    """Return a part of the archive that only its owner can read when unpacked."""
    member = zipfile.ZipInfo(name, date_time=time.gmtime()[:6])
    member.external_attr = _PRIVATE << 16
    return member


def _manifest(facts: Backup) -> str:
    written = {
        "format": FORMAT,
        "made_at": facts.made_at.isoformat(),
        "stashhog": facts.stashhog,
        "schema": facts.schema,
        "prefect": facts.prefect,
        "parts": facts.parts,
        "notes": facts.notes,
    }
    return json.dumps(written, indent=2)


@contextmanager
def _written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Yield a private file that gets its name when the block has ended well.

    Until then the name in the folder is one for all backups: the file is also the lock.

    Raises:
        ConfigurationError: It cannot be written, or another backup writes there.
    """
    part = path.parent / _PART
    try:
        # Not emptied before the lock is held: it may be another backup's.
        with os.fdopen(_privately(str(part), os.O_RDWR | os.O_CREAT), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # What a killed backup has left.
            file.truncate(0)
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            part.replace(path)
    except BlockingIOError as error:
        raise ConfigurationError(
            "Another backup is being written to this folder",
            where=str(path.parent),
            remedy="wait until the other backup has ended",
        ) from error
    except OSError as error:
        raise unwritable("The backup", path, error, "another file or folder") from error


def _privately(name: str, flags: int) -> int:
    descriptor = os.open(name, flags, _PRIVATE)
    os.fchmod(descriptor, _PRIVATE)
    return descriptor


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise _no_backup(path) from error
    except OSError as error:
        raise ConfigurationError(
            "The backup cannot be read",
            where=str(path),
            remedy=f"check the path ({error.strerror})",
        ) from error
    with archive:
        yield archive


def _no_backup(path: Path) -> ConfigurationError:
    return ConfigurationError(
        "The file is no backup of StashHog, or is cut off",
        where=str(path),
        remedy="name a file that `stashhog backup` has written",
    )


def _damaged(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        "The backup is damaged, so nothing was restored",
        where=str(path),
        remedy=f"restore another backup ({what})",
    )


def _is_newer(version: str | None, than: str) -> bool:
    """Tell whether a minor version is newer: Prefect's tables change with those."""
    try:
        return (
            version is not None
            and Version(version).release[:2] > Version(than).release[:2]
        )
    except InvalidVersion as error:
        raise ValueError(version) from error
