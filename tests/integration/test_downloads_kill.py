"""`kill -9` at any moment, then a clean run: as if nothing had happened."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from sqlalchemy import delete, select

from stashhog_core.db.models import DownloadItem
from stashhog_core.db.session import Database
from tests.support.media import write_video
from tests.support.qbittorrent import PASSWORD, USERNAME, running_qbittorrent

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("STASHHOG_TEST_KILLS", "100")) // 2
"""Deaths for each of the two ways of placing; more of them search more moments."""

# Imports once, then runs the job in a fork for each line it reads, and kills it after
# as many seconds as the line says.
_RUNNER = """
import json, os, signal, sys, time
from stashhog_core.db.session import Database
from stashhog_core.downloads.job import process_downloads
from stashhog_core.errors import TransientError
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings

url, settings = sys.argv[1:]

def run():
    given = Settings(**json.loads(settings))
    database = Database(url)
    while True:
        try:
            process_downloads(given, database, ProcessDownloadsParams(), Progress())
            return 0
        except TransientError as error:
            # PostgreSQL takes a moment to see that the killed run's lock is free.
            if "under way" not in str(error):
                raise
            time.sleep(0.05)

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = run()
        finally:
            os._exit(status)
    if line.strip():
        # Until it is waited for, its number belongs to no other process.
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Runner:
    """Runs the job again and again, each time in a process of its own."""

    def __init__(self, commands: IO[str], answers: IO[str]) -> None:
        self._commands = commands
        self._answers = answers

    def run(self, kill_after_seconds: float | None = None) -> int:
        """Run once, perhaps to its death; return the wait status."""
        after = "" if kill_after_seconds is None else str(kill_after_seconds)
        self._commands.write(f"{after}\n")
        self._commands.flush()
        return int(self._answers.readline())


@contextmanager
def _runner(url: str, library: Path, **sections: Any) -> Iterator[Runner]:
    library.mkdir()
    downloads = {"library_root": str(library), "reserve_bytes": 0}
    sections["downloads"] |= downloads
    with subprocess.Popen(
        [sys.executable, "-c", _RUNNER, url, json.dumps(sections)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Runner(process.stdin, process.stdout)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """Folders and single files, with subtitles."""
    root = tmp_path / "downloads"
    source = random.Random(1)
    video = write_video(tmp_path / "v.mp4", seconds=1, width=40, height=40)
    sizes = [source.randrange(100_000, 1_000_000) for _ in range(30)]
    for number, size in enumerate(sizes):
        folder = root / f"Film {number}" if number % 2 else root
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.mp4").write_bytes(
            # What follows a video's end does not matter to who reads it.
            video.read_bytes() + source.randbytes(size)
        )
        (folder / f"{number}.srt").write_bytes(source.randbytes(100))
    (root / "Film 1" / "1.mp4").rename(root / "Film 1" / "0.mp4")
    return root


def _tree(library: Path) -> dict[str, str]:
    return {
        str(path.relative_to(library)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in library.rglob("*")
        if path.is_file()
    }


def _ledger(database: Database, library: Path) -> list[tuple[object, ...]]:
    with database.transaction() as session:
        items = session.scalars(select(DownloadItem)).all()
    return sorted(
        (
            item.entry_key,
            item.relative_path,
            item.size_bytes,
            item.state,
            (item.target_path or "").removeprefix(str(library)),
            item.oshash or "",
            item.tries,
            # A copy that the killed run had finished is there for the next one.
            {"existing": "copy"}.get(item.method or "", item.method),
        )
        for item in items
    )


def _forget(database: Database, library: Path) -> None:
    with database.transaction() as session:
        session.execute(delete(DownloadItem))
    shutil.rmtree(library)
    library.mkdir()


@pytest.fixture
def other_database(database: Database) -> Iterator[Database]:
    """A second one: the ledger of the clean run."""
    url = database.engine.url.render_as_string(hide_password=False)
    name = f"{database.engine.url.database}_clean"
    with database.engine.connect().execution_options(
        isolation_level="AUTOCOMMIT"
    ) as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE template')
    other = Database(
        url.replace("postgresql+psycopg", "postgresql").replace(
            f"/{database.engine.url.database}?", f"/{name}?"
        )
    )
    yield other
    other.close()
    with database.engine.connect().execution_options(
        isolation_level="AUTOCOMMIT"
    ) as connection:
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def _url(database: Database) -> str:
    url = database.engine.url.render_as_string(hide_password=False)
    return url.replace("postgresql+psycopg", "postgresql")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("policy", ["hardlink", "copy"])
def test_killed_runs_end_as_one_clean_run(
    policy: str,
    database: Database,
    other_database: Database,
    downloads: Path,
    tmp_path: Path,
) -> None:
    """Same tree, same ledger; never a part of a file under its final name."""
    clean_library, library = tmp_path / "clean", tmp_path / "killed"
    settings = {"folder": str(downloads), "place": policy, "settle_seconds": 0}
    with _runner(_url(other_database), clean_library, downloads=settings) as clean:
        started = time.monotonic()
        assert clean.run() == 0
        seconds = time.monotonic() - started
    expected = _tree(clean_library)
    moments = random.Random(2)
    deaths = 0
    with _runner(_url(database), library, downloads=settings) as runner:
        while deaths < KILLS:
            if runner.run(moments.uniform(0, seconds)) == signal.SIGKILL:
                deaths += 1
            else:
                # It was faster: from the start again.
                _forget(database, library)
            # What is visible is whole, at every moment.
            visible = {
                name: digest
                for name, digest in _tree(library).items()
                if not name.rpartition("/")[2].startswith(".")
            }
            assert visible.items() <= expected.items()
        assert runner.run() == 0
    assert _tree(library) == expected
    assert _ledger(database, library) == _ledger(other_database, clean_library)


@pytest.mark.timeout(1800)
def test_killed_runs_tell_qbittorrent_all_the_same(
    database: Database, downloads: Path, tmp_path: Path
) -> None:
    """Every torrent is in the library, and has its tag and its category."""
    library, profile = tmp_path / "killed", tmp_path / "profile"
    sections: dict[str, Any] = {"downloads": {"source": "qbittorrent"}}
    moments = random.Random(3)
    deaths = 0
    with running_qbittorrent(profile) as server:
        sections["qbittorrent"] = {
            "url": server.url,
            "username": USERNAME,
            "password": PASSWORD,
            "post_import_category": "imported",
        }
        hashes = [server.seed(path) for path in sorted(downloads.iterdir())[:12]]
        for info_hash in hashes:
            server.wait_for(info_hash, "stalledUP", "uploading", "queuedUP")

        def reported() -> set[tuple[str, str]]:
            return {(*server.tags(i), server.category(i)) for i in hashes}

        def forget() -> None:
            server.client.torrents_remove_tags("synced", torrent_hashes=hashes)
            server.client.torrents_set_category("stash", torrent_hashes=hashes)
            _forget(database, library)

        with _runner(_url(database), library, **sections) as runner:
            started = time.monotonic()
            assert runner.run() == 0
            seconds = time.monotonic() - started
            expected = _tree(library)
            forget()
            while deaths < KILLS // 5:
                if runner.run(moments.uniform(0, seconds)) == signal.SIGKILL:
                    deaths += 1
                    continue
                # It was faster: from the start again.
                assert reported() == {("synced", "imported")}
                forget()
            assert runner.run() == 0
        assert reported() == {("synced", "imported")}
    assert _tree(library) == expected
    with database.transaction() as session:
        items = session.scalars(select(DownloadItem)).all()
    assert {item.state for item in items} == {"placed"}
    assert len(items) == len(expected)
