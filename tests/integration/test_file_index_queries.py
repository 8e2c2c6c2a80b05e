"""What `stashhog library` lists of the index, against a mirror of Stash."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, text
from typer.testing import CliRunner

from stashhog.cli.app import app
from stashhog_core.db.models import LibraryFile, Scene, SceneFile, SceneFingerprint
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.file_index.queries import similar_files
from stashhog_core.settings import get_settings

STAT = {"file_system": "uuid:1", "mtime_ns": 1, "ctime_ns": 1, "state": "ok"}
FILES: list[dict[str, Any]] = [
    {"path": "/v/a.mp4", "oshash": "aa", "size_bytes": 10, "phash": 0b1111},
    {"path": "/v/sub/copy of a.mp4", "oshash": "aa", "size_bytes": 10, "phash": 0b1111},
    {"path": "/v/b_4k.mkv", "oshash": "bb", "size_bytes": 99, "phash": 0b1000},
    {"path": "/v2/c.mp4", "oshash": "cc", "size_bytes": 5, "phash": -1},
]


@pytest.fixture
def library(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, Any]]]:
    """Four files, of which Stash has one; returns the terminal's JSON output."""
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    get_settings.cache_clear()
    with database.transaction() as session:
        for number, file in enumerate(FILES, 1):
            facts = {"height": 2160 if "4k" in file["path"] else 720, "inode": number}
            codec = {"video_codec": "hevc" if "4k" in file["path"] else "h264"}
            session.execute(insert(LibraryFile).values(STAT | file | facts | codec))
        session.execute(insert(Scene).values(id=7, title="known"))
        session.execute(insert(Scene).values(id=8, title="elsewhere"))
        for scene, path, oshash in ((7, "/data/a.mp4", "aa"), (8, "/data/x", "xx")):
            keys = {"scene_id": scene, "file_id": scene}
            session.execute(insert(SceneFile).values(position=0, path=path, **keys))
            session.execute(
                insert(SceneFingerprint).values(kind="oshash", value=oshash, **keys)
            )

    def ask(*arguments: str) -> list[dict[str, Any]]:
        reported = CliRunner().invoke(app, ["library", *arguments, "--json"])
        assert reported.exit_code == 0, reported.output
        answer: list[dict[str, Any]] = json.loads(reported.output)
        return answer

    return ask


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        pytest.param([], [file["path"] for file in FILES], id="all"),
        pytest.param(["A.MP"], ["/v/a.mp4", "/v/sub/copy of a.mp4"], id="text"),
        pytest.param(["b_4"], ["/v/b_4k.mkv"], id="wildcards are letters"),
        pytest.param(["--folder", "/v2"], ["/v2/c.mp4"], id="folder"),
        pytest.param(["--codec", "HEVC"], ["/v/b_4k.mkv"], id="codec"),
        pytest.param(["--min-height", "2000"], ["/v/b_4k.mkv"], id="height"),
        pytest.param(["--not-in-stash"], ["/v/b_4k.mkv", "/v2/c.mp4"], id="not stash"),
        pytest.param(
            ["--in-stash"], ["/v/a.mp4", "/v/sub/copy of a.mp4"], id="in stash"
        ),
        pytest.param(["--state", "pending"], [], id="pending"),
        pytest.param(["--limit", "1"], ["/v/a.mp4"], id="limit"),
    ],
)
def test_filters(
    library: Callable[..., list[dict[str, Any]]],
    arguments: list[str],
    paths: list[str],
) -> None:
    """Each filter lists what it says, in the order of the paths."""
    assert sorted(file["path"] for file in library("list", *arguments)) == sorted(paths)


def test_duplicates_by_content(library: Callable[..., list[dict[str, Any]]]) -> None:
    """Files of the same hash and size are one group."""
    (group,) = library("duplicates")

    assert group["paths"] == ["/v/a.mp4", "/v/sub/copy of a.mp4"]


def test_duplicates_by_appearance(
    library: Callable[..., list[dict[str, Any]]], database: Database
) -> None:
    """Hashes within the distance are pairs; exact copies are not listed again."""
    alike = library("duplicates", "--distance", "3")

    assert [pair["distance"] for pair in alike] == [3, 3]
    assert all("/v/b_4k.mkv" in pair["paths"] for pair in alike)
    assert library("duplicates", "--distance", "2") == []
    with database.transaction() as session:
        assert max(pair.distance for pair in similar_files(session, 63)) == 63


def test_missing_on_disk_and_only_in_stash(
    library: Callable[..., list[dict[str, Any]]], database: Database
) -> None:
    """What is gone from the disk is listed, and what only Stash has, by hash."""
    with database.transaction() as session:
        session.execute(
            text(
                "UPDATE library_file SET missing_since = now() WHERE path = '/v2/c.mp4'"
            )
        )

    assert [file["path"] for file in library("missing")] == ["/v2/c.mp4"]
    (only,) = library("missing", "--in-stash-only")
    assert (only["scene_id"], only["path"], only["oshash"]) == (8, "/data/x", "xx")
    assert "/v2/c.mp4" not in [file["path"] for file in library("list")]


def test_show_by_path_and_id(library: Callable[..., Any]) -> None:
    """One file is found by its path or its id, its hash written as Stash does."""
    shown = library("show", "/v2/c.mp4")

    assert shown["phash"] == "f" * 16
    assert library("show", str(shown["id"])) == shown


def test_show_of_nothing_says_so(library: Callable[..., Any]) -> None:
    """A file that is not indexed is refused with the way to find one."""
    reported = CliRunner().invoke(app, ["library", "show", "/nothing.mp4"])

    assert isinstance(reported.exception, ConfigurationError)


@pytest.mark.parametrize("command", ["list", "duplicates", "missing"])
def test_tables_are_printed(library: Callable[..., Any], command: str) -> None:
    """Without --json a table is printed."""
    reported = CliRunner().invoke(app, ["library", command], env={"COLUMNS": "200"})

    assert reported.exit_code == 0
    assert "File" in reported.output
