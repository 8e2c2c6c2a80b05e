"""Downloads and library under several names: bind mounts, as containers have them."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from stashhog_core.db.models import DownloadItem
from stashhog_core.db.session import Database
from stashhog_core.downloads import ledger
from stashhog_core.downloads.ledger import ImportRecord
from tests.support.mounted import has_mounts, run_mounted
from tests.support.qbittorrent import PASSWORD, USERNAME, running_qbittorrent

_RUN = """
import json, sys
from stashhog_core.db.session import Database
from stashhog_core.downloads.job import process_downloads
from stashhog_core.errors import StashHogError
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings

url, settings, dry_run = sys.argv[1:]
try:
    print(
        process_downloads(
            Settings(**json.loads(settings)),
            Database(url),
            ProcessDownloadsParams(dry_run=dry_run == "dry"),
            Progress(),
        ).model_dump_json()
    )
except StashHogError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""
_CLEAN = """
import json, sys
from pathlib import Path
from stashhog_core.db.session import Database
from stashhog_core.downloads.clean_up import clean_up
from stashhog_core.downloads.sources import Entry
from stashhog_core.progress import Progress
from stashhog_core.settings import QBittorrentSettings, Settings
from tests.integration.test_downloads_clean_up import MemorySource

url, location = sys.argv[1:]
server = QBittorrentSettings(clean_up="remove_torrent_and_files")
settings = Settings(qbittorrent=server)
location = Path(location)
cleaned = clean_up(
    MemorySource(),
    settings,
    Database(url),
    [Entry("a", "Film", location, location.parent)],
    Progress(),
    dry_run=False,
)
print(json.dumps({
    "removed": cleaned.removed, "kept": [failure.reason for failure in cleaned.kept]
}))
"""
_RUN_AND_REMOUNT = f"""
import subprocess, sys
from pathlib import Path
library, change = sys.argv.pop(), sys.argv.pop()
code = {_RUN!r}
for _ in range(2):
    exec(code)
    names = {{file.name: file.stat().st_size for file in Path(library).rglob("*")}}
    print(json.dumps(names))
    subprocess.run(["mount", "-o", f"remount,{{change}}", library], check=True)
"""
pytestmark = pytest.mark.slow
DATA = b"film" * 1000


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The folder that lies behind the mounts."""
    disk = tmp_path / "disk"
    disk.mkdir()
    return disk


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the job with two folders of the disk mounted elsewhere."""

    def run(
        downloads: Path,
        library: Path,
        server: dict[str, Any] | None = None,
        *,
        dry_run: bool = False,
        **changes: Any,
    ) -> dict[str, Any]:
        names = tmp_path / "dry" if dry_run else tmp_path / "real"
        values = {
            "folder": str(names / "downloads"),
            "library_root": str(names / "library"),
            "settle_seconds": 0,
            "reserve_bytes": 0,
            **changes,
        }
        printed = run_mounted(
            _RUN,
            {names / "downloads": downloads, names / "library": library},
            database_url,
            json.dumps({"downloads": values, "qbittorrent": server or {}}),
            "dry" if dry_run else "real",
        )
        result: dict[str, Any] = json.loads(printed)
        return result

    return run


@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("downloads", "library", "what"),
    [
        pytest.param("x", "x", "are the same folder", id="the same"),
        pytest.param("x", "x/a/b", "The library folder lies inside", id="library in"),
        pytest.param("x/a/b", "x", "The download folder lies inside", id="in library"),
    ],
)
def test_one_folder_under_two_names_is_refused_before_anything_is_placed(
    downloads: str,
    library: str,
    what: str,
    dry_run: bool,
    disk: Path,
    run: Callable[..., dict[str, Any]],
) -> None:
    """Two volumes of a container that show one folder: one sentence, nothing done."""
    for path in (disk / downloads, disk / library):
        path.mkdir(parents=True, exist_ok=True)
    film = disk / downloads / "film.mp4"
    film.write_bytes(DATA)
    before = sorted(disk.rglob("*"))

    refused = run(disk / downloads, disk / library, dry_run=dry_run)

    assert refused["error"] == "ConfigurationError"
    assert what in refused["text"]
    assert sorted(disk.rglob("*")) == before
    assert film.stat().st_nlink == 1


@pytest.mark.parametrize("place", ["hardlink", "hardlink_or_copy"])
def test_two_mounts_of_a_file_system_have_no_links_and_the_dry_run_says_so(
    place: str, disk: Path, run: Callable[..., dict[str, Any]]
) -> None:
    """Their device numbers are equal; only trying tells, and the mounts are named."""
    for name in ("in", "library"):
        (disk / name).mkdir()
    (disk / "in" / "film.mp4").write_bytes(DATA)

    folders = disk / "in", disk / "library"
    dry = run(*folders, dry_run=True, place=place)
    unchanged = not list((disk / "library").iterdir())
    real = run(*folders, place=place)

    said = [_said(dry, "dry"), _said(real, "real")]
    assert unchanged
    assert said[0] == said[1]
    if has_mounts():
        assert "two mounts of one file system" in str(said)
        assert "NAMES/downloads and NAMES/library" in str(said)
        assert real["files_linked"] == 0
        assert real["files_copied"] + real["files_cloned"] == (place != "hardlink")
    else:
        assert real["files_linked"] == 1


def _said(result: dict[str, Any], names: str) -> str:
    """What a run said of its one file; the two have mounts of their own."""
    shown = {
        name: result[name]
        for name in (
            "files_linked",
            "files_cloned",
            "files_copied",
            "why_no_links",
            "errors",
        )
    }
    return re.sub(rf"/[^ ]*/{names}\b", "NAMES", json.dumps(shown))


@pytest.mark.parametrize(
    ("target", "is_removed"),
    [
        pytest.param("film/film.mp4", False, id="the download itself"),
        pytest.param("library/film.mp4", True, id="a second name of the file"),
    ],
)
def test_a_download_is_deleted_only_if_the_librarys_file_is_another_name(
    target: str,
    is_removed: bool,
    disk: Path,
    tmp_path: Path,
    database: Database,
    database_url: str,
) -> None:
    """Two mounts of one folder: the same file, seen twice, is no second copy."""
    film = disk / "film" / "film.mp4"
    film.parent.mkdir()
    film.write_bytes(DATA)
    (disk / "library").mkdir()
    if is_removed:
        os.link(film, disk / target)
    mounts = {tmp_path / "torrents": disk, tmp_path / "media": disk}
    path = str(tmp_path / "media" / target)
    record = ImportRecord("a", "Film", "film.mp4", len(DATA), "placed", path, "link")
    with database.transaction() as session:
        ledger.write(session, "qbittorrent", [record])

    printed = run_mounted(_CLEAN, mounts, database_url, str(tmp_path / "torrents/film"))

    cleaned = json.loads(printed)
    assert (disk / target).read_bytes() == DATA
    assert cleaned["removed"] == (["Film"] if is_removed else [])
    assert film.exists() != is_removed
    assert is_removed or "same folder under two names" in cleaned["kept"][0]


def test_torrents_that_are_saved_in_the_library_are_refused_and_kept(
    disk: Path,
    tmp_path: Path,
    run: Callable[..., dict[str, Any]],
    database: Database,
) -> None:
    """The save path is another name of the library: no torrent and no file goes.

    One is new; the other was said to be in the library by a run that believed it.
    """
    films = [disk / "New" / "new.mp4", disk / "Old" / "old.mp4"]
    for number, film in enumerate(films):
        film.parent.mkdir()
        film.write_bytes(DATA + bytes([number]))
    with running_qbittorrent(tmp_path / "profile") as qbittorrent:
        new, old = [qbittorrent.seed(film.parent) for film in films]
        for info_hash in (new, old):
            qbittorrent.wait_for(info_hash, "stalledUP", "uploading", "queuedUP")
        qbittorrent.client.torrents_add_tags(tags="synced", torrent_hashes=old)
        path = str(tmp_path / "real" / "library" / "Old" / "old.mp4")
        size = films[1].stat().st_size
        record = ImportRecord(old, "Old", "old.mp4", size, "placed", path, "link")
        with database.transaction() as session:
            ledger.write(session, "qbittorrent", [record])

        result = run(
            disk / "New",
            disk,
            {
                "url": qbittorrent.url,
                "username": USERNAME,
                "password": PASSWORD,
                "clean_up": "remove_torrent_and_files",
            },
            source="qbittorrent",
        )

        torrents = qbittorrent.hashes()
    assert torrents == {new, old}
    assert [error["item"] for error in result["errors"]] == ["New"]
    assert "under two names" in result["errors"][0]["reason"]
    assert [kept["item"] for kept in result["kept"]] == ["Old"]
    assert "under two names" in result["kept"][0]["reason"]
    assert all(film.stat().st_nlink == 1 for film in films)
    assert sorted(p.name for p in disk.rglob("*.mp4")) == ["new.mp4", "old.mp4"]


@pytest.mark.skipif(not has_mounts(), reason="the kernel lets nobody mount here")
@pytest.mark.parametrize(
    ("options", "change", "said", "placed"),
    [
        pytest.param("size=8k", "size=1m", "bytes free", 2, id="full"),
        pytest.param("nr_inodes=2", "nr_inodes=9", "No space left", 0, id="no inodes"),
        pytest.param("ro", "rw", "Read-only file system", 0, id="read-only"),
    ],
)
def test_a_library_that_takes_no_more_files_gets_the_rest_later(
    options: str,
    change: str,
    said: str,
    placed: int,
    disk: Path,
    tmp_path: Path,
    database: Database,
    database_url: str,
) -> None:
    """A sentence, no half file, and the very next run places what is left."""
    for number in range(3):
        (disk / f"film {number}.mp4").write_bytes(DATA)
    library = tmp_path / "library"
    values = {
        "folder": str(disk),
        "library_root": str(library),
        "settle_seconds": 0,
        "reserve_bytes": 0,
        "place": "copy",
    }

    printed = run_mounted(
        _RUN_AND_REMOUNT,
        {},
        database_url,
        json.dumps({"downloads": values}),
        "real",
        change,
        str(library),
        memory={library: options},
    )

    first, there, second, at_last = map(json.loads, printed.splitlines())
    assert said in json.dumps(first)
    assert there == {f"film {number}.mp4": len(DATA) for number in range(placed)}
    assert (second["failed_items"], second["synced_items"]) == (0, 3 - placed)
    assert at_last == {f"film {number}.mp4": len(DATA) for number in range(3)}
    with database.transaction() as session:
        tries = session.scalars(select(DownloadItem.tries)).all()
    assert tries == [0, 0, 0]
