"""The job `process_downloads` on a watch folder and a real database."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import DownloadItem, Scene, SceneFile
from stashhog_core.db.session import Database
from stashhog_core.downloads import placing
from stashhog_core.downloads.job import process_downloads
from stashhog_core.errors import (
    ConfigurationError,
    JobCancelled,
    TransientError,
)
from stashhog_core.hashing import oshash
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.progress import Progress
from stashhog_core.results import DownloadsResult
from stashhog_core.settings import DownloadSettings, Settings
from tests.support.media import write_video

Run = Callable[..., DownloadsResult]


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    path = tmp_path / "downloads"
    path.mkdir()
    return path


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "library"
    path.mkdir()
    return path


@pytest.fixture
def run(database: Database, downloads: Path, library: Path) -> Run:
    def run(
        params: ProcessDownloadsParams | None = None,
        progress: Progress | None = None,
        **changes: Any,
    ) -> DownloadsResult:
        values = {
            "folder": downloads,
            "library_root": library,
            "settle_seconds": 0,
            "reserve_bytes": 0,
        }
        settings = Settings(downloads=DownloadSettings(**(values | changes)))
        return process_downloads(
            settings,
            database,
            params or ProcessDownloadsParams(),
            progress or Progress(),
        )

    return run


def _video(path: Path, seconds: float = 1, seed: int = 0) -> Path:
    return write_video(path, seconds=seconds, width=40, height=40, seed=seed)


def _ledger(database: Database) -> dict[str, DownloadItem]:
    with database.transaction() as session:
        items = session.scalars(select(DownloadItem)).all()
    return {f"{item.entry_key}:{item.relative_path}": item for item in items}


def _tree(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir()}


def _due_now(database: Database) -> None:
    """Let the pauses before the next tries be over."""
    with database.transaction() as session:
        session.execute(update(DownloadItem).values(next_try_at=None))


def _stash_has(database: Database, *paths: str) -> None:
    """Note files of scenes in the mirror, each of a scene of its own."""
    with database.transaction() as session:
        known = session.scalar(select(func.count()).select_from(Scene)) or 0
        for id_, path in enumerate(paths, start=known + 1):
            session.add(Scene(id=id_))
            session.flush()
            session.add(SceneFile(scene_id=id_, file_id=id_, position=0, path=path))


@pytest.mark.parametrize("left_over", [None, "lost+found/", ".nomedia"])
def test_nothing_is_placed_below_the_mount_point_of_a_missing_disk(
    run: Run, database: Database, downloads: Path, library: Path, left_over: str | None
) -> None:
    """None of the many files that Stash has is there, whatever else lies there."""
    (downloads / "New.mp4").write_bytes(b"x" * 10)
    films = [f"{library}/Films/{number}.mp4" for number in range(1200)]
    _stash_has(database, f"{library}2/Film.mp4", *films)
    if left_over is not None and left_over.endswith("/"):
        (library / left_over).mkdir()
    elif left_over is not None:
        (library / left_over).touch()
    before = _tree(library)

    with pytest.raises(ConfigurationError, match="Stash has 1200 files below"):
        run()
    left = _tree(library), _ledger(database)
    (library / "Films").mkdir()
    (library / "Films" / "1199.mp4").touch()
    placed = run()

    assert left == (before, {})
    assert placed.synced_items == 1


def test_a_library_that_a_person_has_emptied_takes_downloads(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """A few files that are gone prove nothing, nor do scenes that Stash has lost."""
    (downloads / "New.mp4").write_bytes(b"x" * 10)
    few = [f"{library}/{number}.mp4" for number in range(20)]
    _stash_has(database, *few)

    with pytest.raises(ConfigurationError, match="Stash has 20 files below"):
        run()
    (library / "new folder").mkdir()
    assert run(ProcessDownloadsParams(dry_run=True)).synced_items == 1

    _stash_has(database, f"{library}/20.mp4")
    with pytest.raises(ConfigurationError, match="Stash has 21 files below"):
        run()
    with database.transaction() as session:
        session.execute(update(Scene).values(missing_since=func.now()))
    assert run().synced_items == 1


def test_downloads_come_into_the_library_once(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """Files are linked, recorded, and left alone by the next run."""
    _video(downloads / "single.mp4")
    _video(downloads / "Film" / "film.mkv", seed=1)
    (downloads / "Film" / "film.srt").write_text("1")
    (downloads / "Film" / "readme.txt").write_text("x")

    first = run()
    second = run()

    assert _tree(library) == {"single.mp4", "Film/film.mkv", "Film/film.srt"}
    assert (library / "single.mp4").samefile(downloads / "single.mp4")
    assert first.status == "completed"
    assert (first.total_items, first.synced_items) == (2, 2)
    assert (first.files_linked, first.files_copied, first.files_skipped) == (3, 0, 1)
    assert first.bytes_linked == sum(
        path.stat().st_size for path in library.rglob("*") if path.is_file()
    )
    assert set(first.placed_paths) == {str(library / path) for path in _tree(library)}
    assert second == DownloadsResult(
        status="completed", total_items=2, skipped_items=2, awaiting_scan=3
    )
    ledger = _ledger(database)
    film = ledger["Film:film.mkv"]
    assert (film.state, film.method, film.tries) == ("placed", "link", 0)
    assert film.target_path == str(library / "Film" / "film.mkv")
    assert film.oshash == oshash(library / "Film" / "film.mkv")
    assert film.placed_at is not None
    assert ledger["Film:film.srt"].oshash is None
    assert len(ledger) == 3


def test_what_the_library_lost_is_not_brought_back(
    run: Run, downloads: Path, library: Path
) -> None:
    """The ledger remembers what a person deleted or moved away since."""
    _video(downloads / "film.mp4")
    run()
    (library / "film.mp4").unlink()

    assert run().synced_items == 0
    assert not _tree(library)


def test_a_corrupt_video_is_reported_once_and_stops_nothing(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """It is placed like any file; the importer is no judge."""
    (downloads / "corrupt.mp4").write_bytes(os.urandom(10_000))
    _video(downloads / "film.mp4")

    first = run()
    second = run()

    assert _tree(library) == {"corrupt.mp4", "film.mp4"}
    assert (first.synced_items, first.failed_items) == (2, 0)
    assert first.status == "completed_with_errors"
    assert [error.item for error in first.errors] == [str(library / "corrupt.mp4")]
    assert "cannot be read as a video" in first.errors[0].reason
    assert (second.status, second.synced_items) == ("completed", 0)
    reason = _ledger(database)["corrupt.mp4:corrupt.mp4"].reason
    assert reason == first.errors[0].reason


def test_an_error_that_nobody_foresaw_stays_that_of_its_download(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """Python raises RuntimeError for a link to itself; the other download comes in."""
    (downloads / "a loop.mp4").symlink_to("a loop.mp4")
    _video(downloads / "film.mp4")

    result = run()

    assert _tree(library) == {"film.mp4"}
    assert (result.synced_items, result.failed_items) == (1, 1)
    assert [error.item for error in result.errors] == ["a loop.mp4"]
    assert "RuntimeError" in result.errors[0].reason
    assert _ledger(database)["a loop.mp4:"].state == "failed"


def test_a_download_that_somebody_writes_to_waits_as_a_whole(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """Nothing of it is placed or recorded, the result names it; later all comes in."""
    _video(downloads / "Film" / "a.mp4")
    half = _video(downloads / "Film" / "b.mp4", seed=1)

    with half.open("ab"):
        first = run(place="copy")
    nothing = not _tree(library) and not _ledger(database)
    second = run(place="copy")

    assert nothing
    assert (first.status, first.skipped_items, first.synced_items) == (
        "completed",
        1,
        0,
    )
    assert [waiting.item for waiting in first.waiting] == ["Film"]
    assert "b.mp4" in first.waiting[0].reason
    assert (second.synced_items, second.waiting) == (1, ())
    assert _tree(library) == {"Film/a.mp4", "Film/b.mp4"}


def test_archives_are_reported_and_their_content_is_taken_later(
    run: Run, downloads: Path, library: Path
) -> None:
    """Once as needing unpacking; what is then unpacked beside them comes in."""
    for name in ("film.rar", "film.r00", "film.r01"):
        (downloads / "Film").mkdir(exist_ok=True)
        (downloads / "Film" / name).write_bytes(b"Rar!")

    first = run()
    second = run()
    _video(downloads / "Film" / "film.mp4")
    third = run()

    assert (first.failed_items, first.synced_items) == (1, 0)
    assert [error.item for error in first.errors] == ["Film"]
    assert "3 archives need unpacking" in first.errors[0].reason
    assert (second.status, second.skipped_items) == ("completed", 1)
    assert (third.status, third.synced_items) == ("completed", 1)
    assert _tree(library) == {"Film/film.mp4"}


def test_an_archive_of_extras_is_no_error(
    run: Run, downloads: Path, library: Path
) -> None:
    """The videos next to it are the main content: it is left out, once."""
    video = _video(downloads / "Show" / "first.mp4")
    (downloads / "Show" / "subs.rar").write_bytes(b"Rar!")
    assert video.stat().st_size > 5 * 4

    first = run()
    second = run()

    assert (first.status, first.synced_items, first.errors) == ("completed", 1, ())
    assert [note.item for note in first.left_out] == ["Show/subs.rar"]
    assert "the videos next to it are the main content" in first.left_out[0].reason
    assert (second.skipped_items, second.left_out) == (1, ())
    assert _tree(library) == {"Show/first.mp4"}


def test_a_packed_film_needs_attention_whatever_else_is_there(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """The rest comes in, the download is not done; the ledger says how to go on."""
    video = _video(downloads.parent / "film.mp4").read_bytes()
    (downloads / "Film" / "Sample").mkdir(parents=True)
    (downloads / "Film" / "film.rar").write_bytes(b"Rar!" + video)
    (downloads / "Film" / "film.srt").write_text("1")
    (downloads / "Film" / "cover.jpg").write_bytes(b"jpg")
    (downloads / "Film" / "Sample" / "film.mp4").write_bytes(b"short")

    first = run()
    reason = _ledger(database)["Film:film.rar"].reason
    second = run()
    (downloads / "Film" / "film.mp4").write_bytes(video)
    third = run()
    (downloads / "Film" / "film.mp4").unlink()
    last = run()

    assert (first.failed_items, first.synced_items) == (1, 0)
    assert "Unpack them in the same folder" in first.errors[0].reason
    assert "unpack it in the same folder" in str(reason)
    assert [note.item for note in first.left_out] == ["Film/Sample/film.mp4"]
    assert "sample" in first.left_out[0].reason
    assert (second.status, second.skipped_items, second.left_out) == (
        "completed",
        1,
        (),
    )
    assert (third.status, third.synced_items) == ("completed", 1)
    assert (last.status, last.failed_items) == ("completed", 0)
    assert _tree(library) == {"Film/film.mp4", "Film/film.srt", "Film/cover.jpg"}
    states = {item.relative_path: item.state for item in _ledger(database).values()}
    assert states["film.rar"] == states["Sample/film.mp4"] == "left_out"


def test_a_download_without_anything_for_stash_is_reported_once(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """A folder of programs is no success; a loose text file is just left alone."""
    (downloads / "Game").mkdir()
    (downloads / "Game" / "setup.exe").write_bytes(b"MZ")
    (downloads / "notes.txt").write_text("x")

    first = run()
    second = run()
    _video(downloads / "Game" / "film.mp4")
    third = run()

    assert [error.item for error in first.errors] == ["Game"]
    assert (first.failed_items, first.skipped_items) == (1, 1)
    assert (second.status, second.skipped_items) == ("completed", 2)
    assert (third.synced_items, _tree(library)) == (1, {"Game/film.mp4"})
    assert set(_ledger(database)) == {"Game:film.mp4"}


def test_short_videos_are_left_out_only_while_asked(
    run: Run, downloads: Path, library: Path
) -> None:
    """An unreadable one has no known length and is kept."""
    _video(downloads / "Film" / "short.mp4")
    _video(downloads / "Film" / "long.mp4", seconds=31, seed=1)
    (downloads / "Film" / "corrupt.mp4").write_bytes(b"x" * 100)
    excluding = ProcessDownloadsParams(exclude_small_vids=True)

    first = run(excluding)
    taken = _tree(library)
    second = run(excluding)
    third = run()

    assert taken == {"Film/long.mp4", "Film/corrupt.mp4"}
    assert (first.synced_items, first.files_skipped) == (1, 1)
    assert (second.synced_items, second.files_skipped) == (0, 0)
    assert third.synced_items == 1
    assert "Film/short.mp4" in _tree(library)


def test_a_dry_run_reports_the_same_and_changes_nothing(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """Library and ledger stay as they are; the counts are those of the real run."""
    _video(downloads / "film.mp4")
    (downloads / "Film").mkdir()
    (downloads / "Film" / "corrupt.mp4").write_bytes(b"x" * 100)
    (downloads / "Film" / "a.zip").write_bytes(b"PK")

    dry = run(ProcessDownloadsParams(dry_run=True))
    untouched = not list(library.iterdir()) and not _ledger(database)
    real = run()

    assert untouched
    unlike = {"placed_paths", "awaiting_scan"}
    assert dry.model_dump(exclude=unlike) == real.model_dump(exclude=unlike)
    assert set(dry.placed_paths) == set(real.placed_paths)


def test_a_dry_run_foretells_failures_too(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """What is in the way, two of one name, a hostile name, and a full disk."""
    _video(downloads / "Film" / "deep" / "bad.mp4")
    _video(downloads / "Film" / "good.mp4", seed=1)
    _video(downloads / "good.mp4", seed=2)
    _video(library / "good.mp4", seed=3)
    (library / "Film").mkdir()
    (library / "Film" / "deep").write_bytes(b"in the way")
    (downloads / "forged\nline.mp4").write_bytes(b"x" * 100)
    unlike = {"placed_paths", "awaiting_scan"}

    full = run(ProcessDownloadsParams(dry_run=True), place="copy", reserve_bytes=10**18)
    dry = run(ProcessDownloadsParams(dry_run=True))
    ledger_empty = not _ledger(database)
    real = run()

    assert ledger_empty
    assert (real.failed_items, real.synced_items, real.files) == (2, 1, 2)
    assert dry.model_dump(exclude=unlike) == real.model_dump(exclude=unlike)
    assert set(dry.placed_paths) == set(real.placed_paths)
    assert sum("RESERVE_BYTES" in error.reason for error in full.errors) == 2


def test_downloads_go_where_the_layout_says(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """Folders and single files; the ledger knows the place."""
    _video(downloads / "Film" / "film.mkv")
    _video(downloads / "single.mp4", seed=1)

    result = run(layout="{category}/in/{name}")

    assert result.synced_items == 2
    assert _tree(library) == {"in/Film/film.mkv", "in/single.mp4"}
    assert _ledger(database)["Film:film.mkv"].target_path == str(
        library / "in" / "Film" / "film.mkv"
    )


def test_permissions_and_group_are_as_set(
    run: Run, downloads: Path, library: Path
) -> None:
    """Of copies and new folders; a link shares them with the download."""
    _video(downloads / "Film" / "film.mkv")
    (downloads / "Film" / "film.mkv").chmod(0o600)
    linked = _video(downloads / "linked.mp4", seed=1)
    linked.chmod(0o600)
    access = {"file_mode": "664", "folder_mode": "2775", "group": str(os.getgid())}
    run(place="hardlink", **access)
    link_mode = linked.stat().st_mode & 0o777
    _video(downloads / "New" / "film.mkv", seed=2).chmod(0o600)

    result = run(place="copy", **access)

    assert result.files_copied == 1
    assert link_mode == 0o600
    assert (library / "New").stat().st_mode & 0o7777 == 0o2775
    assert (library / "Film").stat().st_mode & 0o7777 == 0o2775
    assert (library / "New" / "film.mkv").stat().st_mode & 0o7777 == 0o664
    assert (library / "New").stat().st_gid == os.getgid()


def test_an_unknown_group_is_refused_at_the_door(run: Run, downloads: Path) -> None:
    """Before anything is placed."""
    _video(downloads / "film.mp4")

    with pytest.raises(ConfigurationError, match="STASHHOG_DOWNLOADS__GROUP"):
        run(group="no such group")


def test_a_group_that_cannot_be_given_is_refused_at_the_door(
    run: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the account is no member of it; the trial file goes."""

    def chown(*args: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    with pytest.raises(ConfigurationError, match="STASHHOG_DOWNLOADS__GROUP"):
        run(group=str(os.getgid()))

    assert not list(library.iterdir())


def test_permissions_that_cannot_be_given_are_refused_at_the_door(
    run: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a mount that belongs to somebody else: unset is the way, and works."""

    def chmod(*args: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", chmod)
    for name in ("file_mode", "folder_mode"):
        with pytest.raises(ConfigurationError, match=name.upper()):
            run(**{name: "775"})

    assert run().status == "completed"
    assert not list(library.iterdir())


def test_a_name_that_the_library_cannot_hold_is_not_tried_again(
    run: Run,
    database: Database,
    downloads: Path,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others of its download come in; a dry run says the same."""
    _video(downloads / "Film" / "good.mp4")
    _video(downloads / "Film" / "part: 2.mp4", seed=1)
    real_open, real_link = os.open, os.link

    def refuse(name: object) -> None:
        if str(name).startswith((".stashhog", "part:")) and ":" in str(name):
            raise OSError(errno.EINVAL, "Invalid argument")

    def open_(path: Any, *args: Any, **options: Any) -> int:
        refuse(path)
        return real_open(path, *args, **options)

    def link(source: Any, target: Any, **options: Any) -> None:
        refuse(target)
        real_link(source, target, **options)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "link", link)
    foretold = run(ProcessDownloadsParams(dry_run=True))
    first = run()
    _due_now(database)
    second = run()

    assert foretold.errors == first.errors
    assert "does not allow ':'" in first.errors[0].reason
    assert first.errors[0].item == "Film/part: 2.mp4"
    assert second.status == "completed"
    assert _tree(library) == {"Film/good.mp4"}
    assert _ledger(database)["Film:part: 2.mp4"].state == "blocked"


def test_shortest_length_and_junk_are_as_set(
    run: Run, downloads: Path, library: Path
) -> None:
    """A lower limit later takes what it allows; the job's own limit is 30 seconds."""
    _video(downloads / "Film" / "1.mp4", seconds=1)
    _video(downloads / "Film" / "3.mp4", seconds=3, seed=1)
    _video(downloads / "Film" / "9.mp4", seconds=9, seed=2)
    (downloads / "Film" / "Proof").mkdir()
    (downloads / "Film" / "Proof" / "a.jpg").write_bytes(b"x")
    junk = {"junk_patterns": ["*PROOF*"]}

    first = run(minimum_length_seconds=5, **junk)
    first_tree = _tree(library)
    again = run(minimum_length_seconds=5, **junk)
    lower = run(minimum_length_seconds=2, **junk)
    both = run(
        ProcessDownloadsParams(exclude_small_vids=True), minimum_length_seconds=2
    )

    assert first_tree == {"Film/9.mp4"}
    assert (first.files, first.files_skipped) == (1, 3)
    assert again.files == 0
    assert (lower.files, both.files) == (1, 1)
    assert _tree(library) == {"Film/9.mp4", "Film/3.mp4", "Film/Proof/a.jpg"}


def test_a_failing_file_is_tried_again_with_pauses_and_then_given_up(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """The others of its download come in; not for ever, and not never."""
    _video(downloads / "Film" / "good.mp4")
    _video(downloads / "Film" / "deep" / "bad.mp4", seed=1)
    (library / "Film").mkdir()
    (library / "Film" / "deep").write_bytes(b"in the way")

    first = run(max_tries=2)
    waiting = run(max_tries=2)
    _due_now(database)
    last = run(max_tries=2)
    given_up = run(max_tries=2)

    assert (first.synced_items, first.failed_items, first.files_linked) == (0, 1, 1)
    assert first.errors[0].item == "Film/deep/bad.mp4"
    assert (waiting.status, waiting.skipped_items) == ("completed", 1)
    assert "blocked after 2 tries" in last.errors[0].reason
    assert (given_up.status, given_up.skipped_items) == ("completed", 1)
    row = _ledger(database)["Film:deep/bad.mp4"]
    assert (row.state, row.tries, row.next_try_at) == ("blocked", 2, None)


def test_a_file_that_failed_completes_its_download_later(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """The download counts as synced in the run that brings its last file."""
    _video(downloads / "Film" / "good.mp4")
    _video(downloads / "Film" / "deep" / "bad.mp4", seed=1)
    (library / "Film").mkdir()
    (library / "Film" / "deep").write_bytes(b"in the way")
    run()
    (library / "Film" / "deep").unlink()
    _due_now(database)

    result = run()

    assert (result.status, result.synced_items, result.files_linked) == (
        "completed",
        1,
        1,
    )
    assert _tree(library) == {"Film/good.mp4", "Film/deep/bad.mp4"}
    row = _ledger(database)["Film:deep/bad.mp4"]
    assert (row.state, row.reason) == ("placed", None)


def test_an_unforeseen_error_fails_its_file_only(
    run: Run,
    database: Database,
    downloads: Path,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever its type, it is reported and tried again; all others come in."""
    for number, name in enumerate(("a.mp4", "bad.mp4", "c.mp4")):
        _video(downloads / name, seed=number)
    real_link = os.link

    def link(source: Any, target: Any, **options: Any) -> None:
        if target == "bad.mp4":
            raise LookupError("nobody foresaw this")
        real_link(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        first = run()
    _due_now(database)
    second = run()

    assert (first.status, first.synced_items, first.failed_items) == (
        "completed_with_errors",
        2,
        1,
    )
    assert "LookupError: nobody foresaw this" in first.errors[0].reason
    assert second.synced_items == 1
    assert _tree(library) == {"a.mp4", "bad.mp4", "c.mp4"}


def test_a_full_disk_is_no_try_of_the_file(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """With room again, the very next run takes it."""
    _video(downloads / "film.mp4")

    first = run(place="copy", reserve_bytes=10**18)
    second = run(place="copy")

    assert (first.failed_items, first.files_copied) == (1, 0)
    assert "RESERVE_BYTES" in first.errors[0].reason
    assert (second.synced_items, second.files_copied) == (1, 1)
    assert _ledger(database)["film.mp4:film.mp4"].tries == 0


def test_hostile_downloads_stay_outside_and_are_named(
    run: Run, downloads: Path, library: Path, tmp_path: Path
) -> None:
    """Links, pipes and forged names are told; odd but honest names come in."""
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    _video(downloads / "Film" / "film.mp4")
    (downloads / "Film" / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    os.mkfifo(downloads / "Film" / "pipe.mp4")
    (downloads / "link.mp4").symlink_to("/etc/passwd")
    (downloads / "forged\nline.mp4").write_bytes(b"x" * 100)
    odd = os.fsdecode(b"odd\xff.mp4")
    long = "ä" * 125 + ".mp4"
    _video(downloads / "a.mp4").rename(downloads / odd)
    _video(downloads / "a.mp4", seed=1).rename(downloads / long)

    result = run()

    assert {error.item for error in result.errors} == {
        "Film/link.mp4",
        "Film/pipe.mp4",
        "link.mp4",
        r"forged\x0aline.mp4",
    }
    assert _tree(library) == {"Film/film.mp4", odd, long}
    assert result.model_dump_json()
    assert run().synced_items == 0


def test_a_file_that_can_be_read_at_last_is_in_no_trouble_any_more(
    run: Run, database: Database, downloads: Path, library: Path, tmp_path: Path
) -> None:
    """Nothing in the ledger says that a file is blocked that is in the library."""
    film = downloads / "Film" / "film.mp4"
    film.parent.mkdir()
    elsewhere = _video(tmp_path / "film.mp4")
    film.symlink_to(elsewhere)
    run(max_tries=1)
    before = {row.state for row in _ledger(database).values()}
    film.unlink()
    elsewhere.rename(film)

    result = run()

    assert before == {"blocked"}
    assert (result.synced_items, _tree(library)) == (1, {"Film/film.mp4"})
    assert {row.state for row in _ledger(database).values()} == {"placed"}


def test_the_same_name_twice_keeps_both(
    run: Run, downloads: Path, library: Path
) -> None:
    """What was in the library stays; the new file gets a mark."""
    _video(library / "film.mp4")
    _video(downloads / "film.mp4", seed=1)

    result = run()

    assert result.synced_items == 1
    assert len(_tree(library)) == 2
    assert not (library / "film.mp4").samefile(downloads / "film.mp4")


def test_a_stopped_run_has_recorded_what_it_placed(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """Cancel comes between files; the next run does only the rest."""
    for number in range(5):
        _video(downloads / f"{number}.mp4", seed=number)
    stop = threading.Event()

    def sink(fraction: float | None, message: str) -> None:
        if message.startswith("0.mp4"):
            stop.set()

    with pytest.raises(JobCancelled):
        run(progress=Progress(sink, stop))
    placed = _tree(library)
    recorded = {
        item.relative_path
        for item in _ledger(database).values()
        if item.state == "placed"
    }
    rest = run()

    assert placed == recorded
    assert rest.synced_items == 5 - len(placed)
    assert len(_tree(library)) == 5


def test_an_unexpected_error_loses_nothing(
    run: Run,
    database: Database,
    downloads: Path,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even an interrupt in the middle of a file leaves ledger and library at one."""
    for number in range(4):
        _video(downloads / f"{number}.mp4", seed=number)
    real_copy = placing.copy_content
    calls = 0

    def copy(source: int, target: int, checkpoint: Callable[[], None]) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.write(target, b"half")
            raise KeyboardInterrupt
        return real_copy(source, target, checkpoint)

    monkeypatch.setattr(placing, "copy_content", copy)
    with pytest.raises(KeyboardInterrupt):
        run(place="copy")
    states = [item.state for item in _ledger(database).values()]

    assert sorted(states) == ["found", "found", "placed", "placed"]
    assert _tree(library) == {"0.mp4", "1.mp4"}


def test_progress_names_the_download_and_only_grows(run: Run, downloads: Path) -> None:
    """The message says which of how many; the end is 1."""
    _video(downloads / "film.mp4")
    reports: list[tuple[float | None, str]] = []

    run(
        progress=Progress(lambda fraction, message: reports.append((fraction, message)))
    )

    fractions = [fraction for fraction, _ in reports if fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any(message == "film.mp4 1/1" for _, message in reports)


def test_a_second_run_at_the_same_time_is_refused(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """It says who is at work, and touches nothing."""
    _video(downloads / "film.mp4")
    with (
        job_lock(database, "process_downloads"),
        pytest.raises(TransientError, match="process_downloads is under way"),
    ):
        run()

    assert not _tree(library)


def _make_file(path: Path) -> Path:
    path.write_text("x")
    return path


def _make_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("changes", "variable", "what"),
    [
        ({"folder": None}, "FOLDER", "No download folder is set"),
        ({"library_root": None}, "LIBRARY_ROOT", "No library folder is set"),
        ({"folder": "none"}, "FOLDER", "does not exist"),
        ({"library_root": "none"}, "LIBRARY_ROOT", "does not exist"),
        ({"folder": "file"}, "FOLDER", "is not a folder"),
        ({"library_root": "file"}, "LIBRARY_ROOT", "is not a folder"),
        ({"folder": "library/in"}, "FOLDER", "lies inside the library"),
        ({"library_root": "downloads/in"}, "LIBRARY_ROOT", "inside the download"),
        ({"folder": "library"}, "FOLDER", "are the same"),
        ({"library_root": "link"}, "LIBRARY_ROOT", "inside the download"),
        ({"library_root": "/proc/1"}, "LIBRARY_ROOT", "cannot be written to"),
    ],
)
def test_wrong_folders_are_refused_at_the_door(
    run: Run,
    database: Database,
    tmp_path: Path,
    downloads: Path,
    library: Path,
    changes: dict[str, str | None],
    variable: str,
    what: str,
) -> None:
    """One sentence names the setting; nothing has changed."""
    _video(downloads / "film.mp4")
    (library / "in").mkdir()
    (downloads / "in").mkdir()
    (tmp_path / "link").symlink_to(downloads / "in")
    (tmp_path / "file").write_text("x")
    paths = {
        name: value if value is None else tmp_path / value
        for name, value in changes.items()
    }

    with pytest.raises(ConfigurationError) as caught:
        run(**paths)

    assert what in str(caught.value)
    assert f"STASHHOG_DOWNLOADS__{variable}" in str(caught.value)
    assert not _tree(library)
    assert not _ledger(database)


@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry run"])
def test_a_library_that_cannot_be_written_to_is_found_out_by_writing(
    dry_run: bool, run: Run, downloads: Path
) -> None:
    """Permissions do not tell: root has all of them, and yet cannot write there."""
    _video(downloads / "film.mp4")

    with pytest.raises(ConfigurationError, match=r"cannot be written to.*LIBRARY_ROOT"):
        run(ProcessDownloadsParams(dry_run=dry_run), library_root=Path("/sys"))


def test_a_full_library_needs_space_and_no_permission(
    run: Run, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy is room, not a permission."""
    _video(downloads / "film.mp4")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "touch", full)

    with pytest.raises(ConfigurationError, match="No space left") as caught:
        run(ProcessDownloadsParams())

    assert "free some space" in str(caught.value)
    assert "permissions" not in str(caught.value)


def test_the_ledger_takes_batches_not_files(
    run: Run, database: Database, downloads: Path, library: Path
) -> None:
    """Ten times as many files take no more statements."""
    # Of an empty library a question is asked.
    (library / "Films").mkdir()
    statements: list[str] = []

    def count(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", count)
    taken = []
    for name, files in (("few", 10), ("many", 100)):
        for number in range(files):
            path = downloads / name / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
        statements.clear()
        assert run().files == files
        taken.append(len(statements))
    event.remove(database.engine, "before_cursor_execute", count)

    assert taken[0] == taken[1] < 20


@pytest.mark.parametrize("size_is_final", [False, True], ids=["grows", "preallocated"])
@pytest.mark.parametrize("place", ["copy", "hardlink_or_copy"])
def test_a_copy_of_half_a_file_is_replaced_when_the_rest_has_come(
    run: Run,
    database: Database,
    downloads: Path,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    size_is_final: bool,
) -> None:
    """One file in the end, under its name, even if its times were set to old ones."""
    whole = os.urandom(300_000)
    film = downloads / "Film" / "film.mp4"
    film.parent.mkdir()
    film.write_bytes(whole[:100_000] + bytes(200_000 if size_is_final else 0))
    os.utime(film, (1_600_000_000, 1_600_000_000))

    def link(*args: object, **options: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    run(place=place)
    half = (library / "Film" / "film.mp4").read_bytes()
    film.write_bytes(whole)
    os.utime(film, (1_600_000_000, 1_600_000_000))
    foretold = run(ProcessDownloadsParams(dry_run=True), place=place)
    second = run(place=place)
    third = run(place=place)

    assert half != whole
    assert _tree(library) == {"Film/film.mp4"}
    assert (library / "Film" / "film.mp4").read_bytes() == whole
    assert (foretold.files, foretold.placed_paths) == (1, second.placed_paths)
    assert (second.synced_items, second.files) == (1, 1)
    assert (third.synced_items, third.files, third.skipped_items) == (0, 0, 1)
    with database.transaction() as session:
        items = session.scalars(select(DownloadItem)).all()
    assert [item.size_bytes for item in items if item.state == "placed"] == [300_000]
    assert {item.oshash for item in items if item.state == "placed"} == {oshash(film)}


def test_another_file_of_that_name_replaces_nothing(
    run: Run, downloads: Path, library: Path
) -> None:
    """A name that is used again may be of another film: both stay, nothing is lost."""
    _video(downloads / "film.mp4")
    run(place="copy")
    first = (library / "film.mp4").read_bytes()
    _video(downloads / "film.mp4", seconds=2, seed=1)

    run(place="copy")

    assert (library / "film.mp4").read_bytes() == first
    assert len(_tree(library)) == 2


def test_a_copy_that_somebody_changed_is_not_replaced(
    run: Run, downloads: Path, library: Path
) -> None:
    """What a person made of the file in the library stays, and is asked for once."""
    film = downloads / "film.mp4"
    film.write_bytes(b"a" * 5000)
    run(place="copy")
    (library / "film.mp4").write_bytes(b"b" * 5000)
    film.write_bytes(b"c" * 5000)

    second = run(place="copy")

    assert (library / "film.mp4").read_bytes() == b"b" * 5000
    assert _tree(library) == {"film.mp4"}
    assert (second.synced_items, second.status) == (0, "completed")


def test_a_copy_that_cannot_be_replaced_now_is_replaced_later(
    run: Run, downloads: Path, library: Path
) -> None:
    """For lack of room the half stays, and the error says so."""
    film = downloads / "film.mp4"
    film.write_bytes(b"a" * 5000 + bytes(5000))
    run(place="copy")
    film.write_bytes(b"a" * 10_000)

    full = run(place="copy", reserve_bytes=10**18)
    later = run(place="copy")

    assert "RESERVE_BYTES" in full.errors[0].reason
    assert later.synced_items == 1
    assert (library / "film.mp4").read_bytes() == film.read_bytes()
    assert _tree(library) == {"film.mp4"}


@pytest.mark.parametrize("place", ["hardlink", "copy"])
@pytest.mark.parametrize("is_there", [True, False], ids=["in the library", "removed"])
def test_a_new_download_of_the_same_name_and_size_is_imported(
    run: Run,
    database: Database,
    downloads: Path,
    library: Path,
    place: str,
    is_there: bool,
) -> None:
    """Another file came: nothing in the library is lost, and nothing left out."""
    film = downloads / "film.mp4"
    film.write_bytes(b"first" * 1000)
    os.utime(film, (1_600_000_000, 1_600_000_000))
    run(place=place)
    if not is_there:
        (library / "film.mp4").unlink()
    new = downloads / "new"
    new.write_bytes(b"other" * 1000)
    new.replace(film)

    foretold = run(ProcessDownloadsParams(dry_run=True), place=place)
    second = run(place=place)
    third = run(place=place)

    wanted = {b"first" * 1000, b"other" * 1000} if is_there else {b"other" * 1000}
    assert {path.read_bytes() for path in library.iterdir()} == wanted
    assert (foretold.synced_items, foretold.placed_paths) == (1, second.placed_paths)
    assert (second.synced_items, second.failed_items) == (1, 0)
    assert (third.synced_items, third.skipped_items) == (0, 1)
    (item,) = _ledger(database).values()
    assert Path(str(item.target_path)).read_bytes() == b"other" * 1000


@pytest.mark.parametrize("place", ["hardlink", "copy"])
def test_the_same_download_again_is_not_imported_again(
    run: Run, downloads: Path, library: Path, place: str
) -> None:
    """As after a backup of the downloads: a video that a person has moved stays there.

    A new inode alone says nothing, and of a file that is no video the bytes decide.
    """
    film, text = downloads / "film.mp4", downloads / "film.srt"
    _video(film)
    text.write_text("1")
    run(place=place)
    (library / "film.mp4").rename(library / "renamed.mp4")
    before = _tree(library)
    for path in (film, text):
        again = downloads / "again"
        shutil.copy2(path, again)
        again.replace(path)
    on_another_disk = run(place=place)
    for path in (film, text):
        again = downloads / "again"
        again.write_bytes(path.read_bytes())
        again.replace(path)

    results = [run(place=place), run(place=place)]

    for result in (on_another_disk, *results):
        assert (result.synced_items, result.skipped_items) == (0, 2)
        assert result.errors == ()
    assert _tree(library) == before


@pytest.mark.parametrize("hours", [-5, 0, 5])
def test_a_copy_is_replaced_whatever_the_clock_said_when_it_was_made(
    run: Run, database: Database, downloads: Path, library: Path, hours: int
) -> None:
    """The file tells that it has changed: its times are no longer the same."""
    film = downloads / "film.mp4"
    film.write_bytes(b"a" * 5000 + bytes(5000))
    run(place="copy")
    placed_at = DownloadItem.placed_at + timedelta(hours=hours)
    with database.transaction() as session:
        session.execute(update(DownloadItem).values(placed_at=placed_at))
    unchanged = run(place="copy")
    film.write_bytes(b"a" * 10_000)

    result = run(place="copy")

    assert unchanged.synced_items == 0
    assert result.synced_items == 1
    assert (library / "film.mp4").read_bytes() == b"a" * 10_000


@pytest.mark.parametrize("place", ["hardlink", "copy"])
def test_a_download_that_was_renamed_is_not_imported_again(
    run: Run, database: Database, downloads: Path, library: Path, place: str
) -> None:
    """Alone or in a folder; the library keeps its names, and the ledger follows."""
    _video(downloads / "film.mp4")
    _video(downloads / "Disc" / "part.mp4", seed=1)
    (downloads / "Disc" / "part.srt").write_text("1")
    run(place=place)
    before = _tree(library)
    (downloads / "film.mp4").rename(downloads / "better.mp4")
    (downloads / "Disc").rename(downloads / "Disk")
    _video(downloads / "Disk" / "new.mp4", seed=2)
    with database.transaction() as session:
        # As a run has left it that was killed while it placed the file anew.
        facts = {"source": "folder", "state": "found", "entry_name": "better.mp4"}
        size = (downloads / "better.mp4").stat().st_size
        session.add(
            DownloadItem(
                entry_key="better.mp4",
                relative_path="better.mp4",
                size_bytes=size,
                **facts,
            )
        )

    foretold = run(ProcessDownloadsParams(dry_run=True), place=place)
    first, second = run(place=place), run(place=place)

    assert (foretold.files, first.files, second.files) == (1, 1, 0)
    assert (second.synced_items, second.skipped_items) == (0, 2)
    assert _tree(library) == before | {"Disk/new.mp4"}
    assert set(_ledger(database)) == {
        "better.mp4:better.mp4",
        "Disk:part.mp4",
        "Disk:part.srt",
        "Disk:new.mp4",
    }


def test_two_names_of_a_download_are_two_downloads(
    run: Run, downloads: Path, library: Path
) -> None:
    """A link in the watch folder is no renaming: each name is there."""
    _video(downloads / "film.mp4")
    run()
    (downloads / "again.mp4").hardlink_to(downloads / "film.mp4")

    assert run().synced_items == 1
    assert _tree(library) == {"film.mp4", "again.mp4"}
