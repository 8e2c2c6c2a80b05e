"""Several file systems below one folder: none is forgotten while it is away."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from stashhog_core.db.session import Database
from stashhog_core.results import DirectoryScanResult
from tests.support.library import Library

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def library(tmp_path: Path, database: Database) -> Library:
    folder = tmp_path / "library"
    folder.mkdir()
    return Library(folder, tmp_path / "home", database, tmp_path / "clips")


def fill(library: Library, disk: str, count: int = 3) -> None:
    """Put files on a disk that are no videos: nothing is read of them."""
    for number in range(count):
        path = library.folder / disk / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"{disk} {number}".encode())


def unmount(library: Library, disk: str) -> None:
    """Leave the empty folder that was mounted on."""
    (library.folder / disk).rename(library.home.parent / disk)
    (library.folder / disk).mkdir()


def mount(library: Library, disk: str) -> None:
    (library.folder / disk).rmdir()
    (library.home.parent / disk).rename(library.folder / disk)


def adds_up(result: DirectoryScanResult) -> bool:
    counted = result.new + result.updated + result.skipped + result.moved
    return result.scanned == counted + result.unreadable + result.pending


@pytest.mark.parametrize("kind", ["device:", "uuid:"])
def test_missing_disk_is_not_gone_though_another_has_its_number(
    library: Library, kind: str
) -> None:
    """Restarts give the number of a missing disk to another: nothing was deleted."""
    fill(library, "a")
    fill(library, "b")
    library.mounted = {"": f"{kind}0", "a": f"{kind}1", "b": f"{kind}2"}
    library.scan()
    before = {path: row.id for path, row in library.rows().items()}

    unmount(library, "a")
    library.mounted = {
        "": f"{kind}0",
        "b": f"{kind}1" if kind == "device:" else "uuid:2",
    }
    away = [library.scan() for _ in range(3)]
    rows = library.rows()
    mount(library, "a")
    library.mounted = {"": f"{kind}0", "a": f"{kind}2", "b": f"{kind}1"}
    back = library.scan()

    assert [(r.missing, r.removed, r.skipped) for r in away] == [(0, 0, 3)] * 3
    assert all("not mounted" in (r.held or "") for r in away)
    assert {rows[f"a/{n}.mp4"].missing_since for n in range(3)} == {None}
    assert all(rows[f"a/{n}.mp4"].unreachable_since for n in range(3))
    assert (back.skipped, back.updated, back.held) == (6, 0, None)
    after = library.rows()
    assert {path: row.id for path, row in after.items()} == before
    assert {row.unreachable_since for row in after.values()} == {None}


def test_new_disk_with_the_number_of_a_missing_one_proves_nothing(
    library: Library,
) -> None:
    """Files that the index never had on it do not say what was deleted."""
    fill(library, "a")
    library.mounted = {"": "device:0", "a": "device:1"}
    library.scan()

    unmount(library, "a")
    fill(library, "c")
    library.mounted = {"": "device:0", "c": "device:1"}
    away = [library.scan() for _ in range(4)]

    assert [(r.missing, r.removed) for r in away] == [(0, 0)] * 4
    assert len(library.rows()) == 6


def test_what_was_deleted_while_the_disk_was_away_is_gone(library: Library) -> None:
    """A disk that comes back under another number is known by the files left on it."""
    fill(library, "a")
    fill(library, "b")
    library.mounted = {"": "device:0", "a": "device:1", "b": "device:2"}
    library.scan()
    unmount(library, "a")
    library.mounted = {"": "device:0", "b": "device:1"}
    library.scan()

    mount(library, "a")
    (library.folder / "a" / "0.mp4").unlink()
    library.mounted = {"": "device:0", "a": "device:7", "b": "device:1"}
    marked, removed = library.scan(), library.scan()

    assert (marked.missing, marked.removed) == (1, 0)
    assert (removed.missing, removed.removed) == (0, 1)
    assert len(library.rows()) == 5


def test_emptied_disk_that_is_mounted_is_known_to_be_empty(library: Library) -> None:
    """Its identity is the proof, though no file is left on it."""
    fill(library, "a")
    fill(library, "b")
    library.mounted = {"": "uuid:0", "a": "uuid:1", "b": "uuid:2"}
    library.scan()
    for path in (library.folder / "a").iterdir():
        path.unlink()

    marked, removed = library.scan(), library.scan()

    assert (marked.missing, removed.removed, removed.held) == (3, 3, None)


@pytest.mark.parametrize("apart", [False, True])
def test_files_moved_off_a_disk_keep_their_rows(library: Library, apart: bool) -> None:
    """72 files of one size move together from a disk that is empty then: 72 moved."""
    for number in range(72):
        path = library.folder / "a" / f"{number:02}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"{number:02}".encode() * 20_000)
    fill(library, "b", 1)
    library.mounted = {"": "uuid:0", "a": "uuid:1", "b": "uuid:2"}
    folders = ["a", "b"] if apart else [""]
    for folder in folders:
        library.scan(path=str(library.folder / folder))
    before = {Path(path).name: row.id for path, row in library.rows().items()}

    (library.folder / "b" / "films").mkdir()
    for path in (library.folder / "a").iterdir():
        shutil.copy2(path, library.folder / "b" / "films")
        path.unlink()
    result = library.scan(path=str(library.folder / folders[-1]))
    again = library.scan()

    assert (result.moved, result.new, result.unreadable) == (72, 0, 0)
    assert adds_up(result)
    assert (again.skipped, again.missing, again.held) == (73, 0, None)
    after = library.rows()
    assert {Path(path).name: row.id for path, row in after.items()} == before
    assert not [path for path in after if path.startswith("a/")]


def test_disk_that_never_comes_back_can_be_forgotten(library: Library) -> None:
    """On request, what an earlier scan did not reach either; nothing unreadable."""
    fill(library, "a")
    fill(library, "b")
    library.mounted = {"": "uuid:0", "a": "uuid:1", "b": "uuid:2"}
    library.scan()
    unmount(library, "a")
    library.mounted = {"": "uuid:0", "b": "uuid:2"}

    at_once = library.scan(forget_unreachable=True)
    later = library.scan(forget_unreachable=True)

    assert (at_once.removed, later.removed, later.held) == (0, 3, None)
    assert "forget_unreachable=true" in (at_once.held or "")
    assert set(library.rows()) == {f"b/{n}.mp4" for n in range(3)}


def test_unreached_files_are_not_checked(library: Library) -> None:
    """What was found but not read before its disk went away waits for the disk."""
    fill(library, "a")
    library.video("b/film.mp4", 1)
    library.mounted = {"": "uuid:0", "a": "uuid:1", "b": "uuid:2"}
    library.scan()
    with library.database.transaction() as session:
        session.execute(
            text("UPDATE library_file SET state = 'changed' WHERE path LIKE '%/a/%'")
        )
    unmount(library, "a")
    library.mounted = {"": "uuid:0", "b": "uuid:2"}

    away = library.scan()
    mount(library, "a")
    library.mounted = {"": "uuid:0", "a": "uuid:1", "b": "uuid:2"}
    back = library.scan()

    assert (away.scanned, away.skipped, away.pending, away.error_count) == (1, 1, 0, 0)
    assert adds_up(away)
    assert (back.skipped, back.unreadable, back.missing) == (1, 3, 0)
    assert adds_up(back)


def test_inode_numbers_say_nothing(library: Library) -> None:
    """Pools such as mergerfs, and FAT, give a file another number after a restart."""
    library.video("a.mp4", 1)
    library.scan()
    with library.database.transaction() as session:
        session.execute(text("UPDATE library_file SET inode = inode + 1"))

    result = library.scan()

    assert (result.skipped, result.updated, result.new) == (1, 0, 0)


def _disk(image: Path, files: Iterable[str]) -> None:
    content = image.with_suffix(".content")
    content.mkdir()
    for name in files:
        (content / name).write_bytes(name.encode())
    with image.open("wb") as made:
        made.truncate(8 * 2**20)
    make = ["mkfs.ext4", "-q", "-d", str(content), str(image)]
    subprocess.run(make, check=True)


def _may_mount(folder: Path, *what: str) -> bool:
    """Tell whether a test may mount this, in a mount namespace of its own."""
    mount = ["unshare", "--mount", "mount", *what, str(folder)]
    return not subprocess.run(mount, check=False, capture_output=True).returncode


def _scan_with(library: Library, url: str, *mounts: str) -> dict[str, Any]:
    """Scan in a mount namespace of its own, in which this is mounted."""
    commands = "".join(f"mount {mount} && " for mount in mounts)
    scan = [sys.executable, "-m", "tests.support.programs", "scan", url]
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", f'{commands} exec "$@"', "sh"),
            *(*scan, str(library.folder), str(library.home)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_real_disks_are_distinguished(library: Library, database_url: str) -> None:
    """Two file systems in files: the one that is no longer mounted is out of reach.

    Where a test may not mount, the same is tried with file systems that are assumed.
    """
    images = [library.home.parent / f"{name}.img" for name in "ab"]
    for image in images:
        _disk(image, ("0.mp4", "1.mp4"))
        (library.folder / image.stem).mkdir()
    mounts = [f"-o loop {image} {library.folder / image.stem}" for image in images]
    if _may_mount(library.folder / "a", "-o", "loop", str(images[0])):
        _scan_with(library, database_url, *mounts)
        results = [_scan_with(library, database_url, mounts[1]) for _ in range(3)]
    else:
        fill(library, "a", 2)
        fill(library, "b", 2)
        library.mounted = {"": "uuid:0", "a": "uuid:1", "b": "uuid:2"}
        library.scan()
        unmount(library, "a")
        library.mounted = {"": "uuid:0", "b": "uuid:2"}
        results = [library.scan().model_dump() for _ in range(3)]

    assert [(r["missing"], r["removed"]) for r in results] == [(0, 0)] * 3
    assert [r["skipped"] for r in results] == [2] * 3
    assert set(library.rows()) == {"a/0.mp4", "a/1.mp4", "b/0.mp4", "b/1.mp4"}


def test_folder_that_a_missing_bind_mount_leaves_is_another(
    library: Library, database_url: str
) -> None:
    """It lies on the same file system as the files that were seen there, and is empty.

    Where a test may not mount, the same is tried with file systems that are assumed.
    """
    fill(library, "b")
    (library.folder / "a").mkdir()
    outside = library.home.parent / "outside"
    outside.mkdir()
    for number in range(3):
        (outside / f"{number}.mp4").write_bytes(b"%d" % number)
    if _may_mount(library.folder / "a", "--bind", str(outside)):
        _scan_with(library, database_url, f"--bind {outside} {library.folder / 'a'}")
    else:
        (library.folder / "a").rmdir()
        outside.rename(library.folder / "a")
        library.mounted = {"": "uuid:0", "a": "uuid:0 of another folder"}
        library.scan()
        unmount(library, "a")
        library.mounted = {"": "uuid:0"}
    away = [library.scan() for _ in range(3)]

    assert [(r.missing, r.removed, r.skipped) for r in away] == [(0, 0, 3)] * 3
    assert len(library.rows()) == 6
