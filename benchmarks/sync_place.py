"""A Stash server and an empty mirror, to measure sync with."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import text
from stashapi.stashapp import StashInterface  # type: ignore[import-untyped]

from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams, VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import SCENE_FIELDS, plain
from stashhog_core.sync.comparison import ListingRule
from stashhog_core.sync.job import pending_scenes, sync
from stashhog_core.sync.loader import PAGE_SIZE
from stashhog_core.sync.verify import verify_mirror

GIVEN_URL = os.environ.get("STASHHOG_TEST_STASH_URL", "")
_GIVEN_KEY = os.environ.get("STASHHOG_TEST_STASH_API_KEY", "")

_ALWAYS_LIST = ListingRule(timedelta())


class _Silent:
    """A log for stashapp-tools, which else writes to stderr for Stash to read."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


@dataclass(frozen=True)
class Place:
    """A Stash server in a process of its own, and a mirror."""

    home: Path
    stash: StashClient
    settings: StashSettings
    database: Database
    database_url: str

    @property
    def stash_url(self) -> str:
        return self.settings.url or ""

    def forget(self) -> None:
        """Empty the mirror."""
        with self.database.transaction() as session:
            tables = "scene, tag, performer, studio, manifest, kept_glance, sync_run"
            session.execute(text(f"TRUNCATE {tables} CASCADE"))

    def sync(self, **params: Any) -> None:
        sync(
            self.stash,
            self.database,
            SyncParams(**params),
            Progress(),
            trigger="manual",
            stabilize_seconds=0,
        )

    def verify(self) -> None:
        """Compare every scene, and all else."""
        params = VerifyMirrorParams(scenes=1_000_000)
        result = verify_mirror(self.stash, self.database, params, Progress())
        assert result.differences == 0, result

    def check(self) -> None:
        """Look for changes; there must be none."""
        assert not pending_scenes(self.stash, self.database)

    def list_all(self) -> None:
        """Look for changes by listing everything."""
        assert not pending_scenes(self.stash, self.database, _ALWAYS_LIST)

    def edit(self, ids: Sequence[int], studio_id: int) -> None:
        """Change scenes in Stash."""
        self.stash.bulk_update_scenes(ids, studio_id=studio_id)

    def processor_seconds(
        self,
        work: Callable[[], object],
        *,
        before: Callable[[], object] = lambda: None,
        least: float = 0,
    ) -> float:
        """Return the processor time of a run, here and in PostgreSQL; the mean of some.

        Args:
            work: Run once, and again until all runs took `least` seconds.
            before: Called before each run, and not measured.
            least: Linux counts in hundredths of a second.
        """
        data = Path(self.settings_of_database("data_directory"))
        postmaster = int((data / "postmaster.pid").read_text().partition("\n")[0])
        used, number = 0.0, 0
        while not number or used < least:
            before()
            started = time.process_time() + processor_seconds_of(postmaster)
            work()
            used += time.process_time() + processor_seconds_of(postmaster) - started
            number += 1
        return max(used, 0.001) / number

    def settings_of_database(self, name: str) -> str:
        with self.database.connect() as connection:
            row = connection.execute(f"SHOW {name}").fetchone()
        assert row is not None
        return str(row[0])

    def download(self, ids: Sequence[int]) -> None:
        """Fetch and decode scenes in the pages that sync fetches; keep nothing."""
        for start in range(0, len(ids), PAGE_SIZE):
            self.stash.scenes(ids[start : start + PAGE_SIZE])

    def download_all(self, ids: Sequence[int]) -> None:
        """Do the same with all scenes; these are their ids."""
        for start in range(0, len(ids), PAGE_SIZE):
            page = ids[start : start + PAGE_SIZE]
            self.stash.scenes_between(page[0], page[-1])

    def download_listings(self) -> None:
        """Fetch and decode all light listings; keep nothing."""
        library = self.stash.library()
        for _ in chain(library.pages, library.marker_pages):
            pass

    def download_by_stashapp_tools(self) -> None:
        """Have stashapp-tools fetch the same fields in the same pages; keep nothing."""
        address = urlsplit(self.stash_url)
        tools = StashInterface(
            {
                "scheme": address.scheme,
                "host": address.hostname,
                "port": address.port,
                "ApiKey": _GIVEN_KEY if self.stash_url == GIVEN_URL else "",
                "Logger": _Silent(),
            }
        )
        page, wanted = 1, {"per_page": PAGE_SIZE, "sort": "id", "direction": "ASC"}
        while tools.find_scenes(
            f={}, filter={**wanted, "page": page}, fragment=plain(SCENE_FIELDS)
        ):
            page += 1

    def scene_ids(self) -> list[int]:
        return [stamp.id for page in self.stash.scene_stamps() for stamp in page]


def processor_seconds_of(pid: int) -> float:
    """Return the processor time of a process and of all its children, ended or not."""
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # It may end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name before may hold anything.
            fields = stat.read_text().rpartition(")")[2].split()
            found = int(stat.parent.name)
            children.setdefault(int(fields[1]), []).append(found)
            used[found] = sum(map(int, fields[11:15]))
    total, left = 0, [pid]
    while left:
        total += used.get(left[-1], 0)
        left += children.get(left.pop(), [])
    return total / os.sysconf("SC_CLK_TCK")


@contextmanager
def stand_in(scenes: int) -> Iterator[Place]:
    """Start the stand-in with a made-up library of so many scenes."""
    with _home() as home, socket.socket() as free:
        (home / "library").mkdir()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "sandbox.stash", "--port", str(port)]
        command += ["--home", str(home / "stash"), "--library", str(home / "library")]
        server = subprocess.Popen(
            [*command, "--scenes", str(scenes)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("Stand-in")
            with _place(home, StashSettings(url=f"http://127.0.0.1:{port}")) as place:
                yield place
        finally:
            server.terminate()
            server.communicate()


@contextmanager
def given() -> Iterator[Place]:
    """Use the Stash that the environment names. It is only read."""
    settings = StashSettings(url=GIVEN_URL, api_key=SecretStr(_GIVEN_KEY))
    with _home() as home, _place(home, settings) as place:
        yield place


@contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="stashhog-bench-"))
    # PostgreSQL runs under another account when root starts it.
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home)


@contextmanager
def _place(home: Path, settings: StashSettings) -> Iterator[Place]:
    url = start_embedded(home / "db", "bench")
    database = Database(url)
    try:
        migrate(database)
        with StashClient(settings) as stash:
            yield Place(home, stash, settings, database, url)
    finally:
        database.close()
        stop_embedded(home / "db")
