"""The watch folder as a source."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stashhog_core.downloads import watch_folder
from stashhog_core.downloads.sources import EntryFiles, SourceListing
from stashhog_core.downloads.watch_folder import WatchFolderSource
from stashhog_core.errors import ItemError, JobCancelled, TransientError
from stashhog_core.progress import Progress

_LONG_AGO = 1_600_000_000


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    path = tmp_path / "downloads"
    path.mkdir()
    return path


def _write(path: Path, data: bytes = b"x", *, old: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if old:
        _age(path)
    return path


def _age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (_LONG_AGO, _LONG_AGO), follow_symlinks=False)


def _names(listing: SourceListing) -> list[str]:
    return [entry.name for entry in listing.entries]


def _files(source: WatchFolderSource, name: str) -> EntryFiles:
    listing = source.finished(Progress())
    return source.files(next(e for e in listing.entries if e.name == name))


@pytest.fixture
def young(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the test takes, what it writes is young when it is looked at."""
    now = time.time()
    monkeypatch.setattr(watch_folder.time, "time", lambda: now)


def test_entries_that_rest_are_finished_at_once(
    downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times older than the settle time stand for the first look: no waiting."""
    _write(downloads / "b.mp4")
    _write(downloads / "a" / "film.mp4")
    _age(downloads / "a")
    said: list[str] = []
    # The time of the last change (ctime) cannot be set: the clock is.
    tomorrow = time.time() + 86_400
    monkeypatch.setattr(watch_folder.time, "time", lambda: tomorrow)

    progress = Progress(lambda fraction, message: said.append(message))
    listing = WatchFolderSource(downloads, 60).finished(progress)

    assert _names(listing) == ["a", "b.mp4"]
    assert said == []


@pytest.mark.usefixtures("young")
def test_young_entries_are_checked_twice(downloads: Path) -> None:
    """Equal in both looks: finished, within the settle time."""
    _write(downloads / "young.mp4", old=False)
    _write(downloads / "tomorrow.mp4")
    tomorrow = time.time() + 86_400
    os.utime(downloads / "tomorrow.mp4", (tomorrow, tomorrow))

    listing = WatchFolderSource(downloads, 0.3).finished(Progress())

    assert _names(listing) == ["tomorrow.mp4", "young.mp4"]


@pytest.mark.usefixtures("young")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: (d / "a/film.mp4").write_bytes(b"longer"), id="grows"),
        pytest.param(lambda d: (d / "a/more.mp4").write_bytes(b"x"), id="gets a file"),
        pytest.param(lambda d: (d / "a/film.mp4").unlink(), id="loses a file"),
        pytest.param(lambda d: (d / "a").rename(d / "b"), id="is renamed"),
    ],
)
def test_an_entry_that_changes_between_two_checks_is_not_finished(
    downloads: Path, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes below it, it is left for the next run; others are not."""
    _write(downloads / "a" / "film.mp4", old=False)
    _write(downloads / "other.mp4", old=False)
    changed = False

    def sleep(seconds: float) -> None:
        nonlocal changed
        if not changed:
            change(downloads)
        changed = True
        threading.Event().wait(seconds)

    monkeypatch.setattr(watch_folder.time, "sleep", sleep)
    listing = WatchFolderSource(downloads, 0.3).finished(Progress())

    assert _names(listing) == ["other.mp4"]
    assert listing.unfinished == 1


@pytest.mark.usefixtures("young")
def test_a_file_with_an_old_time_that_changed_just_now_is_checked_twice(
    downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may set an old mtime while it writes; the ctime tells."""
    film = _write(downloads / "film.mp4")

    def sleep(seconds: float) -> None:
        with film.open("ab") as file:
            file.write(b"more")
        _age(film)
        threading.Event().wait(seconds)

    monkeypatch.setattr(watch_folder.time, "sleep", sleep)
    listing = WatchFolderSource(downloads, 0.3).finished(Progress())

    assert not listing.entries
    assert [(p.name, p.reason) for p in listing.waiting] == [
        ("film.mp4", "The download is still changing")
    ]


def test_a_file_that_is_open_for_writing_is_not_finished(downloads: Path) -> None:
    """However long it rests, in whichever program; readers do not count."""
    _write(downloads / "film.mp4")
    source = WatchFolderSource(downloads, 0)
    files = _files(source, "film.mp4").files
    script = (
        "import sys; f = open(sys.argv[1], sys.argv[2]); print(flush=True); input()"
    )
    reported = {}
    for mode in ("rb", "ab"):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(downloads / "film.mp4"), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdout.readline()
            reported[mode] = source.why_unfinished(files)
            program.stdin.close()

    assert reported["rb"] is None
    assert "open for writing: film.mp4" in str(reported["ab"])
    assert source.why_unfinished(files) is None


@pytest.mark.parametrize(
    "name",
    [
        "film.mp4.part",
        "film.mp4.!qB",
        "film.mp4.!uT",
        "film.mp4.bc!",
        "film.mp4.crdownload",
        "film.tmp",
        "film.mp4.part-Frag12",
        "_UNPACK_film",
        "_unpack_film.mp4",
        "_unpack",
        "_FAILED_film",
        "__ADMIN__",
        "__incomplete",
        "__incomplete_film",
        "film_unpackerred",
    ],
)
def test_what_is_still_being_written_is_no_entry(downloads: Path, name: str) -> None:
    """Names that download tools give to what is not whole; the listing says so."""
    _write(downloads / name)

    listing = WatchFolderSource(downloads, 0).finished(Progress())

    assert not listing.entries
    assert [problem.name for problem in listing.waiting] == [name]
    assert name in listing.waiting[0].reason


@pytest.mark.parametrize(
    "name",
    [
        "_failed.mp4",
        "unpack_.mp4",
        "the_unpackerred.mp4",
        "part.mp4",
        "film.part.mp4",
        "incomplete",
        "__in.mp4",
    ],
)
def test_a_title_that_only_sounds_unfinished_is_an_entry(
    downloads: Path, name: str
) -> None:
    """Only the names that programs really give count."""
    _write(downloads / name)

    assert _names(WatchFolderSource(downloads, 0).finished(Progress())) == [name]


def test_names_that_begin_with_one_dot_are_hidden_with_two_they_are_titles(
    downloads: Path,
) -> None:
    """Of entries, and of files and folders in them."""
    _write(downloads / ".hidden.mp4")
    _write(downloads / "...And Justice.mp4")
    _write(downloads / "..a" / "...b" / "..c.mp4")
    _write(downloads / "..a" / ".d" / "e.mp4")
    source = WatchFolderSource(downloads, 0)

    files = _files(source, "..a").files

    assert _names(WatchFolderSource(downloads, 0).finished(Progress())) == [
        "...And Justice.mp4",
        "..a",
    ]
    assert [file.relative_path for file in files] == ["...b/..c.mp4"]


def test_a_file_that_is_written_next_to_its_name_is_not_finished(
    downloads: Path,
) -> None:
    """Firefox and aria2 keep the final name while they write beside it."""
    for name in ("a.mp4", "a.mp4.part", "b.mp4", "b.mp4.ARIA2", "c.mp4"):
        _write(downloads / name)
    for name in ("d.mp4", "d.tmp", "e.mp4", "e.mp4.bc!", "f.mp4", "f.mkv.part"):
        _write(downloads / name)

    listing = WatchFolderSource(downloads, 0).finished(Progress())

    assert _names(listing) == ["c.mp4", "f.mp4"]
    why = {problem.name: problem.reason for problem in listing.waiting}
    assert why["b.mp4"].startswith("b.mp4.ARIA2, a part file")
    assert why["d.mp4"].startswith("d.tmp, a part file")


@pytest.mark.parametrize(
    "name",
    ["film.mp4.part", "_UNPACK_x/film.mp4", "x.!qB", "_unpack/a.mp4", "__ADMIN__/a"],
)
def test_a_folder_with_something_unfinished_in_it_waits(
    downloads: Path, name: str
) -> None:
    """However deep it lies."""
    _write(downloads / "a" / "done.mp4")
    _write(downloads / "a" / "deep" / name)
    _write(downloads / "b" / "done.mp4")

    listing = WatchFolderSource(downloads, 0).finished(Progress())

    assert _names(listing) == ["b"]
    assert listing.unfinished == 1


def test_files_are_listed_with_their_sizes(downloads: Path) -> None:
    """In a fixed order, below their entry, without hidden ones."""
    _write(downloads / "a" / "z.mp4", b"123")
    _write(downloads / "a" / "b" / "y.mp4", b"12")
    _write(downloads / "a" / ".hidden" / "x.mp4")
    _write(downloads / "a" / ".DS_Store")
    _write(downloads / "single.mp4", b"1")
    source = WatchFolderSource(downloads, 0)

    files = _files(source, "a")
    single = _files(source, "single.mp4")

    assert files.is_folder
    assert [(f.relative_path, f.size_bytes) for f in files.files] == [
        ("b/y.mp4", 2),
        ("z.mp4", 3),
    ]
    assert not single.is_folder
    assert [(f.relative_path, Path(f.path)) for f in single.files] == [
        ("single.mp4", downloads / "single.mp4")
    ]


def test_links_and_devices_are_no_files(downloads: Path, tmp_path: Path) -> None:
    """One that points inside is left out in silence, all others are told."""
    _write(downloads / "a" / "film.mp4")
    _write(tmp_path / "secret.mp4")
    (downloads / "a" / "inside.mp4").symlink_to(downloads / "a" / "film.mp4")
    (downloads / "a" / "outside.mp4").symlink_to(tmp_path / "secret.mp4")
    (downloads / "a" / "broken.mp4").symlink_to("/none/film.mp4")
    (downloads / "a" / "loop").symlink_to(downloads / "a")
    (downloads / "a" / "home").symlink_to(tmp_path)
    (downloads / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    os.mkfifo(downloads / "a" / "pipe.mp4")
    source = WatchFolderSource(downloads, 0)

    files = _files(source, "a")
    link = _files(source, "link.mp4")

    assert [file.relative_path for file in files.files] == ["film.mp4"]
    assert {p.name for p in files.problems} == {
        "outside.mp4",
        "broken.mp4",
        "home",
        "pipe.mp4",
    }
    assert not link.files
    assert [problem.name for problem in link.problems] == ["link.mp4"]


def test_a_folder_that_went_away_is_an_outage(downloads: Path) -> None:
    """Never an empty listing, which would look like nothing to do."""
    source = WatchFolderSource(downloads, 0)
    downloads.rmdir()

    with pytest.raises(TransientError, match="STASHHOG_DOWNLOADS__FOLDER"):
        source.finished(Progress())


def test_an_entry_that_went_away_is_reported(downloads: Path) -> None:
    """It fails alone."""
    _write(downloads / "a.mp4")
    source = WatchFolderSource(downloads, 0)
    entry = source.finished(Progress()).entries[0]
    (downloads / "a.mp4").unlink()

    with pytest.raises(ItemError, match="No such file"):
        WatchFolderSource(downloads, 0).files(entry)


@pytest.mark.parametrize(
    ("files_kept", "found"),
    [
        pytest.param(10_000, [2, 2, 2], id="all"),
        pytest.param(4, [2, 3, 3], id="the first entry"),
        pytest.param(0, [3, 3, 3], id="none"),
    ],
)
def test_only_so_many_files_are_kept_from_the_check(
    downloads: Path, files_kept: int, found: list[int]
) -> None:
    """What is not kept is listed again: a file that came since the check is found."""
    for name in "abc":
        _write(downloads / name / "1.mp4")
        _write(downloads / name / "2.mp4")
    source = WatchFolderSource(downloads, 0, files_kept)
    entries = source.finished(Progress()).entries
    for name in "abc":
        _write(downloads / name / "3.mp4")

    assert [len(source.files(entry).files) for entry in entries] == found


def test_waiting_ends_when_a_stop_is_asked_for(downloads: Path) -> None:
    """At once, whatever the settle time."""
    _write(downloads / "young.mp4", old=False)
    stop = threading.Event()

    def stop_while_it_waits(fraction: float | None, message: str) -> None:
        if message.startswith("Waiting"):
            threading.Timer(0.2, stop.set).start()

    with pytest.raises(JobCancelled):
        WatchFolderSource(downloads, 86_400).finished(
            Progress(stop_while_it_waits, stop)
        )
