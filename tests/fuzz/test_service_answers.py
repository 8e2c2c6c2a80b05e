"""Answers of qBittorrent and of an AI server that neither gives: no lasting harm."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
from stashhog_core.results import DownloadsResult
from stashhog_core.settings import (
    AiServerSettings,
    DownloadSettings,
    QBittorrentSettings,
    Settings,
)
from tests.support.fuzzing import LyingOnce, check_sentence, many
from tests.support.media import write_video
from tests.support.plans import VIDEO_ONLY, add_scenes, run
from tests.support.proxy import proxy_of
from tests.support.qbittorrent import PASSWORD, USERNAME, running_qbittorrent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


lies = st.builds(LyingOnce, st.integers(0, 2**32), st.integers(1, 4))


def names_below(folder: Path) -> dict[str, int]:
    """Return the file numbers of a folder's files, by path."""
    return {
        str(path.relative_to(folder)): path.stat().st_ino
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_no_answer_of_qbittorrent_does_lasting_harm(
    database: Database, tmp_path: Path
) -> None:
    """The run after it places what is finished, and nothing but links is placed."""
    downloads, library = tmp_path / "downloads", tmp_path / "library"
    write_video(downloads / "one.mp4", seconds=1, width=40, height=40)
    for seed in (1, 2):
        part = downloads / "two" / f"{seed}.mp4"
        write_video(part, seconds=1, width=40, height=40, seed=seed)
    library.mkdir()
    truth = names_below(downloads)
    noticed: list[object] = []
    with (
        running_qbittorrent(tmp_path / "profile") as server,
        proxy_of(server.url) as proxy,
    ):
        for content in ("one.mp4", "two"):
            added = server.seed(downloads / content)
            server.wait_for(added, "stalledUP", "uploading", "queuedUP")

        def take() -> DownloadsResult:
            return process_downloads(
                Settings(
                    downloads=DownloadSettings(
                        source="qbittorrent", library_root=library, reserve_bytes=0
                    ),
                    qbittorrent=QBittorrentSettings(
                        url=proxy.url,
                        username=USERNAME,
                        password=SecretStr(PASSWORD),
                    ),
                ),
                database,
                ProcessDownloadsParams(),
                Progress(),
            )

        @given(lie=lies)
        @many
        def check(lie: Callable[[bytes], bytes]) -> None:
            proxy.change = lie
            try:
                noticed.extend(take().errors)
            except StashHogError as error:
                check_sentence(error)
                noticed.append(error)
            proxy.change = bytes
            with database.transaction() as session:
                session.execute(update(DownloadItem).values(next_try_at=None))

            take()

            placed = names_below(library)
            assert truth.items() <= placed.items()
            assert set(placed.values()) == set(truth.values())
            assert names_below(downloads) == truth
            shutil.rmtree(library)
            library.mkdir()
            server.client.torrents_remove_tags(torrent_hashes="all")
            with database.transaction() as session:
                session.execute(delete(DownloadItem))

        check()
    assert noticed, "no changed answer reached the product"


def test_no_answer_of_an_ai_server_does_lasting_harm(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run after it analyzes what is left."""
    monkeypatch.setattr(ai_client, "RETRY_DELAYS_SECONDS", (0.0,))
    add_scenes(database)
    noticed: list[object] = []
    seen = {"actions": {"Dancing": [(0.0, 20.0, 0.8)]}}
    with AiStandIn(capacity=4) as server, proxy_of(server.url) as proxy:
        server.videos = {f"/ai/{number}.mp4": seen for number in range(1, 6)}
        ai = AiServerSettings(
            url=proxy.url, path_map={"/data": "/ai"}, parallel_requests=1
        )
        analyze = partial(run, database, settings=Settings(ai_server=ai), **VIDEO_ONLY)

        @given(lie=lies)
        @many
        def check(lie: Callable[[bytes], bytes]) -> None:
            proxy.change = lie
            try:
                noticed.extend(analyze().errors)
            except StashHogError as error:
                check_sentence(error)
                noticed.append(error)
            proxy.change = bytes

            analyze()

            with database.transaction() as session:
                flags: list[Any] = list(session.scalars(select(Scene.video_analyzed)))
                session.execute(update(Scene).values(video_analyzed=False))
                session.execute(delete(TaggerResult))
                session.execute(delete(AnalysisPlan))
            assert flags == [True] * 5

        check()
    assert noticed, "no changed answer reached the product"
