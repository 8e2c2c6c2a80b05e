"""qBittorrent as a source: what its answers mean."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from stashhog_core.downloads.qbittorrent import QBittorrent
from stashhog_core.downloads.sources import Entry
from stashhog_core.errors import (
    ConfigurationError,
    ItemError,
    StashHogError,
    TransientError,
)
from stashhog_core.progress import Progress
from stashhog_core.settings import DownloadSettings, QBittorrentSettings

Answer = tuple[int, str]


class Server:
    """Says what it is told to, as qBittorrent's Web API would."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {
            "auth/login": (200, "Ok."),
            "auth/logout": (200, ""),
            "app/version": (200, "v5.0.0"),
            "app/webapiVersion": (200, "2.11.2"),
        }
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = parse_qs(self.rfile.read(length).decode())
                name = urlsplit(self.path).path.removeprefix("/api/v2/")
                server.asked.append((name, body))
                status, text = server.answers.get(name, (404, "Not Found"))
                if status == 0:
                    # Hang up in the middle of an answer.
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[")
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                if name == "auth/login":
                    self.send_header("Set-Cookie", "SID=1; path=/")
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_HEAD = do_POST  # noqa: N815 - names of the base class

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def torrents(self, *torrents: dict[str, Any]) -> None:
        self.answers["torrents/info"] = (200, json.dumps(torrents))

    def files(self, *files: dict[str, Any]) -> None:
        self.answers["torrents/files"] = (200, json.dumps(files))

    def posted(self, name: str) -> list[dict[str, list[str]]]:
        return [body for asked, body in self.asked if asked == name]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def _open(server: Server, **settings: Any) -> QBittorrent:
    return QBittorrent(
        DownloadSettings(**settings),
        QBittorrentSettings(url=server.url, password=SecretStr("s3cret-word")),
    )


def _torrent(**values: Any) -> dict[str, Any]:
    return {
        "hash": "a" * 40,
        "name": "Film",
        "state": "stalledUP",
        "tags": "",
        "content_path": "/downloads/Film",
        "save_path": "/downloads",
    } | values


def _file(name: str, size: int, **values: Any) -> dict[str, Any]:
    return {"name": name, "size": size, "priority": 1, "progress": 1} | values


@pytest.mark.parametrize(
    ("state", "group"),
    [
        ("pausedUP", "finished"),
        ("stoppedUP", "finished"),
        ("uploading", "finished"),
        ("stalledUP", "finished"),
        ("queuedUP", "finished"),
        ("forcedUP", "finished"),
        ("checkingUP", "unfinished"),
        ("moving", "unfinished"),
        ("downloading", "unfinished"),
        ("pausedDL", "unfinished"),
        ("stoppedDL", "unfinished"),
        ("stalledDL", "unfinished"),
        ("checkingResumeData", "unfinished"),
        ("metaDL", "unfinished"),
        ("something new", "unfinished"),
        ("error", "problem"),
        ("missingFiles", "problem"),
    ],
)
def test_states_are_told_apart(server: Server, state: str, group: str) -> None:
    """Only whole torrents are finished; broken ones are told, never passed over."""
    server.torrents(_torrent(state=state))

    listing = _open(server).finished(Progress())

    counts = {
        "finished": len(listing.entries),
        "unfinished": listing.unfinished,
        "problem": len(listing.problems),
    }
    assert counts.pop(group) == 1
    assert set(counts.values()) == {0}


@pytest.mark.parametrize(("category", "sent"), [("stash", ["stash"]), ("", None)])
def test_only_the_category_is_asked_for(
    server: Server, category: str, sent: list[str] | None
) -> None:
    """An empty setting asks for all categories, not for torrents without one."""
    server.torrents()

    _open(server, category=category).finished(Progress())

    assert server.posted("torrents/info")[0].get("category") == sent


def test_done_torrents_are_counted_only(server: Server) -> None:
    """They are known by their tag; other tags do not matter."""
    server.torrents(
        _torrent(tags="a, synced"), _torrent(hash="b" * 40, tags="unsynced")
    )

    listing = _open(server).finished(Progress())

    assert listing.done == 1
    assert [entry.key for entry in listing.entries] == ["b" * 40]


def test_a_path_is_mapped_to_this_machine(server: Server) -> None:
    """Also one of Windows; the torrent's own name names its folder."""
    server.torrents(
        _torrent(content_path=r"D:\Downloads\disk", save_path=r"D:\Downloads")
    )

    listing = _open(server, path_map={r"D:\Downloads": "/mnt"}).finished(Progress())

    assert listing.entries == (
        Entry(
            "a" * 40,
            "Film",
            Path("/mnt/disk"),
            Path("/mnt"),
            may_retry_blocked=True,
        ),
    )


def test_a_path_that_maps_nowhere_says_which_setting_is_missing(
    server: Server,
) -> None:
    """Whether it cannot be of this machine, or is only not there."""
    server.torrents(
        _torrent(content_path=r"D:\Downloads\a", save_path=r"D:\Downloads"),
        _torrent(hash="b" * 40, content_path="/none/b", save_path="/none"),
    )
    server.files(_file("b", 1))
    source = _open(server)

    listing = source.finished(Progress())

    assert "STASHHOG_DOWNLOADS__PATH_MAP" in listing.problems[0].reason
    with pytest.raises(ItemError, match="STASHHOG_DOWNLOADS__PATH_MAP"):
        source.files(listing.entries[0])


@pytest.mark.parametrize(
    ("values", "entries", "problems", "unfinished"),
    [
        pytest.param({"content_path": "/downloads"}, 0, 1, 0, id="the whole save path"),
        pytest.param({"content_path": "/downloads/"}, 0, 1, 0, id="with a slash"),
        pytest.param({"content_path": "Film"}, 0, 0, 1, id="relative while checking"),
    ],
)
def test_a_content_path_that_cannot_be_believed_is_not_used(
    server: Server, values: dict[str, Any], entries: int, problems: int, unfinished: int
) -> None:
    """One that is the save path would take other downloads with it."""
    server.torrents(_torrent(**values))

    listing = _open(server).finished(Progress())

    assert len(listing.entries) == entries
    assert len(listing.problems) == problems
    assert listing.unfinished == unfinished


@pytest.mark.parametrize(
    ("files", "content"),
    [
        pytest.param(["disk/a.mp4", "disk/b.mp4"], "/downloads/disk", id="folder"),
        pytest.param(["film.mp4"], "/downloads/film.mp4", id="file"),
        pytest.param(["a.mp4", "b.mp4"], None, id="no folder of its own"),
    ],
)
def test_older_servers_do_not_say_where_the_content_is(
    server: Server, files: list[str], content: str | None
) -> None:
    """Then the files' common folder tells."""
    torrent = _torrent()
    del torrent["content_path"]
    server.torrents(torrent)
    server.files(*(_file(name, 1) for name in files))

    listing = _open(server).finished(Progress())

    assert [str(entry.location) for entry in listing.entries] == (
        [content] if content else []
    )
    assert len(listing.problems) == (0 if content else 1)


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "a\nb", "..", "x" * 300])
def test_a_shown_name_that_is_no_file_name_gives_way(server: Server, name: str) -> None:
    """People type what they like there: the name on disk is used instead."""
    server.torrents(_torrent(name=name))

    listing = _open(server).finished(Progress())

    assert [entry.name for entry in listing.entries] == ["Film"]


@pytest.fixture
def save_path(tmp_path: Path) -> Path:
    path = tmp_path / "downloads"
    (path / "Film").mkdir(parents=True)
    (path / "Film" / "a.mp4").write_bytes(b"12345")
    return path


def _entry(save_path: Path, name: str = "Film") -> Entry:
    return Entry("a" * 40, name, save_path / name, save_path)


def test_wanted_files_are_listed(server: Server, save_path: Path) -> None:
    """Files that were deselected are not expected to be there."""
    server.files(
        _file("Film/a.mp4", 5), _file("Film/none.mp4", 9, priority=0, progress=0)
    )

    listed = _open(server).files(_entry(save_path))

    assert listed.is_folder
    assert [(f.relative_path, f.path, f.size_bytes) for f in listed.files] == [
        ("a.mp4", save_path / "Film" / "a.mp4", 5)
    ]
    assert not listed.problems


def test_a_single_file_keeps_its_name_on_disk(server: Server, save_path: Path) -> None:
    """With its extension, whatever the torrent is called."""
    (save_path / "film.mkv").write_bytes(b"123")
    server.files(_file("film.mkv", 3))

    listed = _open(server).files(
        Entry("a" * 40, "Renamed", save_path / "film.mkv", save_path)
    )

    assert not listed.is_folder
    assert [file.relative_path for file in listed.files] == ["film.mkv"]


def test_a_folder_with_one_file_is_a_folder(server: Server, save_path: Path) -> None:
    """Even though the server gives the file as its content path."""
    server.files(_file("Film/a.mp4", 5))

    listed = _open(server).files(
        Entry("a" * 40, "Film", save_path / "Film" / "a.mp4", save_path)
    )

    assert listed.is_folder
    assert [file.relative_path for file in listed.files] == ["a.mp4"]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        pytest.param(_file("Film/a.mp4", 6), "5 bytes", id="other size"),
        pytest.param(_file("Film/a.mp4", 5, progress=0.5), "only 50%", id="half"),
        pytest.param(_file("Film/b.mp4", 5), "No such file", id="missing"),
        pytest.param(_file("Film/../../x.mp4", 5), "no plain file name", id="upwards"),
        pytest.param(_file("Film//etc/passwd", 5), "no plain file name", id="absolute"),
        pytest.param(_file("Film/link.mp4", 5), "symbolic link", id="link"),
        pytest.param(_file("Film/out/x.mp4", 5), "symbolic link", id="link above"),
        pytest.param(_file("Film/b\0.mp4", 5), "control character", id="NUL"),
        pytest.param(_file("Film/folder", 5), "no regular file", id="folder"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_told(
    server: Server, save_path: Path, tmp_path: Path, file: dict[str, Any], reason: str
) -> None:
    """It fails alone, and nothing outside the torrent is ever read."""
    (tmp_path / "x.mp4").write_bytes(b"12345")
    (save_path / "Film" / "link.mp4").symlink_to(tmp_path / "x.mp4")
    (save_path / "Film" / "out").symlink_to(tmp_path)
    (save_path / "Film" / "folder").mkdir()
    server.files(file)

    listed = _open(server).files(_entry(save_path))

    assert not listed.files
    assert len(listed.problems) == 1
    assert reason in listed.problems[0].reason


def test_a_torrent_that_is_a_link_to_elsewhere_is_refused(
    server: Server, save_path: Path
) -> None:
    """Its content must lie in its save path."""
    (save_path / "link").symlink_to("/etc")
    server.files(_file("link/passwd", 1))

    with pytest.raises(ItemError, match="outside its save path"):
        _open(server).files(_entry(save_path, "link"))


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        pytest.param((200, "Fails."), ConfigurationError, "PASSWORD", id="4.x, 5.0"),
        pytest.param((401, ""), ConfigurationError, "PASSWORD", id="5.1"),
        pytest.param((403, "banned"), ConfigurationError, "banned", id="banned"),
        pytest.param((404, ""), ConfigurationError, "__URL", id="another server"),
        pytest.param((500, "oops"), TransientError, "answer", id="failing"),
    ],
)
def test_a_refused_login_says_what_to_do(
    server: Server, answer: Answer, kind: type[StashHogError], says: str
) -> None:
    """The password itself is never shown."""
    server.answers["auth/login"] = answer

    with pytest.raises(kind, match=says) as caught:
        _open(server)

    assert "s3cret-word" not in str(caught.value)


def test_a_server_that_is_not_there_names_its_setting() -> None:
    """Nobody answers at that address."""
    settings = QBittorrentSettings(url="http://127.0.0.1:1")

    with pytest.raises(ConfigurationError, match="STASHHOG_QBITTORRENT__URL"):
        QBittorrent(DownloadSettings(), settings)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param((500, "oops"), TransientError, id="500"),
        pytest.param((0, ""), TransientError, id="hangs up halfway"),
        pytest.param((200, "[{"), TransientError, id="half an answer"),
        pytest.param((200, "{}"), ConfigurationError, id="another answer"),
        pytest.param((403, "Forbidden"), ConfigurationError, id="login lost"),
    ],
)
def test_an_outage_is_never_nothing_to_do(
    server: Server, answer: Answer, kind: type[StashHogError]
) -> None:
    """A listing that could not be had is an error, not an empty one."""
    source = _open(server)
    server.answers["torrents/info"] = answer

    with pytest.raises(kind):
        source.finished(Progress())


def test_a_torrent_that_was_removed_meanwhile_fails_alone(server: Server) -> None:
    """The others go on."""
    server.answers["torrents/files"] = (404, "")

    with pytest.raises(ItemError, match="does not have it any more"):
        _open(server).files(_entry(Path("/downloads")))


def test_tags_show_what_became_of_torrents(server: Server) -> None:
    """`synced` on success, which takes `error_syncing` away where it was."""
    server.answers["torrents/addTags"] = (200, "")
    server.answers["torrents/removeTags"] = (200, "")
    path = Path("/downloads/x")
    source = _open(server)

    source.mark_done(
        [
            Entry("a", "A", path, path),
            Entry("b", "B", path, path, is_marked_failed=True),
        ]
    )
    source.mark_failed(["c"])
    source.mark_done([])
    source.mark_failed([])

    assert server.posted("torrents/addTags") == [
        {"hashes": ["a|b"], "tags": ["synced"]},
        {"hashes": ["c"], "tags": ["error_syncing"]},
    ]
    assert server.posted("torrents/removeTags") == [
        {"hashes": ["b"], "tags": ["error_syncing"]}
    ]


def test_a_server_without_tags_is_no_failure(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Before 4.1.5 there were none: the ledger knows anyway."""
    path = Path("/downloads/x")

    _open(server).mark_done([Entry("a", "A", path, path)])

    assert "knows no tags" in caplog.text


def test_closing_outlives_the_server(server: Server) -> None:
    """Logging out of a server that is gone is no failure."""
    source = _open(server)
    server.answers["auth/logout"] = (500, "")

    source.close()

    assert server.posted("auth/logout")
