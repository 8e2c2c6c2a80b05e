"""Troubles of qBittorrent and of an AI server at each request in turn."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import delete, select, update

from sandbox.ai_server import AiStandIn
from stashhog_core.db.models import AnalysisPlan, DownloadItem, Scene, TaggerResult
from stashhog_core.db.session import Database
from stashhog_core.detection import ai_client
from stashhog_core.downloads.job import process_downloads
from stashhog_core.errors import StashHogError
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.progress import Progress
from stashhog_core.settings import (
    AiServerSettings,
    DownloadSettings,
    QBittorrentSettings,
    Settings,
)
from tests.support.fuzzing import check_sentence
from tests.support.media import write_video
from tests.support.plans import VIDEO_ONLY, add_scenes, changes, run
from tests.support.proxy import Carry, Proxy, proxy_of
from tests.support.qbittorrent import (
    PASSWORD,
    USERNAME,
    QBittorrentServer,
    running_qbittorrent,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]

LIMIT_SECONDS = 1.0
"""How long a run waits for an answer of a server that is slow for longer."""


def answers(status: int, body: bytes, kind: str) -> Callable[[Carry], httpx.Response]:
    """Return what answers so after the server has done what it was asked."""

    def answer(carry: Carry) -> httpx.Response:
        carry()
        return httpx.Response(status, content=body, headers={"Content-Type": kind})

    return answer


def cut(carry: Carry) -> httpx.Response:
    """Answer with half of the body."""
    answer = carry()
    half = answer.content[: len(answer.content) // 2]
    return httpx.Response(answer.status_code, content=half, headers=answer.headers)


def drop(carry: Carry) -> None:
    """Lose the answer."""
    carry()


def wait(carry: Carry) -> httpx.Response:
    """Answer when nobody waits for that any more."""
    answer = carry()
    time.sleep(1.5 * LIMIT_SECONDS)
    return answer


TROUBLES: dict[str, Callable[[Carry], httpx.Response | None]] = {
    "status 503": lambda _: httpx.Response(503),
    "page of a proxy": answers(200, b"<html>Log in</html>", "text/html"),
    "empty": answers(200, b"", "application/json"),
    "cut off": cut,
    "answer lost": drop,
    "slow": wait,
    "killed before": lambda _: None,
    "killed after": drop,
}


@dataclass
class AtRequest:
    """Has a trouble come about at the `at`-th request, and lets others pass."""

    what: str
    at: int
    kill: Callable[[], object]
    count: int = 0

    def __call__(self, carry: Carry) -> httpx.Response | None:
        """Answer a request."""
        self.count += 1
        if self.count != self.at:
            return carry()
        if self.what == "killed before":
            self.kill()
        answer = TROUBLES[self.what](carry)
        if self.what == "killed after":
            self.kill()
        return answer


def each_request(
    proxy: Proxy, what: str, kill: Callable[[], object], job: Callable[[], object]
) -> Iterator[None]:
    """Do a job with a trouble at its first request, the second, and so on.

    Yields after each, with the server as the trouble left it; the end is a job that
    the trouble did not reach.
    """
    at = 0
    is_reached = True
    while is_reached:
        at += 1
        trouble = AtRequest(what, at, kill)
        proxy.trouble = trouble
        try:
            job()
        except StashHogError as error:
            check_sentence(error)
        is_reached = trouble.count >= at
        proxy.trouble = lambda carry: carry()
        yield
    assert at > 3, "the job makes few requests"


def inodes(folder: Path) -> dict[str, int]:
    """Return the number of each file below a folder, by its path there."""
    return {
        str(path.relative_to(folder)): path.stat().st_ino
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def seeding(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[QBittorrentServer, Path, list[str]]]:
    """A qBittorrent that seeds a file and a folder: it, the downloads, their hashes."""
    folder = tmp_path_factory.mktemp("seeding")
    downloads = folder / "downloads"
    write_video(downloads / "one.mp4", seconds=1, width=40, height=40)
    write_video(downloads / "two" / "2.mp4", seconds=1, width=40, height=40, seed=2)
    with running_qbittorrent(folder / "profile") as server:
        hashes = [server.seed(downloads / name) for name in ("one.mp4", "two")]
        server.wait_until_seeding(hashes)
        yield server, downloads, hashes


@pytest.mark.parametrize("what", TROUBLES)
def test_trouble_of_qbittorrent_at_each_request(
    what: str,
    seeding: tuple[QBittorrentServer, Path, list[str]],
    database: Database,
    tmp_path: Path,
) -> None:
    """After the next run each download is in the library, once, and has its tag."""
    server, downloads, hashes = seeding
    library = tmp_path / "library"
    library.mkdir()
    truth = inodes(downloads)

    def take(**limits: float) -> None:
        process_downloads(
            Settings(
                downloads=DownloadSettings(
                    source="qbittorrent", library_root=library, reserve_bytes=0
                ),
                qbittorrent=QBittorrentSettings(
                    url=proxy.url,
                    username=USERNAME,
                    password=SecretStr(PASSWORD),
                    post_import_category="done",
                    **limits,
                ),
            ),
            database,
            ProcessDownloadsParams(),
            Progress(),
        )

    limits = {"timeout_seconds": LIMIT_SECONDS} if what == "slow" else {}
    with proxy_of(server.url) as proxy:
        for _ in each_request(proxy, what, server.kill, partial(take, **limits)):
            if not server.is_running:
                server.start_again()
                server.wait_until_seeding(hashes)
                # It may have died before it had stored that the last round is undone.
                server.unmark_all()
            with database.transaction() as session:
                session.execute(update(DownloadItem).values(next_try_at=None))

            take()

            assert inodes(library) == truth
            assert inodes(downloads) == truth
            for info_hash in hashes:
                assert server.tags(info_hash) == {"synced"}
                assert server.category(info_hash) == "done"
            with database.transaction() as session:
                states = list(session.scalars(select(DownloadItem.state)))
                session.execute(delete(DownloadItem))
            assert states == ["placed"] * len(truth)
            shutil.rmtree(library)
            library.mkdir()
            server.unmark_all()


@pytest.mark.parametrize("what", TROUBLES)
def test_trouble_of_an_ai_server_at_each_request(
    what: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the next run each scene is analyzed, with the changes of a clean run."""
    monkeypatch.setattr(ai_client, "RETRY_DELAYS_SECONDS", (0.0,))
    add_scenes(database)
    seen = {"actions": {"Dancing": [(0.0, 20.0, 0.8)]}}
    with AiStandIn(capacity=4) as server, proxy_of(server.url) as proxy:
        server.videos = {f"/ai/{number}.mp4": seen for number in range(1, 6)}
        # A server that was away is left alone for a while by those who ask it with the
        # same number of requests at a time.
        numbers = count(1)

        def analyze(**limits: float) -> None:
            ai = AiServerSettings(
                url=proxy.url,
                path_map={"/data": "/ai"},
                parallel_requests=next(numbers),
                **limits,
            )
            run(database, settings=Settings(ai_server=ai), **VIDEO_ONLY)

        def forget() -> None:
            with database.transaction() as session:
                session.execute(update(Scene).values(video_analyzed=False))
                session.execute(delete(TaggerResult))
                session.execute(delete(AnalysisPlan))

        is_dead = False

        def kill() -> None:
            nonlocal is_dead
            is_dead = True
            server.stop()

        analyze()
        truth = changes(database)
        forget()
        limits = {"timeout_seconds": LIMIT_SECONDS} if what == "slow" else {}
        for _ in each_request(proxy, what, kill, partial(analyze, **limits)):
            if is_dead:
                server.start()
                is_dead = False

            analyze()

            with database.transaction() as session:
                flags = list(session.scalars(select(Scene.video_analyzed)))
            assert flags == [True] * 5
            assert changes(database) == truth
            forget()
