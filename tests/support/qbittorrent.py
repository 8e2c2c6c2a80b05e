"""A real qBittorrent on loopback."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import qbittorrentapi
import torf

from tests.support.services import free_port
from tests.support.waiting import PATIENCE_SECONDS, wait_until

PROGRAM = os.environ.get("STASHHOG_TEST_QBITTORRENT", "qbittorrent-nox")
USERNAME = "admin"
PASSWORD = "adminadmin"
"""What 4.x starts with, stored below as the hash that newer versions need."""

_PASSWORD_HASH = (
    "@ByteArray(ARQ77eY1NUZaQsuDHbIMCA==:0WMRkYTUWVT9wVvdDtHAjU9b3b7uB8NR1Gur2hmQCv"
    "CDpm39Q+PsJRJPaCU51dEiz+dTzh8qbPsL8WkFljQYFQ==)"
)
_CONFIG = r"""[LegalNotice]
Accepted=true

[Preferences]
Bittorrent\DHT=false
Bittorrent\LSD=false
Bittorrent\PeX=false
WebUI\Address=127.0.0.1
WebUI\Port={port}
WebUI\Username={username}
WebUI\Password_PBKDF2="{password}"
WebUI\MaxAuthenticationFailCount=3
"""


class QBittorrentServer:
    """A running server, and how to give it finished torrents."""

    def __init__(self, url: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.url = url
        self._start = start
        self.process = start()
        self.client = qbittorrentapi.Client(
            host=url,
            username=USERNAME,
            password=PASSWORD,
            REQUESTS_ARGS={"timeout": PATIENCE_SECONDS},
            FORCE_SCHEME_FROM_HOST=True,
        )

    def seed(
        self,
        content: Path,
        *,
        category: str = "stash",
        name: str | None = None,
        save_path: Path | None = None,
        layout: str | None = None,
        links: Mapping[str, str] | None = None,
    ) -> str:
        """Add a torrent of a file or folder that is there; return its hash.

        Args:
            content: What it is made of.
            category: Its category.
            name: Its name; None: that of the content.
            save_path: Where the server looks for it; None: where the content is.
            layout: How qBittorrent lays it out; `NoSubfolder`: a folder's files lie in
                the save path, which is the folder then.
            links: Names below the folder that the torrent makes symbolic links, and
                the names that they lead to.
        """
        torrent = torf.Torrent(path=content, private=True)
        if name is not None:
            torrent.name = name
        torrent.generate()
        for link, target in (links or {}).items():
            torrent.metainfo["info"]["files"].append(
                {
                    "attr": "l",
                    "length": 0,
                    "path": link.split("/"),
                    "symlink path": target.split("/"),
                }
            )
        made = torrent.dump(validate=False)
        self.client.torrents_add(
            torrent_files=made,
            save_path=str(
                save_path or (content if layout == "NoSubfolder" else content.parent)
            ),
            category=category,
            content_layout=layout,
            use_auto_torrent_management=False,
        )
        # Read back, since one that was made compares links with their targets.
        return str(torf.Torrent.read_stream(made, validate=False).infohash)

    def wait_for(self, info_hash: str, *states: str) -> None:
        """Wait until a torrent is in one of these states."""

        def state() -> str | None:
            found = self.client.torrents_info(torrent_hashes=info_hash)
            return found[0].state if found else None

        wait_until(
            lambda: state() in states,
            lambda: f"torrent {info_hash} is {state()}; one of {states}",
        )

    def wait_until_seeding(self, hashes: Iterable[str]) -> None:
        """Wait until a server that has begun knows that it has all files."""
        for info_hash in hashes:
            self.wait_for(info_hash, "stalledUP", "uploading", "queuedUP")

    def unmark_all(self, category: str = "stash") -> None:
        """Have no torrent look as if it had been taken."""
        self.client.torrents_remove_tags(torrent_hashes="all")
        self.client.torrents_set_category(category, torrent_hashes="all")

    def tags(self, info_hash: str) -> set[str]:
        """Return the tags of a torrent."""
        text = self.client.torrents_info(torrent_hashes=info_hash)[0].tags
        return {tag.strip() for tag in text.split(",")} - {""}

    def category(self, info_hash: str) -> str:
        """Return the category of a torrent."""
        return str(self.client.torrents_info(torrent_hashes=info_hash)[0].category)

    def hashes(self) -> set[str]:
        """Return the hashes of all torrents."""
        return {str(torrent.hash) for torrent in self.client.torrents_info()}

    def wait_until_gone(self, path: Path) -> None:
        """Wait until files are deleted; the server does it after its answer."""
        wait_until(lambda: not path.exists(), f"the end of {path}")

    def kill(self) -> None:
        """Let the server die without a word."""
        self.process.kill()
        self.process.wait()

    @property
    def is_running(self) -> bool:
        """Whether the server has not died."""
        return self.process.poll() is None

    def start_again(self) -> None:
        """Start a server that has died, with all that it has stored."""
        self.process = self._start()
        _wait_until_up(self)


@contextmanager
def running_qbittorrent(profile: Path) -> Iterator[QBittorrentServer]:
    """Start a server with its own profile folder; stop it in the end.

    Without the program the test is left out, but never in CI.
    """
    if shutil.which(PROGRAM) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{PROGRAM} is not installed, and nothing is left out in CI")
        pytest.skip(f"{PROGRAM} is not installed")
    port = free_port()
    config = profile / "qBittorrent" / "config" / "qBittorrent.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        _CONFIG.format(port=port, username=USERNAME, password=_PASSWORD_HASH)
    )
    start = partial(
        subprocess.Popen[bytes],
        [PROGRAM, f"--profile={profile}", f"--webui-port={port}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
    )
    server = QBittorrentServer(f"http://127.0.0.1:{port}", start)
    try:
        _wait_until_up(server)
        yield server
    finally:
        server.process.terminate()
        try:
            server.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_until_up(server: QBittorrentServer) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            server.client.auth_log_in()
        except qbittorrentapi.LoginFailed:
            raise
        except qbittorrentapi.APIConnectionError:
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise
            time.sleep(0.1)
        else:
            return
