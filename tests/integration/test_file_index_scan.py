"""The directory scan on real files, PostgreSQL and worker processes."""

import ctypes
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest
from sqlalchemy import text

from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, JobCancelled
from stashhog_core.file_index import job as scan_job
from stashhog_core.file_index import shards
from stashhog_core.file_index.walk import list_videos
from stashhog_core.params import DirectoryScanParams
from stashhog_core.progress import Progress
from stashhog_core.settings import LibrarySettings, Settings
from tests.support.library import Library
from tests.support.media import write_dolby_vision
from tests.support.processes import workers_of_pools

pytestmark = pytest.mark.slow


@pytest.fixture
def library(tmp_path: Path, database: Database) -> Library:
    folder = tmp_path / "library"
    folder.mkdir()
    clips = tmp_path / "clips"
    return Library(folder, tmp_path / "home", database, clips)


def test_new_unchanged_changed(library: Library) -> None:
    """New files are read, unchanged ones are not opened, changed ones are read anew."""
    library.video("a.mp4", 1)
    library.video("deep/er/b.mkv", 2)
    (library.folder / "notes.txt").write_text("no video")

    first = library.scan()
    second = library.scan()
    library.video("a.mp4", 3)
    third = library.scan()

    assert (first.scanned, first.new, first.skipped) == (2, 2, 0)
    assert (second.scanned, second.new, second.updated, second.skipped) == (2, 0, 0, 2)
    assert (third.new, third.updated, third.skipped) == (0, 1, 1)
    assert {first.status, second.status, third.status} == {"completed"}


def test_facts_and_thumbnail_are_kept(library: Library) -> None:
    """A row holds the facts of the file; its thumbnail is named by its content."""
    library.video("a.mp4", 1)

    library.scan()

    row = library.rows()["a.mp4"]
    assert (row.state, row.video_codec, row.width, row.height) == (
        "ok",
        "h264",
        160,
        120,
    )
    assert row.duration_seconds == pytest.approx(1)
    assert row.facts["streams"][0]["codec"] == "h264"
    assert Path(row.thumbnail_path or "").read_bytes().startswith(b"\xff\xd8")
    assert row.oshash is not None
    assert row.oshash in (row.thumbnail_path or "")


def test_rotation_is_known_without_a_picture(library: Library) -> None:
    """A scan that makes no thumbnails tells the rotation too."""
    video = library.video("film.mp4", 1)
    with av.open(str(video)) as given, av.open("turned.mp4", "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        stream.set_display_rotation(90)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    Path("turned.mp4").replace(video)

    library.scan(thumbnails=False)

    row = library.rows()["film.mp4"]
    assert (row.state, row.thumbnail_path) == ("ok", None)
    assert row.rotation in {90, 270}


def test_options_are_added_to_known_files(library: Library) -> None:
    """Asking for hashes or sprites later makes them for files already known."""
    library.video("a.mp4", 1)
    library.scan()

    later = library.scan(phashes=True, sprites=True)
    again = library.scan()

    row = library.rows()["a.mp4"]
    assert (later.updated, again.skipped) == (1, 1)
    assert row.phash is not None
    assert Path(row.sprite_path or "").read_text().startswith("WEBVTT")


def test_touched_file_keeps_its_row(library: Library) -> None:
    """A file whose mode changed has its stat key renewed, and counts as updated."""
    path = library.video("a.mp4", 1)
    library.scan()
    before = library.rows()["a.mp4"]

    path.chmod(0o600)
    result = library.scan()

    after = library.rows()["a.mp4"]
    assert result.updated == 1
    assert (after.state, after.ctime_ns) == ("ok", path.stat().st_ctime_ns)
    assert after.probed_at == before.probed_at


def test_moved_file_keeps_its_row(library: Library) -> None:
    """Content found again elsewhere, its old path gone, is the same row."""
    old = library.video("a.mp4", 1)
    library.video("b.mp4", 2)
    library.scan()
    identity = library.rows()["a.mp4"].id

    (library.folder / "new").mkdir()
    old.rename(library.folder / "new" / "c.mp4")
    result = library.scan()

    rows = library.rows()
    assert (result.moved, result.new, result.missing) == (1, 0, 0)
    assert set(rows) == {"new/c.mp4", "b.mp4"}
    assert rows["new/c.mp4"].id == identity
    assert library.scan().skipped == 2


@pytest.mark.parametrize("whole_folder", [False, True])
def test_file_moved_between_scanned_folders_keeps_its_row(
    library: Library, whole_folder: bool
) -> None:
    """What came from a folder scanned apart is the same row, though that was not asked.

    Its former folder may be gone with it.
    """
    video = library.video("one/sub/film.mp4", 1)
    library.video("one/other.mp4", 2)
    library.video("two/here.mp4", 3)
    library.scan(path=str(library.folder / "one"))
    library.scan(path=str(library.folder / "two"))
    before = library.rows()["one/sub/film.mp4"]
    if whole_folder:
        video.parent.rename(library.folder / "two" / "sub")
    else:
        (library.folder / "two" / "sub").mkdir()
        video.rename(library.folder / "two" / "sub" / "film.mp4")

    result = library.scan(path=str(library.folder / "two"))
    left = library.scan(path=str(library.folder / "one"))

    rows = library.rows()
    assert set(rows) == {"one/other.mp4", "two/here.mp4", "two/sub/film.mp4"}
    assert rows["two/sub/film.mp4"].id == before.id
    assert (result.moved, result.new) == (1, 0)
    assert (left.missing, left.skipped) == (0, 1)


def test_copy_in_another_scanned_folder_is_a_second_row(library: Library) -> None:
    """The old path is still there: both are kept."""
    library.video("one/film.mp4", 1)
    library.scan(path=str(library.folder / "one"))
    library.video("two/film.mp4", 1)

    result = library.scan(path=str(library.folder / "two"))

    rows = library.rows()
    assert (result.moved, result.new) == (0, 1)
    assert set(rows) == {"one/film.mp4", "two/film.mp4"}
    assert rows["one/film.mp4"].missing_since is None


def test_unmounted_folder_did_not_move(library: Library) -> None:
    """Out of reach is not gone: its row stays, and the same content is a second one."""
    video = library.video("one/film.mp4", 1)
    library.scan(path=str(library.folder / "one"))
    video.unlink()
    with library.database.transaction() as session:
        session.execute(text("UPDATE library_file SET file_system = 'uuid:other'"))
    library.video("two/film.mp4", 1)

    result = library.scan(path=str(library.folder / "two"))

    assert (result.moved, result.new) == (0, 1)
    assert library.rows()["one/film.mp4"].missing_since is None


def test_copy_is_a_row_of_its_own(library: Library) -> None:
    """A copy beside its original is a second row; a moved file's copy likewise."""
    old = library.video("a.mp4", 1)
    library.scan()
    library.video("b.mp4", 1)
    copied = library.scan()

    old.rename(library.folder / "c.mp4")
    library.video("d.mp4", 1)
    moved = library.scan()

    assert (copied.new, copied.moved) == (1, 0)
    assert (moved.moved, moved.new, moved.pending) == (1, 1, 0)
    assert set(library.rows()) == {"b.mp4", "c.mp4", "d.mp4"}


def test_gone_file_is_marked_then_removed(library: Library) -> None:
    """What is gone is marked by one scan and removed by the next, with its picture."""
    path = library.video("a.mp4", 1)
    library.video("b.mp4", 2)
    library.scan()
    thumbnail = Path(library.rows()["a.mp4"].thumbnail_path or "")

    path.unlink()
    marked = library.scan()
    assert (marked.missing, marked.removed) == (1, 0)
    assert library.rows()["a.mp4"].missing_since is not None
    assert thumbnail.exists()
    removed = library.scan()

    assert (removed.missing, removed.removed) == (0, 1)
    assert set(library.rows()) == {"b.mp4"}
    assert not thumbnail.exists()


def test_what_lies_among_the_pictures_stops_no_scan(library: Library) -> None:
    """A strange file stays; a picture that cannot be deleted is a warning."""
    path = library.video("a.mp4", 1)
    library.video("b.mp4", 2)
    library.scan()
    strange = library.home / "library" / "ab"
    if not strange.is_dir():
        strange.write_text("not ours")
    thumbnail = Path(library.rows()["a.mp4"].thumbnail_path or "")
    thumbnail.unlink()
    # A folder of that name cannot be deleted as a file, not even by root.
    thumbnail.mkdir()
    path.unlink()

    library.scan()
    removed = library.scan()

    assert (removed.removed, removed.status) == (1, "completed")
    assert [warning.item for warning in removed.warnings] == [str(thumbnail)]
    assert strange.exists()


def test_file_that_comes_back_is_whole(library: Library) -> None:
    """A file marked as missing that is there again loses the mark, not its row."""
    path = library.video("a.mp4", 1)
    library.video("b.mp4", 2)
    library.scan()
    path.rename(library.home.parent / "aside.mp4")
    library.scan()

    (library.home.parent / "aside.mp4").rename(path)
    result = library.scan()

    assert result.missing == 0
    assert library.rows()["a.mp4"].state == "ok"


def test_removal_limit_blocks_mass_removal(library: Library) -> None:
    """More than 20 files and 5 % gone: nothing is removed until it is confirmed."""
    for number in range(25):
        (library.folder / f"{number}.mp4").write_bytes(b"%d" % number)
    library.video("stays.mp4", 1)
    library.scan()
    for number in range(25):
        (library.folder / f"{number}.mp4").unlink()

    library.scan()
    held = library.scan()
    assert held.removed == 0
    assert held.status == "completed_with_errors"
    assert "confirm_removals=true" in (held.held or "")
    assert len(library.rows()) == 26

    confirmed = library.scan(confirm_removals=True)
    assert confirmed.removed == 25


def test_empty_root_means_unknown(library: Library) -> None:
    """A root without any file looks like an unmounted one: nothing is marked."""
    path = library.video("a.mp4", 1)
    library.scan()
    path.unlink()

    for _ in range(3):
        result = library.scan()

    assert (result.missing, result.removed) == (0, 0)
    assert "not mounted" in (result.held or "")
    assert library.rows()["a.mp4"].missing_since is None


def test_other_device_means_unknown(library: Library) -> None:
    """Files of a device of which nothing is left were not deleted, but unmounted."""
    library.video("here.mp4", 1)
    mounted = library.video("mounted/there.mp4", 2)
    library.scan()
    with library.database.transaction() as session:
        session.execute(
            text(
                "UPDATE library_file SET file_system = 'uuid:other' "
                "WHERE path LIKE '%/mounted/%'"
            )
        )
    mounted.unlink()

    for _ in range(3):
        result = library.scan()

    assert (result.missing, result.removed) == (0, 0)
    assert result.held is not None


def test_renumbered_device_is_followed(library: Library) -> None:
    """After a mount got another number, files are not read again and can be gone."""
    library.video("a.mp4", 1)
    gone = library.video("b.mp4", 2)
    library.scan()
    with library.database.transaction() as session:
        session.execute(text("UPDATE library_file SET file_system = 'device:99'"))
    gone.unlink()

    result = library.scan()

    assert (result.updated, result.skipped, result.missing) == (0, 1, 1)


@contextmanager
def no_override_of_permissions() -> Iterator[None]:
    """Take from this thread what lets root read everything; give it back."""
    libc = ctypes.CDLL(None)
    # Version 3 of the interface, this thread; effective, permitted, inheritable twice.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    powers = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, powers) == 0
    had = powers[0]
    powers[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, powers) == 0
    yield
    powers[0] = had
    assert libc.capset(header, powers) == 0


def test_unreadable_folder_means_unknown(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be read is an error, and its files are not missing."""
    library.video("a.mp4", 1)
    library.video("locked/b.mp4", 2)
    library.scan()
    (library.folder / "locked").chmod(0)

    def walk(*arguments: Any, **options: Any) -> Iterator[bytes]:
        # Connecting to the database needs them here.
        with no_override_of_permissions():
            yield from list_videos(*arguments, **options)

    monkeypatch.setattr(scan_job, "list_videos", walk)
    result = library.scan()
    (library.folder / "locked").chmod(0o755)

    assert result.missing == 0
    assert [e.item for e in result.errors] == [str(library.folder / "locked")]


def test_folder_that_fails_while_listed_means_unknown(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be listed is an error, and its files are not missing."""
    library.video("a.mp4", 1)
    library.video("locked/b.mp4", 2)
    library.scan()
    opened = os.open

    def failing(path: str, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("/locked"):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", failing)
    result = library.scan()

    assert result.missing == 0
    assert [e.item for e in result.errors] == [str(library.folder / "locked")]
    assert "Permission denied" in result.errors[0].reason


def test_time_limit_keeps_what_is_done(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan that runs out of time ends as such; the next one does the rest only."""
    monkeypatch.setattr(shards, "BATCH", 2)
    for number in range(6):
        library.video(f"{number}.mp4", number)
    probed = 0

    class Slow(Progress):
        def update(self, fraction: float | None, message: str) -> None:
            nonlocal probed
            probed += message.endswith("/6")
            if probed == 3:
                monkeypatch.setattr(shards.time, "monotonic", lambda: 1e9)
            super().update(fraction, message)

    cut = library.scan(Slow())
    monkeypatch.undo()
    rest = library.scan()

    assert cut.status == "timeout"
    assert cut.new == 3
    assert cut.pending == 3
    assert (rest.new, rest.skipped, rest.status) == (3, 3, "completed")


def test_next_scan_opens_only_the_rest(library: Library) -> None:
    """Whatever cut a scan off, no file that it has probed is opened again.

    A walk that was cut off is walked anew, which opens no file.
    """
    for number in range(6):
        library.video(f"{number}.mp4", number)
    opened: list[str] = []

    class Counting(Progress):
        def update(self, fraction: float | None, message: str) -> None:
            if re.search(r" \d+/\d+$", message):
                opened.append(message.split()[0])
                if len(opened) == 2:
                    raise JobCancelled("enough")
            super().update(fraction, message)

    with pytest.raises(JobCancelled):
        library.scan(Counting())
    cut = library.scan(Counting(), timeout_seconds=1e-9)
    last = library.scan(Counting())

    assert len(opened) == len(set(opened)) == 6
    # One file may be read before the time is checked.
    assert (cut.new + last.new, last.new + last.skipped) == (4, 6)


def test_cancelled_scan_keeps_what_is_done(library: Library) -> None:
    """A stop between two files ends the scan at once; nothing is read twice."""
    for number in range(4):
        library.video(f"{number}.mp4", number)
    stop = threading.Event()

    def sink(fraction: float | None, message: str) -> None:
        if message.endswith(" 2/4"):
            stop.set()

    with pytest.raises(JobCancelled):
        library.scan(Progress(sink, stop))
    rest = library.scan()

    assert rest.new in {1, 2}
    assert rest.new + rest.skipped == 4
    assert workers_of_pools() == []


def test_progress_moves_forward_to_the_end(library: Library) -> None:
    """The fraction never falls and ends at 1."""
    for number in range(3):
        library.video(f"{number}.mp4", number)
    fractions: list[float] = []

    library.scan(Progress(lambda f, _: fractions.append(f) if f is not None else None))

    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.parametrize(
    ("path", "roots", "words"),
    [
        pytest.param("nothing", ("",), "is not a directory", id="400"),
        pytest.param("a.mp4", ("",), "is not a directory", id="400 file"),
        pytest.param("", (), "no scan root is", id="403 empty list"),
        pytest.param("..", ("",), "not inside an allowed scan root", id="403 outside"),
        pytest.param("way-out", ("",), "not inside an allowed", id="403 by a link"),
    ],
)
def test_refused_at_the_door(
    library: Library, path: str, roots: tuple[str, ...], words: str
) -> None:
    """What is no folder, or not allowed, is refused with what to do."""
    library.video("a.mp4", 1)
    (library.folder / "way-out").symlink_to(library.home.parent)
    settings = Settings(
        home=library.home,
        library=LibrarySettings(
            allowed_scan_roots=tuple(library.folder / root for root in roots)
        ),
    )

    with pytest.raises(ConfigurationError, match=words):
        scan_job.scan_directory(
            settings,
            library.database,
            DirectoryScanParams(path=str(library.folder / path)),
            Progress(),
        )


def test_dolby_vision_is_found_in_the_pictures(library: Library) -> None:
    """The headers of most such files do not tell it; the first picture does."""
    write_dolby_vision(library.folder / "a.mkv")
    write_dolby_vision(library.folder / "b.mp4")

    library.scan()

    assert {row.hdr for row in library.rows().values()} == {"Dolby Vision"}
