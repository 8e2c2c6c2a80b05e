"""qBittorrent as a source: what its answers mean."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr, ValidationError

from stashhog_core.downloads.qbittorrent import QBittorrentSource
from stashhog_core.downloads.sources import Entry
from stashhog_core.errors import (
    ConfigurationError,
    ItemError,
    StashHogError,
    TransientError,
)
from stashhog_core.progress import Progress
from stashhog_core.settings import DownloadSettings, QBittorrentSettings

Answer = tuple[int, str | bytes]


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
                body_ = text if isinstance(text, bytes) else text.encode()
                self.send_header("Content-Length", str(len(body_)))
                if name == "auth/login":
                    self.send_header("Set-Cookie", "SID=1; path=/")
                self.end_headers()
                self.wfile.write(body_)

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


def _open(
    server: Server, server_settings: dict[str, Any] | None = None, **settings: Any
) -> QBittorrentSource:
    return QBittorrentSource(
        DownloadSettings(**settings),
        QBittorrentSettings(
            url=server.url,
            password=SecretStr("s3cret-word"),
            **(server_settings or {}),
        ),
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
def test_states_are_distinguished(server: Server, state: str, group: str) -> None:
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


def test_no_proxy_gets_the_password(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A qBittorrent on this machine is asked itself, whatever the environment says."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.torrents(_torrent())

    listing = _open(server).finished(Progress())

    assert len(listing.entries) == 1


@pytest.mark.parametrize(("category", "sent"), [("stash", ["stash"]), ("", None)])
def test_only_the_category_is_asked_for(
    server: Server, category: str, sent: list[str] | None
) -> None:
    """An empty setting asks for all categories, not for torrents without one."""
    server.torrents()

    _open(server, category=category).finished(Progress())

    assert server.posted("torrents/info")[0].get("category") == sent


@pytest.mark.parametrize("sub_categories", [True, False])
def test_a_category_below_the_one_that_is_set_counts_by_setting(
    server: Server, sub_categories: bool
) -> None:
    """Otherwise it is named; one that only begins alike is none of our business."""
    server.torrents(
        _torrent(category="stash"),
        _torrent(hash="b" * 40, category="stash/new", name="New"),
        _torrent(hash="c" * 40, category="stash/new", name="Old", tags="synced"),
        _torrent(hash="d" * 40, category="stashed"),
    )

    server_settings = {"post_import_category": "done"}
    source = _open(server, server_settings, sub_categories=sub_categories)

    listing = source.finished(Progress())

    assert server.posted("torrents/info")[0].get("category") is None
    taken = "ab" if sub_categories else "a"
    assert "".join(entry.key[0] for entry in listing.entries) == taken
    assert listing.done == sub_categories
    assert [waiting.name for waiting in listing.waiting] == (
        [] if sub_categories else ["New"]
    )
    assert all("SUB_CATEGORIES=true" in waiting.reason for waiting in listing.waiting)


@pytest.mark.parametrize("file", [{}, {"name": None}, {"name": ""}, {"name": 5}])
def test_a_file_without_a_name_is_said_to_be_that(
    server: Server, file: dict[str, Any]
) -> None:
    """In one sentence, as an error of its torrent alone."""
    server.torrents(_torrent())
    server.files({"size": 1, "progress": 1, "priority": 1} | file)
    source = _open(server)
    (entry,) = source.finished(Progress()).entries

    with pytest.raises(ItemError, match="the torrent has a wrong value: name: "):
        source.files(entry)


def test_a_torrent_without_a_name_is_known_by_its_hash(server: Server) -> None:
    """Nothing else names it."""
    server.torrents(_torrent(name=None))

    (entry,) = _open(server).finished(Progress()).entries

    assert entry.name == _torrent()["hash"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", None),
        ("state", 5),
        ("save_path", []),
        ("content_path", 1),
        ("tags", ["a"]),
        ("category", {}),
        ("ratio", "1"),
        ("seeding_time", "soon"),
    ],
)
def test_a_wrong_value_stays_that_of_its_torrent(
    server: Server, field: str, value: Any
) -> None:
    """The others are listed, it is named, and no torrent that may share files goes."""
    odd = _torrent(hash="b" * 40, name="Odd") | {field: value}
    server.torrents(_torrent(), odd)
    source = _open(server)

    listing = source.finished(Progress())

    assert [entry.key for entry in listing.entries] == ["a" * 40]
    assert [problem.name for problem in listing.problems] == ["Odd"]
    assert f"the torrent has a wrong value: {field}: " in listing.problems[0].reason
    with pytest.raises(ItemError, match="wrong value"):
        source.sharing(listing.entries[0])


def test_done_torrents_are_counted_only(server: Server) -> None:
    """They are known by their tag; other tags do not matter."""
    server.torrents(
        _torrent(tags="a, synced"), _torrent(hash="b" * 40, tags="unsynced")
    )

    listing = _open(server).finished(Progress())

    assert listing.done == 1
    assert [entry.key for entry in listing.entries] == ["b" * 40]


def test_the_tags_have_the_names_that_are_set(server: Server) -> None:
    """For telling what is done and what failed, and for showing it."""
    tags = {"done_tag": "in stash", "failed_tag": "oops"}
    server.torrents(
        _torrent(tags="in stash"),
        _torrent(hash="b" * 40, tags="synced, oops"),
    )
    server.answers["torrents/addTags"] = server.answers["torrents/removeTags"] = (
        200,
        "",
    )
    source = _open(server, tags)

    listing = source.finished(Progress())
    source.mark_done(listing.entries)
    source.mark_failed(["c"])

    assert listing.done == 1
    assert [entry.is_marked_failed for entry in listing.entries] == [True]
    assert server.posted("torrents/addTags") == [
        {"hashes": ["b" * 40], "tags": ["in stash"]},
        {"hashes": ["c"], "tags": ["oops"]},
    ]
    assert server.posted("torrents/removeTags") == [
        {"hashes": ["b" * 40], "tags": ["oops"]}
    ]


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        pytest.param({}, "abcd", id="none set"),
        pytest.param({"required_tags": ["hd"]}, "bc", id="required"),
        pytest.param({"required_tags": ["hd", "new"]}, "c", id="all of them"),
        pytest.param({"refused_tags": ["new"]}, "abd", id="refused"),
        pytest.param(
            {"required_tags": ["hd"], "refused_tags": ["new"]}, "b", id="both"
        ),
        pytest.param({"save_paths": ["/downloads/films"]}, "bc", id="save path"),
        pytest.param(
            {"save_paths": ["/downloads/films/", r"D:\in"]}, "bcd", id="save paths"
        ),
    ],
)
def test_only_torrents_that_pass_the_filters_are_taken(
    server: Server, settings: dict[str, Any], taken: str
) -> None:
    """The others are not even counted: they are none of our business."""
    server.torrents(
        _torrent(hash="a" * 40, save_path="/downloads/filmstrips"),
        _torrent(hash="b" * 40, tags="hd", save_path="/downloads/films"),
        _torrent(hash="c" * 40, tags="new, hd", save_path="/downloads/films/x"),
        _torrent(
            hash="d" * 40, tags="old", save_path="d:/IN/x", content_path="d:/IN/x/Film"
        ),
    )

    listing = _open(server, settings, path_map={"D:": "/mnt"}).finished(Progress())

    assert "".join(entry.key[0] for entry in listing.entries) == taken
    assert (listing.done, listing.unfinished, listing.problems) == (0, 0, [])


def test_the_category_comes_along(server: Server) -> None:
    """For the place in the library."""
    server.torrents(_torrent(category="a/b"))

    assert _open(server).finished(Progress()).entries[0].category == "a/b"


def test_the_missing_mapping_is_written_out(server: Server) -> None:
    """As it would stand in the settings, with what to map."""
    server.torrents(
        _torrent(content_path=r"D:\Films\a", save_path=r"D:\Films"),
        _torrent(hash="b" * 40, content_path="/none/b", save_path="/none"),
    )
    server.files(_file("b", 1))
    source = _open(server)

    listing = source.finished(Progress())

    assert (
        r'STASHHOG_DOWNLOADS__PATH_MAP={"D:\\Films": "/where/it/is/here"}'
        in listing.problems[0].reason
    )
    with pytest.raises(ItemError, match=re.escape('PATH_MAP={"/none": "/where')):
        source.files(listing.entries[0])


def test_a_torrent_can_get_another_category_in_the_end(server: Server) -> None:
    """The category is created; that it is there already is no failure."""
    for name in ("addTags", "setCategory"):
        server.answers[f"torrents/{name}"] = (200, "")
    server.answers["torrents/createCategory"] = (409, "")
    path = Path("/downloads/x")
    source = _open(server, {"post_import_category": "in stash"})

    source.mark_done([Entry("a", "A", path, path), Entry("b", "B", path, path)])
    source.mark_done([])

    assert server.posted("torrents/createCategory")[0]["category"] == ["in stash"]
    assert server.posted("torrents/setCategory") == [
        {"hashes": ["a|b"], "category": ["in stash"]}
    ]


def test_the_tag_of_the_done_comes_last(server: Server) -> None:
    """Whatever fails before it is done again by the next run, which lists them anew."""
    for name in ("createCategory", "setCategory", "addTags", "removeTags"):
        server.answers[f"torrents/{name}"] = (200, "")
    source = _open(server, {"post_import_category": "in stash"})
    server.asked.clear()

    source.mark_done([Entry("a", "A", Path("/a"), Path("/"), is_marked_failed=True)])

    calls = [name for name, _ in server.asked if name.startswith("torrents/")]
    assert calls[-1] == "torrents/addTags"
    assert set(calls[:-1]) == {
        "torrents/removeTags",
        "torrents/createCategory",
        "torrents/setCategory",
    }


def test_unconfirmed_torrents_are_listed(server: Server) -> None:
    """They have the category of the imported ones, but not the tag."""
    server.torrents(
        _torrent(hash="a" * 40, category="stash"),
        _torrent(hash="b" * 40, category="done", tags="synced"),
        _torrent(hash="c" * 40, category="done"),
        _torrent(hash="d" * 40, category="done", state="checkingUP"),
        _torrent(hash="e" * 40, category="other"),
    )

    listing = _open(server, {"post_import_category": "done"}).finished(Progress())

    assert [entry.key[0] for entry in listing.entries] == ["a"]
    assert [entry.key[0] for entry in listing.unconfirmed] == ["c"]
    assert (listing.done, listing.unfinished) == (0, 0)


def test_a_category_that_the_server_refuses_is_a_wrong_setting(server: Server) -> None:
    """The setting is named; trying again would not help."""
    server.answers["torrents/createCategory"] = (409, "Incorrect category name")
    server.answers["torrents/setCategory"] = (409, "Incorrect category name")
    source = _open(server, {"post_import_category": "odd"})

    with pytest.raises(ConfigurationError, match="POST_IMPORT_CATEGORY"):
        source.mark_done([Entry("a", "A", Path("/a"), Path("/"))])


@pytest.mark.parametrize("category", ["/a", "a/", "a//b", "a\\b"])
def test_a_name_that_is_no_category_is_refused(category: str) -> None:
    """By qBittorrent's own rule, before anything is placed."""
    with pytest.raises(ValidationError):
        QBittorrentSettings(post_import_category=category)


_DONE = {"tags": "synced", "max_ratio": -1, "max_seeding_time": -1, "category": "stash"}


@pytest.mark.parametrize(
    ("values", "is_removable"),
    [
        pytest.param({}, True, id="no limit set"),
        pytest.param({"max_ratio": 2, "ratio": 1.9}, False, id="ratio to come"),
        pytest.param({"max_ratio": 2, "ratio": 2.0}, True, id="ratio reached"),
        pytest.param(
            {"max_seeding_time": 60, "seeding_time": 3599}, False, id="time to come"
        ),
        pytest.param(
            {"max_seeding_time": 60, "seeding_time": 3600}, True, id="time reached"
        ),
        pytest.param(
            {"max_ratio": 2, "ratio": 0, "max_seeding_time": 1, "seeding_time": 60},
            True,
            id="one of two",
        ),
        pytest.param(
            {"max_inactive_seeding_time": 10, "last_activity": 1}, True, id="idle"
        ),
        pytest.param(
            {"max_inactive_seeding_time": 10, "last_activity": 9e12}, False, id="busy"
        ),
        pytest.param({"state": "stoppedUP"}, True, id="stopped"),
        pytest.param({"state": "checkingUP"}, False, id="being checked"),
        pytest.param({"state": "moving"}, False, id="moving"),
        pytest.param({"state": "missingFiles"}, False, id="broken"),
        pytest.param({"tags": ""}, False, id="not done"),
        pytest.param({"tags": "synced, keep"}, False, id="refused tag"),
        pytest.param({"category": "music"}, False, id="other category"),
        pytest.param({"category": "done"}, True, id="category of the done"),
        pytest.param({"content_path": "/downloads"}, True, id="the whole save path"),
    ],
)
def test_a_torrent_goes_only_when_it_has_seeded(
    server: Server, values: dict[str, Any], is_removable: bool
) -> None:
    """One limit that is reached is enough, as for qBittorrent itself."""
    server.torrents(_torrent(**(_DONE | values)))
    source = _open(
        server,
        {
            "clean_up": "remove_torrent",
            "refused_tags": ["keep"],
            "post_import_category": "done",
        },
    )

    assert len(source.finished(Progress()).removable) == is_removable


def test_limits_that_a_server_does_not_tell_are_not_reached(server: Server) -> None:
    """Very old versions: such a torrent is never removed."""
    server.torrents(_torrent(tags="synced"))
    source = _open(server, {"clean_up": "remove_torrent"})

    assert source.finished(Progress()).removable == []


def test_nothing_is_removable_unless_asked_for(server: Server) -> None:
    """By default, every torrent stays."""
    server.torrents(_torrent(**_DONE))

    assert _open(server).finished(Progress()).removable == []


@pytest.mark.parametrize(
    ("version", "stop"),
    [
        pytest.param("2.8.19", "torrents/pause", id="4.x"),
        pytest.param("2.11.2", "torrents/stop", id="5.x"),
    ],
)
def test_a_torrent_is_stopped_before_it_is_removed(
    server: Server, version: str, stop: str
) -> None:
    """By the name that the version knows."""
    server.answers |= dict.fromkeys((stop, "torrents/delete"), (200, ""))
    server.answers["app/webapiVersion"] = (200, version)
    path = Path("/downloads/x")
    source = _open(server)

    source.remove(Entry("a", "A", path, path), with_files=True)

    assert [name for name, _ in server.asked if name.startswith("torrents")] == [
        stop,
        "torrents/delete",
    ]
    assert server.posted("torrents/delete") == [
        {"hashes": ["a"], "deleteFiles": ["True"]}
    ]


@pytest.mark.parametrize(
    ("other", "shares"),
    [
        pytest.param({"content_path": "/downloads/Film"}, True, id="same"),
        pytest.param({"content_path": "/downloads/Film/a.mp4"}, True, id="inside"),
        pytest.param(
            {"content_path": "/downloads", "save_path": "/"}, True, id="around"
        ),
        pytest.param({"content_path": "Film"}, True, id="being checked"),
        pytest.param({"content_path": "/downloads/Film 2"}, False, id="beside"),
    ],
)
def test_torrents_that_share_files_are_found(
    server: Server, other: dict[str, Any], shares: bool
) -> None:
    """Removing one with its files would break the other."""
    server.torrents(_torrent(), _torrent(hash="b" * 40, name="Other", **other))
    path = Path("/downloads/Film")

    name = _open(server).sharing(Entry("a" * 40, "Film", path, path.parent))

    assert name == ("Other" if shares else None)


def test_a_path_is_mapped_to_this_machine(server: Server) -> None:
    """Also one of Windows; the torrent's own name names its folder."""
    server.torrents(
        _torrent(content_path=r"D:\Downloads\disk", save_path=r"D:\Downloads")
    )

    listing = _open(server, path_map={r"D:\Downloads": "/mnt"}).finished(Progress())

    assert listing.entries == [
        Entry(
            "a" * 40,
            "Film",
            Path("/mnt/disk"),
            Path("/mnt"),
            may_retry_blocked=True,
        ),
    ]


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
        pytest.param({"content_path": "/downloads"}, 1, 0, 0, id="the whole save path"),
        pytest.param({"content_path": "/downloads/"}, 1, 0, 0, id="with a slash"),
        pytest.param({"content_path": "Film"}, 0, 0, 1, id="relative while checking"),
    ],
)
def test_a_content_path_is_believed_once_it_is_absolute(
    server: Server, values: dict[str, Any], entries: int, problems: int, unfinished: int
) -> None:
    """One that is the save path is that of a torrent without a folder of its own."""
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
        pytest.param(["a.mp4", "b.mp4"], "/downloads", id="no folder of its own"),
    ],
)
def test_older_servers_do_not_say_where_the_content_is(
    server: Server, files: list[str], content: str
) -> None:
    """Then the files' common folder tells."""
    torrent = _torrent()
    del torrent["content_path"]
    server.torrents(torrent)
    server.files(*(_file(name, 1) for name in files))

    listing = _open(server).finished(Progress())

    assert [str(entry.location) for entry in listing.entries] == [content]
    assert not listing.problems


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "a\nb", ".."])
def test_a_shown_name_that_is_no_file_name_is_replaced(
    server: Server, name: str
) -> None:
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
    assert not listed.unwanted


def test_deselected_files_that_are_there_are_known(
    server: Server, save_path: Path
) -> None:
    """They belong to the torrent, and would be deleted with it."""
    (save_path / "Film" / "b.mp4").write_bytes(b"half")
    server.files(
        _file("Film/a.mp4", 5), _file("Film/b.mp4", 9, priority=0, progress=0.4)
    )

    listed = _open(server).files(_entry(save_path))

    assert [file.relative_path for file in listed.files] == ["a.mp4"]
    assert listed.unwanted == ("Film/b.mp4",)


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
        pytest.param(_file("Film/folder", 5), "not a regular file", id="folder"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_reported(
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
        QBittorrentSource(DownloadSettings(), settings)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param((500, "oops"), TransientError, id="500"),
        pytest.param((0, ""), TransientError, id="hangs up halfway"),
        pytest.param((200, "[{"), TransientError, id="half an answer"),
        pytest.param((200, b'[{"hash": "\xff'), TransientError, id="no UTF-8"),
        pytest.param((200, "[" * 100_000), TransientError, id="nested deeply"),
        pytest.param((200, "{}"), ConfigurationError, id="another answer"),
        pytest.param((200, "[1]"), ConfigurationError, id="numbers"),
        pytest.param((200, "[{}]"), ConfigurationError, id="no torrents"),
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

    with pytest.raises(ItemError, match="no longer has the torrent"):
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

    assert "tag synced is not set" in caplog.text


def test_without_tags_nothing_is_retried_for_ever(server: Server) -> None:
    """A missing tag asks for another try only where there could be one."""
    server.torrents(_torrent())

    asked = _open(server).finished(Progress()).entries[0]
    server.answers["app/webapiVersion"] = (200, "2.2")
    unknown = _open(server).finished(Progress()).entries[0]

    assert asked.may_retry_blocked
    assert not unknown.may_retry_blocked


def test_closing_outlives_the_server(server: Server) -> None:
    """Logging out of a server that is gone is no failure."""
    source = _open(server)
    server.answers["auth/logout"] = (500, "")

    source.close()

    assert server.posted("auth/logout")
