"""Downloads: placing against `cp`, finding nothing to do, and memory."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import text

from benchmarks.measurement import Measurement, peak_megabytes, seconds
from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.downloads.job import process_downloads
from stashhog_core.downloads.qbittorrent_client import QBittorrentClient
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.progress import Progress
from stashhog_core.results import DownloadsResult
from stashhog_core.settings import DownloadSettings, QBittorrentSettings, Settings
from tests.support.media import write_video

_FILES = 10_000
_FILES_PER_FOLDER = 100
_LARGE_BYTES = 2 * 1024**3
_TORRENTS = 50_000
_TIMES = 7


@dataclass(frozen=True)
class Place:
    """Where the measurements happen: one file system, one database."""

    home: Path
    database: Database

    @property
    def library(self) -> Path:
        return self.home / "library"

    def clear(self) -> None:
        """Empty ledger and library, and let the disk come to rest."""
        with self.database.transaction() as session:
            session.execute(text("TRUNCATE download_item"))
        if self.library.exists():
            shutil.rmtree(self.library)
        self.library.mkdir()
        os.sync()

    def run(self, folder: Path, policy: str) -> DownloadsResult:
        return run(self.database, folder, self.library, policy)


def run(
    database: Database, folder: Path, library: Path, policy: str
) -> DownloadsResult:
    """Place what is in `folder`."""
    values = {
        "folder": folder,
        "library_root": library,
        "place": policy,
        "settle_seconds": 0,
        "reserve_bytes": 0,
    }
    settings = Settings(downloads=DownloadSettings.model_validate(values))
    return process_downloads(settings, database, ProcessDownloadsParams(), Progress())


def measure() -> Iterator[Measurement]:
    """Yield the values that the goals of the downloads are about."""
    with _place() as place:
        downloads = place.home / "downloads"
        _write_small_files(downloads, _FILES)
        yield _small_files(place, downloads)
        yield _memory_of_count(place, downloads)
        shutil.rmtree(downloads)
        yield from _large_file(place)
        yield _nothing_to_do(place)


@contextmanager
def _place() -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="stashhog-bench-"))
    # PostgreSQL runs under another account when root starts it.
    home.chmod(0o755)
    database = Database(start_embedded(home / "db", "bench"))
    try:
        migrate(database)
        yield Place(home, database)
    finally:
        database.close()
        stop_embedded(home / "db")
        shutil.rmtree(home)


def _write_small_files(downloads: Path, count: int) -> None:
    """Write folders of pictures and subtitles, with a video in every fifth."""
    clip = write_video(downloads.parent / "clip.mp4", seconds=1, width=40, height=40)
    content = random.Random(1)
    for number in range(count):
        folder = downloads / f"Download {number // _FILES_PER_FOLDER:03}"
        folder.mkdir(parents=True, exist_ok=True)
        if number % (5 * _FILES_PER_FOLDER) == 0:
            (folder / f"{number:05}.mp4").write_bytes(
                clip.read_bytes() + content.randbytes(100)
            )
        else:
            extension = ".srt" if number % 2 else ".jpg"
            (folder / f"{number:05}{extension}").write_bytes(content.randbytes(2000))
    os.sync()


def _small_files(place: Place, downloads: Path) -> Measurement:
    def mine() -> None:
        assert place.run(downloads, "hardlink").files_linked == _FILES

    def theirs() -> None:
        subprocess.run(["cp", "-al", downloads, place.library / "copy"], check=True)

    ratio = _ratio(mine, theirs, place.clear, times=2 * _TIMES)
    return Measurement(
        f"place {_FILES:,} small files with ledger / cp -al", ratio, "x", 4, "max"
    )


def _large_file(place: Place) -> Iterator[Measurement]:
    downloads = place.home / "large"
    downloads.mkdir()
    large = downloads / "large.mp4"
    block = random.Random(2).randbytes(64 * 1024**2)
    with large.open("wb") as file:
        file.write((place.home / "clip.mp4").read_bytes())
        for _ in range(_LARGE_BYTES // len(block)):
            file.write(block)
    os.sync()

    def mine() -> None:
        assert place.run(downloads, "copy").bytes_copied == large.stat().st_size

    def theirs() -> None:
        target = place.library / "large.mp4"
        subprocess.run(["cp", large, target], check=True)
        # We flush what we copy: so must the other side.
        subprocess.run(["sync", target], check=True)

    ratio = _ratio(mine, theirs, place.clear)
    yield Measurement("copy one file of 2 GiB / cp and sync", ratio, "x", 1.2, "max")
    small = place.home / "less"
    small.mkdir()
    (small / "small.mp4").write_bytes(block[: 1024**2])
    yield Measurement(
        "memory at a copy of 2 GiB / of 1 MiB",
        _peak(place, downloads, "copy") / _peak(place, small, "copy"),
        "x",
        1.05,
        "max",
    )
    shutil.rmtree(downloads)


def _memory_of_count(place: Place, downloads: Path) -> Measurement:
    more = place.home / "more"
    _write_small_files(more, 3 * _FILES)
    ratio = _peak(place, more, "hardlink") / _peak(place, downloads, "hardlink")
    shutil.rmtree(more)
    return Measurement(
        f"memory at {3 * _FILES:,} files / at {_FILES:,}", ratio, "x", 1.05, "max"
    )


def _peak(place: Place, folder: Path, policy: str) -> float:
    """Return the most memory that a process of its own takes to place `folder`."""
    place.clear()
    url = place.database.connection_string
    command = [sys.executable, "-m", "benchmarks.bench_downloads"]
    command += [url, str(folder), str(place.library), policy]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _nothing_to_do(place: Place) -> Measurement:
    place.clear()
    with _qbittorrent() as url:
        server = QBittorrentSettings(url=url, password=SecretStr("-"))
        settings = Settings(
            downloads=DownloadSettings(
                source="qbittorrent", library_root=place.library
            ),
            qbittorrent=server,
        )
        api = QBittorrentClient(server)

        def mine() -> None:
            result = process_downloads(
                settings, place.database, ProcessDownloadsParams(), Progress()
            )
            assert result.skipped_items == _TORRENTS

        def theirs() -> None:
            assert len(api.torrents("stash")) == _TORRENTS

        ratio = _ratio(mine, theirs, lambda: None)
        api.close()
    return Measurement(
        f"nothing to do among {_TORRENTS:,} torrents / the list call",
        ratio,
        "x",
        1.5,
        "max",
    )


@contextmanager
def _qbittorrent() -> Iterator[str]:
    """Answer as a qBittorrent would whose torrents are all done, but at once."""
    torrents = json.dumps([_torrent(number) for number in range(_TORRENTS)])
    answers = {
        "auth/login": "Ok.",
        "app/version": "v5.0.4",
        "app/webapiVersion": "2.11.2",
        "torrents/info": torrents,
    }
    encoded = {name: answer.encode() for name, answer in answers.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Or each short answer would wait for an acknowledgement.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            name = urlsplit(self.path).path.removeprefix("/api/v2/")
            answer = encoded.get(name, b"")
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            if name == "auth/login":
                self.send_header("Set-Cookie", "SID=1; path=/")
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST  # noqa: N815 - a name of the base class

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _torrent(number: int) -> dict[str, Any]:
    """Return a finished torrent with all that 5.x tells of one."""
    # fmt: off
    zero = (
        "amount_left availability dl_limit dlspeed downloaded downloaded_session "
        "num_complete num_incomplete num_leechs num_seeds priority reannounce "
        "seen_complete trackers_count up_limit uploaded uploaded_session upspeed "
        "added_on completion_on last_activity completed size total_size time_active "
        "seeding_time ratio popularity"
    )
    # fmt: on
    name = f"Some.Download.Of.Usual.Length.{number:05}.2026"
    return {
        **dict.fromkeys(zero.split(), 0),
        "hash": f"{number:040x}",
        "infohash_v1": f"{number:040x}",
        "infohash_v2": "",
        "name": name,
        "magnet_uri": f"magnet:?xt=urn:btih:{number:040x}&dn={name}&tr=udp%3A%2F%2Ft",
        "state": "stalledUP",
        "progress": 1,
        "category": "stash",
        "tags": "some, synced",
        "save_path": "/downloads/stash",
        "download_path": "",
        "root_path": f"/downloads/stash/{name}",
        "content_path": f"/downloads/stash/{name}",
        "tracker": "",
        "comment": "",
        "auto_tmm": False,
        "f_l_piece_prio": False,
        "force_start": False,
        "seq_dl": False,
        "super_seeding": False,
        "has_metadata": True,
        "private": True,
        "eta": 8640000,
        "max_ratio": -1,
        "max_seeding_time": -1,
        "max_inactive_seeding_time": -1,
        "ratio_limit": -2,
        "seeding_time_limit": -2,
        "inactive_seeding_time_limit": -2,
    }


def _ratio(
    mine: Callable[[], object],
    theirs: Callable[[], object],
    before: Callable[[], object],
    times: int = _TIMES,
) -> float:
    """Return how much longer our best run takes than the best of the others.

    They take turns, so that a disturbance of the machine meets both.
    """
    taken: dict[Callable[[], object], list[float]] = {mine: [], theirs: []}
    for _ in range(times):
        for work, durations in taken.items():
            before()
            durations.append(seconds(work))
    return min(taken[mine]) / min(taken[theirs])


def _main(url: str, folder: str, library: str, policy: str) -> None:
    """Place, and print the most memory that it took."""
    database = Database(url)
    run(database, Path(folder), Path(library), policy)
    database.close()
    print(peak_megabytes())


if __name__ == "__main__":
    _main(*sys.argv[1:])
