"""Cassettes: answers of a real server, recorded once and played ever after."""

import random
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit, urlunsplit

import vcr
from pydantic import SecretStr

from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.downloads.job import process_downloads
from stashhog_core.downloads.qbittorrent import QBittorrentSource
from stashhog_core.errors import ConfigurationError
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.progress import Progress
from stashhog_core.settings import DownloadSettings, QBittorrentSettings, Settings
from tests.support.media import write_video
from tests.support.qbittorrent import (
    PASSWORD,
    USERNAME,
    QBittorrentServer,
    running_qbittorrent,
)

FOLDER = Path(__file__).parents[1] / "cassettes"


def recorder(
    address: str, kept_headers: Collection[str], record_from: str | None
) -> Any:
    """Return what opens cassettes; keys and addresses are left out of them.

    Args:
        address: What stands for the server in the cassettes.
        kept_headers: Names of the headers of answers that are kept, in lower case.
        record_from: The server to record from, the cassettes being deleted first;
            None: they are played.
    """

    def neutral_request(request: Any) -> Any:
        parts = urlsplit(request.uri)
        request.uri = urlunsplit(parts._replace(netloc=urlsplit(address).netloc))
        request.headers = {}
        return request

    def neutral_response(response: dict[str, Any]) -> dict[str, Any]:
        response["headers"] = {
            name: value
            for name, value in response["headers"].items()
            if name.lower() in kept_headers
        }
        body = response.get("body", {}).get("string")
        if record_from and isinstance(body, bytes):
            response["body"]["string"] = body.replace(
                record_from.encode(), address.encode()
            )
        return response

    return vcr.VCR(
        cassette_library_dir=str(FOLDER),
        path_transformer=vcr.VCR.ensure_suffix(".yaml"),
        record_mode="all" if record_from else "none",
        match_on=["method", "uri", "body"],
        decode_compressed_response=True,
        before_record_request=neutral_request,
        before_record_response=neutral_response,
    )


CASSETTES = Path(__file__).parents[1] / "cassettes"
DOWNLOADS = "/downloads"
"""What the folder of the torrents is called in the cassettes."""

VIDEO_BYTES = 65536
_ADDRESS = "127.0.0.1:8080"
_NAMES = ("Stopped film", "seeding.mkv", "Half", "Broken", "Done before")
_SEEDING = ("stalledUP", "uploading", "queuedUP", "forcedUP")


def write_downloads(folder: Path) -> None:
    """Write the files of the torrents, of the sizes that the cassettes tell."""
    clip = write_video(folder.parent / "clip.mp4", seconds=1, width=40, height=40)
    for number, name in enumerate(_NAMES):
        path = folder / name
        video = path if path.suffix else path / "film.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        # What follows a video's end does not matter to who reads it.
        filling = random.Random(number).randbytes(VIDEO_BYTES)
        video.write_bytes((clip.read_bytes() + filling)[:VIDEO_BYTES])
        if video is not path:
            video.with_suffix(".srt").write_text("1234567890")


def _add_torrents(server: QBittorrentServer, folder: Path) -> dict[str, str]:
    """Add the torrents; return their hashes by name."""
    hashes = {name: server.seed(folder / name) for name in _NAMES}
    for info_hash in hashes.values():
        server.wait_for(info_hash, *_SEEDING)
    api = server.client
    api.torrents_stop(torrent_hashes=hashes["Stopped film"])
    server.wait_for(hashes["Stopped film"], "stoppedUP")
    api.torrents_add_tags("some,synced", torrent_hashes=hashes["Done before"])
    api.torrents_set_share_limits(
        ratio_limit=3,
        seeding_time_limit=-1,
        inactive_seeding_time_limit=-1,
        torrent_hashes=hashes["seeding.mkv"],
    )
    (folder / "Half" / "film.mp4").write_bytes(b"")
    api.torrents_recheck(torrent_hashes=hashes["Half"])
    server.wait_for(hashes["Half"], "stalledDL", "downloading")
    api.torrents_stop(torrent_hashes=hashes["Half"])
    server.wait_for(hashes["Half"], "stoppedDL")
    return hashes


def _settings(url: str, folder: Path, library: Path, **server: Any) -> Settings:
    return Settings(
        downloads=DownloadSettings(
            source="qbittorrent", library_root=library, reserve_bytes=0
        ),
        qbittorrent=QBittorrentSettings(
            **{
                "url": url,
                "username": USERNAME,
                "password": SecretStr(PASSWORD),
                "post_import_category": "done",
            }
            | server
        ),
    )


def _recorder(url: str, folder: Path) -> vcr.VCR:
    """Return what records without port, folder, cookies and server headers."""

    def neutral(text: str) -> str:
        for name in (str(folder), quote_plus(str(folder))):
            text = text.replace(name, DOWNLOADS)
        return text

    def request(request: Any) -> Any:
        parts = urlsplit(request.uri)
        request.uri = urlunsplit(parts._replace(netloc=_ADDRESS))
        request.headers = {}
        if request.body:
            request.body = request.body.replace(PASSWORD.encode(), b"word")
        return request

    def response(response: dict[str, Any]) -> dict[str, Any]:
        login = response["headers"].get("set-cookie")
        response["headers"] = {"Set-Cookie": ["SID=1; path=/"]} if login else {}
        body = response["body"]["string"].decode()
        response["body"]["string"] = neutral(body).encode()
        return response

    return vcr.VCR(
        cassette_library_dir=str(CASSETTES),
        path_transformer=vcr.VCR.ensure_suffix(".yaml"),
        record_mode="all",
        decode_compressed_response=True,
        before_record_request=request,
        before_record_response=response,
    )


def _record(
    name: str, server: QBittorrentServer, folder: Path, work: Callable[[], object]
) -> None:
    (CASSETTES / f"{name}.yaml").unlink(missing_ok=True)
    with _recorder(server.url, folder).use_cassette(name):
        work()


def main() -> None:
    """Record import, clean-up, and what follows wrong passwords."""
    with tempfile.TemporaryDirectory(prefix="stashhog-record-") as home:
        # PostgreSQL runs under another account when root starts it.
        Path(home).chmod(0o755)
        _record_all(Path(home))


def _record_all(home: Path) -> None:
    folder, library = home / "downloads", home / "library"
    library.mkdir()
    write_downloads(folder)
    database = Database(start_embedded(home / "db", "record"))
    migrate(database)

    def run(server: QBittorrentServer, **values: Any) -> None:
        settings = _settings(server.url, folder, library, **values)
        process_downloads(settings, database, ProcessDownloadsParams(), Progress())

    def log_in_wrongly(server: QBittorrentServer) -> None:
        settings = _settings(server.url, folder, library, password=SecretStr("word"))
        for _ in range(5):
            with suppress(ConfigurationError):
                QBittorrentSource(settings.downloads, settings.qbittorrent)

    try:
        with running_qbittorrent(home / "profile") as server:
            hashes = _add_torrents(server, folder)
        (folder / "Broken" / "film.mp4").unlink()
        with running_qbittorrent(home / "profile") as server:
            server.wait_for(hashes["Broken"], "missingFiles")
            _record("qbittorrent_5x_import", server, folder, lambda: run(server))
            # The share ratio and the times of seeding are told anew.
            time.sleep(2)
            _record(
                "qbittorrent_5x_clean_up",
                server,
                folder,
                lambda: run(server, clean_up="remove_torrent"),
            )
            _record(
                "qbittorrent_5x_wrong_password",
                server,
                folder,
                lambda: log_in_wrongly(server),
            )
    finally:
        with closing(database):
            stop_embedded(home / "db")


if __name__ == "__main__":
    main()
