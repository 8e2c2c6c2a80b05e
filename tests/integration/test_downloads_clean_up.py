"""Which torrents the clean-up may remove, by the ledger and what is on the disk."""

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from stashhog_core.db.session import Database
from stashhog_core.downloads import ledger
from stashhog_core.downloads.clean_up import CleanedUp, clean_up
from stashhog_core.downloads.ledger import ImportRecord
from stashhog_core.downloads.sources import Entry, EntryFiles, Problem, SourceListing
from stashhog_core.downloads.watch_folder import list_files
from stashhog_core.errors import JobCancelled, TransientError
from stashhog_core.progress import Progress
from stashhog_core.settings import DownloadSettings, QBittorrentSettings, Settings

Clean = Callable[..., CleanedUp]
FILES = {"film.mp4": b"film" * 1000, "film.srt": b"1", "film.nfo": b"nfo"}


class MemorySource:
    """Torrents that exist only as files; removing is noted, and done as asked."""

    kind = "qbittorrent"

    def __init__(self) -> None:
        self.removed: list[tuple[str, bool]] = []
        self.problems: tuple[Problem, ...] = ()
        self.unwanted: tuple[str, ...] = ()
        self.other: str | None = None
        self.after_removing: Callable[[], None] = lambda: None

    def finished(self, progress: Progress) -> SourceListing:
        return SourceListing()

    def files(self, entry: Entry) -> EntryFiles:
        listed = list_files(entry.location, entry.boundary)
        return replace(listed, problems=self.problems, unwanted=self.unwanted)

    def mark_done(self, entries: Sequence[Entry]) -> None:
        raise NotImplementedError

    def mark_failed(self, keys: Sequence[str]) -> None:
        raise NotImplementedError

    def sharing(self, entry: Entry) -> str | None:
        return self.other

    def remove(self, entry: Entry, *, with_files: bool) -> None:
        self.removed.append((entry.key, with_files))
        if with_files:
            shutil.rmtree(entry.location)
        self.after_removing()

    def close(self) -> None:
        raise NotImplementedError


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "library"
    path.mkdir()
    return path


@pytest.fixture
def place(tmp_path: Path, library: Path, database: Database) -> Callable[..., Entry]:
    """Makes a torrent whose files are in library and ledger; links unless told."""

    def place(
        key: str = "a", names: Sequence[str] = tuple(FILES), method: str = "link"
    ) -> Entry:
        location = tmp_path / "downloads" / key
        location.mkdir(parents=True)
        (library / key).mkdir()
        records = []
        for name, data in FILES.items():
            (location / name).write_bytes(data)
            if name not in names:
                continue
            target = library / key / name
            if method == "link":
                os.link(location / name, target)
            else:
                shutil.copyfile(location / name, target)
            record = ImportRecord(
                key, f"Film {key}", name, len(data), "placed", str(target)
            )
            records.append(record._replace(method=method))
        with database.transaction() as session:
            ledger.write(session, "qbittorrent", records)
        return Entry(key, f"Film {key}", location, location.parent)

    return place


@pytest.fixture
def clean(source: MemorySource, database: Database) -> Clean:
    def clean(
        *entries: Entry,
        clean_up_: str = "remove_torrent",
        limit: int = 10,
        dry_run: bool = False,
        progress: Progress | None = None,
        **downloads: Any,
    ) -> CleanedUp:
        settings = Settings(
            downloads=DownloadSettings(**downloads),
            qbittorrent=QBittorrentSettings(clean_up=clean_up_, clean_up_limit=limit),
        )
        return clean_up(
            source,
            settings,
            database,
            entries,
            progress or Progress(),
            dry_run=dry_run,
        )

    return clean


WITH_FILES = "remove_torrent_and_files"
GONE = "The library file is gone, or another file has its name"


@pytest.mark.parametrize("method", ["link", "copy"])
@pytest.mark.parametrize("how", ["remove_torrent", WITH_FILES])
def test_what_is_all_in_the_library_goes(
    method: str,
    how: str,
    place: Callable[..., Entry],
    clean: Clean,
    source: MemorySource,
    library: Path,
) -> None:
    """By link or by an equal copy; the library keeps everything."""
    entry = place(method=method)

    cleaned = clean(entry, clean_up_=how)

    assert (cleaned.removed, cleaned.kept) == (["Film a"], [])
    assert source.removed == [("a", how == WITH_FILES)]
    assert {p.name: p.read_bytes() for p in (library / "a").iterdir()} == FILES


def test_what_was_never_wanted_keeps_the_files_not_the_torrent(
    place: Callable[..., Entry], clean: Clean, source: MemorySource
) -> None:
    """A description that is nowhere else is not deleted; without files it may go."""
    entry = place(names=["film.mp4", "film.srt"])

    kept = clean(entry, clean_up_=WITH_FILES)
    removed = clean(entry, clean_up_="remove_torrent")

    assert kept.removed == []
    assert "film.nfo" in kept.kept[0].reason
    assert removed.removed == ["Film a"]
    assert source.removed == [("a", False)]
    assert (entry.location / "film.nfo").exists()


def _lose(entry: Entry, library: Path) -> None:
    (library / "a" / "film.mp4").unlink()


def _replace(entry: Entry, library: Path) -> None:
    (library / "a" / "film.mp4").unlink()
    (library / "a" / "film.mp4").write_bytes(b"mlif" * 1000)


def _shorten(entry: Entry, library: Path) -> None:
    (library / "a" / "film.mp4").unlink()
    (library / "a" / "film.mp4").write_bytes(b"film")


def _link_back(entry: Entry, library: Path) -> None:
    """The library's file is only a symbolic link to the download."""
    (library / "a" / "film.mp4").unlink()
    (library / "a" / "film.mp4").symlink_to(entry.location / "film.mp4")


def _move_folder(entry: Entry, library: Path) -> None:
    """The library's folder is the download itself."""
    shutil.rmtree(library / "a")
    (library / "a").symlink_to(entry.location)


def _vanish(entry: Entry, library: Path) -> None:
    shutil.rmtree(entry.location)


def _grow(entry: Entry, library: Path) -> None:
    """The torrent got another file since."""
    (entry.location / "new.mp4").write_bytes(b"new")


def _grow_archive(entry: Entry, library: Path) -> None:
    (entry.location / "new.rar").write_bytes(b"Rar!")


@pytest.mark.parametrize(
    ("how", "method"), [("remove_torrent", "copy"), (WITH_FILES, "link")]
)
@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (_lose, GONE),
        (_replace, GONE),
        (_shorten, GONE),
        (_link_back, GONE),
        (_move_folder, "The library file is the download itself"),
        (_vanish, "No such file or directory"),
        (_grow, "new.mp4"),
        (_grow_archive, "new.rar"),
    ],
)
def test_what_is_not_verified_stays(
    harm: Callable[[Entry, Path], None],
    why: str,
    method: str,
    how: str,
    place: Callable[..., Entry],
    clean: Clean,
    source: MemorySource,
    library: Path,
) -> None:
    """The ledger's word is not enough: each file is looked at; the reason is given."""
    entry = place(method=method)
    harm(entry, library)

    cleaned = clean(entry, clean_up_=how)

    assert source.removed == []
    assert cleaned.removed == []
    (kept,) = cleaned.kept
    assert kept.item == "Film a"
    assert why in kept.reason


@pytest.mark.parametrize("how", ["remove_torrent", WITH_FILES])
@pytest.mark.parametrize("state", ["failed", "blocked", "found"])
def test_what_has_failed_in_part_stays(
    state: Any,
    how: str,
    place: Callable[..., Entry],
    clean: Clean,
    source: MemorySource,
    database: Database,
) -> None:
    """Also when the failed file is gone from the torrent since."""
    entry = place()
    record = ImportRecord("a", "Film a", "extra.mp4", 5, state, reason="Oops")
    with database.transaction() as session:
        ledger.write(session, "qbittorrent", [record])

    cleaned = clean(entry, clean_up_=how)

    assert source.removed == []
    assert "Oops" in cleaned.kept[0].reason


def test_what_the_ledger_does_not_know_stays(
    place: Callable[..., Entry], clean: Clean, source: MemorySource, tmp_path: Path
) -> None:
    """As torrents that another program tagged."""
    entry = place(names=[])
    empty = tmp_path / "downloads" / "empty"
    empty.mkdir()

    cleaned = clean(entry, Entry("e", "Empty", empty, empty.parent))

    assert source.removed == []
    assert len(cleaned.kept) == 2


def test_a_file_that_was_left_out_for_its_length_or_name_does_not_keep_a_torrent(
    place: Callable[..., Entry],
    clean: Clean,
    source: MemorySource,
    database: Database,
) -> None:
    """Its files stay on the disk in any case."""
    entry = place()
    (entry.location / "short.mp4").write_bytes(b"s")
    short = ImportRecord("a", "Film a", "short.mp4", 1, "left_out", reason="Too short")
    with database.transaction() as session:
        ledger.write(session, "qbittorrent", [short])

    by_length = clean(entry, clean_up_=WITH_FILES)
    (entry.location / "proof.jpg").write_bytes(b"p")
    by_name = clean(entry, clean_up_=WITH_FILES, junk_patterns=["proof*"])
    without = clean(entry, clean_up_="remove_torrent", junk_patterns=["proof*"])

    assert (by_length.removed, by_name.removed) == ([], [])
    assert "Too short" in by_length.kept[0].reason
    assert "proof.jpg" in by_name.kept[0].reason
    assert without.removed == ["Film a"]


def test_deselected_and_shared_files_are_not_deleted(
    place: Callable[..., Entry], clean: Clean, source: MemorySource
) -> None:
    """What a second torrent uses, or what is only half there, is not ours alone."""
    entry = place()
    source.unwanted = ("Film/half.mp4",)
    half = clean(entry, clean_up_=WITH_FILES)
    source.unwanted, source.other = (), "Second torrent"
    shared = clean(entry, clean_up_=WITH_FILES)
    source.other, source.problems = None, (Problem("x.mp4", "This is a symbolic link"),)
    odd = clean(entry, clean_up_="remove_torrent")

    assert source.removed == []
    assert "Film/half.mp4" in half.kept[0].reason
    assert "Second torrent" in shared.kept[0].reason
    assert "symbolic link" in odd.kept[0].reason


def test_a_run_removes_only_so_many(
    place: Callable[..., Entry], clean: Clean, source: MemorySource
) -> None:
    """A wrong setting does little harm before somebody sees it."""
    entries = [place(key) for key in "abcd"]

    first = clean(*entries, limit=3)

    assert first.removed == ["Film a", "Film b", "Film c"]
    assert [key for key, _ in source.removed] == ["a", "b", "c"]


def test_a_dry_run_removes_nothing_and_says_the_same(
    place: Callable[..., Entry], clean: Clean, source: MemorySource
) -> None:
    """Also about what would stay."""
    entries = [place("a"), place("b", names=["film.mp4"])]

    dry = clean(*entries, clean_up_=WITH_FILES, dry_run=True)
    nothing = list(source.removed)
    real = clean(*entries, clean_up_=WITH_FILES)

    assert nothing == []
    assert dry == real
    assert real.removed == ["Film a"]


def test_the_probe_of_a_killed_run_goes(
    place: Callable[..., Entry], clean: Clean, library: Path
) -> None:
    """A hidden second name would keep the space of a film that somebody deletes."""
    entry = place()
    left = library / "a" / f".stashhog-{'0' * 16}.part"
    os.link(library / "a" / "film.mp4", left)

    cleaned = clean(entry, clean_up_=WITH_FILES)

    assert cleaned.removed == ["Film a"]
    assert sorted(path.name for path in (library / "a").iterdir()) == sorted(FILES)


def test_a_stop_is_noticed_before_each_torrent(
    place: Callable[..., Entry], clean: Clean, source: MemorySource
) -> None:
    """What was removed until then is removed; nothing more is."""
    stop = threading.Event()
    entries = [place(key) for key in "abc"]
    source.after_removing = stop.set

    with pytest.raises(JobCancelled):
        clean(*entries, progress=Progress(stop=stop))

    assert source.removed == [("a", False)]


def test_a_source_that_is_away_ends_the_run(
    place: Callable[..., Entry],
    clean: Clean,
    source: MemorySource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says nothing about the torrents: none of them is reported as kept."""

    def is_away(entry: Entry) -> EntryFiles:
        raise TransientError("qBittorrent does not answer")

    monkeypatch.setattr(source, "files", is_away)

    with pytest.raises(TransientError, match="does not answer"):
        clean(place("a"), place("b"))


def test_an_unforeseen_error_keeps_its_torrent_only(
    place: Callable[..., Entry], clean: Clean, source: MemorySource
) -> None:
    """An answer without a name, say: that torrent stays, the others go."""
    odd = replace(place("a"), location=cast(Path, None))

    cleaned = clean(odd, place("b"), clean_up_=WITH_FILES)

    assert cleaned.removed == ["Film b"]
    assert [kept.item for kept in cleaned.kept] == ["Film a"]
    assert "The torrent cannot be verified: TypeError" in cleaned.kept[0].reason
