"""The source against answers that a real qBittorrent 5.1.0 once gave.

Where only 4.5 can be had, the suite runs that one; the cassettes replay without a
server. To record them anew, run `tests/support/cassettes.py`.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import vcr
from pydantic import SecretStr
from sqlalchemy import select

from stashhog_core.db.models import DownloadItem
from stashhog_core.db.session import Database
from stashhog_core.downloads.job import process_downloads
from stashhog_core.downloads.qbittorrent import QBittorrentSource
from stashhog_core.errors import ConfigurationError
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.progress import Progress
from stashhog_core.results import DownloadsResult
from stashhog_core.settings import DownloadSettings, QBittorrentSettings, Settings
from tests.support.cassettes import DOWNLOADS, write_downloads

FOLDER = Path(__file__).parents[1] / "cassettes"
# `body` would drop empty values of a form, which qBittorrent tells from absent ones;
# see `findings/vcrpy_forms_with_empty_values.sh` (vcrpy 9.4.2).
PLAYER = vcr.VCR(
    cassette_library_dir=str(FOLDER),
    path_transformer=vcr.VCR.ensure_suffix(".yaml"),
    record_mode="none",
    match_on=["method", "path", "raw_body"],
)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """What the torrents of the cassettes say that lies there."""
    path = tmp_path / "downloads"
    write_downloads(path)
    return path


def _settings(downloads: Path, library: Path, **server: Any) -> Settings:
    return Settings(
        downloads=DownloadSettings(
            source="qbittorrent",
            library_root=library,
            path_map={DOWNLOADS: str(downloads)},
            reserve_bytes=0,
        ),
        qbittorrent=QBittorrentSettings(
            url="http://127.0.0.1:8080", password=SecretStr("word"), **server
        ),
    )


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "library"
    path.mkdir()
    return path


def _run(settings: Settings, database: Database) -> DownloadsResult:
    return process_downloads(settings, database, ProcessDownloadsParams(), Progress())


def test_stopped_and_seeding_torrents_of_5x_come_in(
    downloads: Path, library: Path, database: Database
) -> None:
    """`stoppedUP` is complete, `stoppedDL` is not; `error` is told."""
    settings = _settings(downloads, library, post_import_category="done")
    with PLAYER.use_cassette("qbittorrent_5x_import") as cassette:
        result = _run(settings, database)

    assert cassette.all_played
    assert (result.total_items, result.synced_items, result.files) == (4, 2, 3)
    assert (result.skipped_items, result.failed_items) == (1, 1)
    assert [error.item for error in result.errors] == ["Broken"]
    assert {
        str(path.relative_to(library)) for path in library.rglob("*") if path.is_file()
    } == {"Stopped film/film.mp4", "Stopped film/film.srt", "seeding.mkv"}
    with database.transaction() as session:
        states = session.scalars(select(DownloadItem.state)).all()
    assert sorted(states) == ["failed", "placed", "placed", "placed"]


def test_torrents_of_5x_are_stopped_and_removed(
    downloads: Path, library: Path, database: Database
) -> None:
    """By `stop`, and only what has seeded as long as 5.x tells that it must."""
    with PLAYER.use_cassette("qbittorrent_5x_import"):
        _run(_settings(downloads, library, post_import_category="done"), database)
    settings = _settings(
        downloads, library, post_import_category="done", clean_up="remove_torrent"
    )
    with PLAYER.use_cassette("qbittorrent_5x_clean_up") as cassette:
        result = _run(settings, database)

    assert cassette.all_played
    assert result.removed == ("Stopped film",)
    # Another program tagged it: the ledger does not know it.
    assert [kept.item for kept in result.kept] == ["Done before"]
    paths = [request.path for request in cassette.requests]
    assert paths.index("/api/v2/torrents/stop") < paths.index("/api/v2/torrents/delete")


def test_5x_refuses_and_bans_as_4x_does(downloads: Path, library: Path) -> None:
    """Its words for a wrong password, and for too many of them."""
    settings = _settings(downloads, library)
    with PLAYER.use_cassette("qbittorrent_5x_wrong_password"):
        for _ in range(3):
            with pytest.raises(ConfigurationError, match="refuses the login"):
                QBittorrentSource(settings.downloads, settings.qbittorrent)
        with pytest.raises(ConfigurationError, match="banned"):
            QBittorrentSource(settings.downloads, settings.qbittorrent)


def test_5x_says_what_an_unfinished_torrent_is(downloads: Path, library: Path) -> None:
    """Nothing of a stopped download is taken for complete."""
    settings = _settings(downloads, library, post_import_category="done")
    with (
        PLAYER.use_cassette("qbittorrent_5x_import"),
        closing(QBittorrentSource(settings.downloads, settings.qbittorrent)) as source,
    ):
        listing = source.finished(Progress())

    names = sorted(entry.name for entry in listing.entries)
    assert names == ["Stopped film", "seeding.mkv"]
    assert (listing.done, listing.unfinished) == (1, 1)
