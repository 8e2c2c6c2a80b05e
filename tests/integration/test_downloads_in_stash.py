"""From placed to seen in Stash."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from sandbox.stash.server import StandIn
from stashhog_core.db.models import DownloadItem, Scene, SceneFile, SceneFingerprint
from stashhog_core.db.session import Database
from stashhog_core.downloads.in_stash import (
    ask_scan_rules,
    awaiting_scan,
    confirm_in_stash,
    mark_scanned,
    why_left_out,
)
from stashhog_core.downloads.job import process_downloads
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.paths import PathMap
from stashhog_core.progress import Progress
from stashhog_core.results import DownloadsResult
from stashhog_core.settings import DownloadSettings, Settings, StashSettings
from stashhog_core.stash.documents import ScanFolder, ScanRules
from tests.support.media import write_video


class House:
    """Downloads, a library, and what Stash is said to have of it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.downloads, self.library = folder / "downloads", folder / "library"
        self.downloads.mkdir()
        self.library.mkdir()
        self.path_map = PathMap({"/data": str(self.library)})

    def run(self) -> DownloadsResult:
        settings = Settings(
            downloads=DownloadSettings(
                folder=self.downloads, library_root=self.library, settle_seconds=0
            ),
            stash=StashSettings(path_map={"/data": str(self.library)}),
        )
        return process_downloads(
            settings, self.database, ProcessDownloadsParams(), Progress()
        )

    def stash_has(self, scene_id: int, path: str, oshash: str = "") -> None:
        with self.database.transaction() as session:
            session.add(Scene(id=scene_id))
            session.flush()
            session.add(
                SceneFile(scene_id=scene_id, file_id=scene_id, position=0, path=path)
            )
            if oshash:
                session.add(
                    SceneFingerprint(
                        scene_id=scene_id, file_id=scene_id, kind="oshash", value=oshash
                    )
                )

    def row(self, name: str) -> DownloadItem:
        query = select(DownloadItem).where(DownloadItem.relative_path == name)
        with self.database.transaction() as session:
            return session.scalars(query).one()

    def unseen(
        self, rules: Callable[[], ScanRules | None] = lambda: None
    ) -> dict[str, str]:
        failures = confirm_in_stash(self.database, self.path_map, rules)
        return {Path(failure.item).name: failure.reason for failure in failures.videos}

    def awaiting_scan(self) -> int:
        return confirm_in_stash(self.database, self.path_map).awaiting_scan


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    house = House(database, tmp_path)
    for number, name in enumerate(("a.mp4", "b.mp4")):
        write_video(house.downloads / name, seconds=1, width=40, height=40, seed=number)
    (house.downloads / "a.srt").write_text("1")
    house.run()
    return house


def test_a_scan_takes_placed_files_one_step_on(house: House) -> None:
    """Until then they wait, which a run that places nothing more can still see."""
    waiting = house.awaiting_scan()
    marked = mark_scanned(house.database)
    again = mark_scanned(house.database)

    assert (waiting, marked, again) == (3, 3, 0)
    assert house.awaiting_scan() == 0
    assert house.row("a.mp4").state == "scanned"
    assert house.row("a.mp4").scanned_at is not None


def test_what_is_placed_during_a_scan_waits_for_the_next(house: House) -> None:
    """Whether it is new, or has replaced a file that was there when the scan began."""
    before = awaiting_scan(house.database)
    shutil.copy(house.downloads / "a.mp4", house.downloads / "c.mp4")
    house.run()
    with house.database.transaction() as session:
        again = update(DownloadItem).where(DownloadItem.relative_path == "b.mp4")
        session.execute(again.values(placed_at=func.now()))

    assert mark_scanned(house.database, before) == 2
    assert mark_scanned(house.database, before) == 0
    assert house.row("b.mp4").state == house.row("c.mp4").state == "placed"


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_scan_needs_no_clock_to_know_what_was_placed(
    house: House, hours: int
) -> None:
    """The machine's clock may have been set between placing and the scan."""
    with house.database.transaction() as session:
        moved = DownloadItem.placed_at + timedelta(hours=hours)
        session.execute(update(DownloadItem).values(placed_at=moved))
    before = awaiting_scan(house.database)

    assert mark_scanned(house.database, before) == 3


def test_stash_has_a_file_by_its_path_or_by_its_hash(house: House) -> None:
    """Seen under Stash's own path, or elsewhere with the same content."""
    mark_scanned(house.database)
    house.stash_has(1, "/data/a.mp4")
    house.stash_has(2, "/data/renamed.mp4", house.row("b.mp4").oshash or "")

    assert house.unseen() == {}
    assert house.row("a.mp4").state == house.row("b.mp4").state == "seen"
    assert house.row("a.mp4").seen_at is not None
    assert house.run().unseen == ()


def test_a_file_that_stash_has_was_scanned(house: House) -> None:
    """Also if nobody saw the end of the scan, as when Stash was restarted."""
    house.stash_has(1, "/data/a.mp4")
    house.unseen()

    assert house.row("a.mp4").state == "seen"
    assert house.row("a.mp4").scanned_at is not None


def test_what_stash_has_not_is_reported_with_the_reason(house: House) -> None:
    """Not scanned, or passed over; companions of videos are no scenes."""
    before_scan = house.unseen()
    mark_scanned(house.database)
    house.stash_has(1, "/data/a.mp4")
    after_scan = house.unseen()
    reported = house.run().unseen
    house.stash_has(2, "/data/b.mp4")

    assert set(before_scan) == {"a.mp4", "b.mp4"}
    assert "Stash has not scanned" in before_scan["a.mp4"]
    assert set(after_scan) == {"b.mp4"}
    assert "STASHHOG_STASH__SCAN_PATHS" in after_scan["b.mp4"]
    assert [Path(failure.item).name for failure in reported] == ["b.mp4"]
    assert house.unseen() == {}


def test_the_next_run_sees_what_was_scanned_and_synced_without_it(
    house: House,
) -> None:
    """Jobs may run on their own: no report names a file that Stash has by then."""
    mark_scanned(house.database)
    house.stash_has(1, "/data/a.mp4")
    reported = house.run().unseen

    assert [Path(failure.item).name for failure in reported] == ["b.mp4"]
    assert "If a sync has followed" in reported[0].reason
    assert house.row("a.mp4").state == "seen"


def test_a_corrupt_video_is_reported_by_the_run_that_gives_it_up(house: House) -> None:
    """Whichever job finds out: it is told once."""
    (house.downloads / "corrupt.mp4").write_bytes(b"x" * 1000)
    house.run()
    mark_scanned(house.database)
    for number, name in enumerate(("a.mp4", "b.mp4"), start=1):
        house.stash_has(number, f"/data/{name}")

    first = house.run().unseen
    second = house.run().unseen

    assert [Path(failure.item).name for failure in first] == ["corrupt.mp4"]
    assert second == ()
    assert house.row("corrupt.mp4").state == "blocked"


def test_a_file_that_waits_for_its_scan_goes_on_waiting(house: House) -> None:
    """Though Stash has the same bytes elsewhere: its own path is still unknown."""
    house.stash_has(1, "/data/elsewhere.mp4", house.row("a.mp4").oshash or "")

    result = house.run()

    assert result.awaiting_scan == 3
    assert house.row("a.mp4").state == "placed"


def test_a_corrupt_video_is_not_waited_for(house: House) -> None:
    """It is reported once after the scan, with why, and not looked up for ever."""
    (house.downloads / "corrupt.mp4").write_bytes(b"x" * 1000)
    house.run()
    before_scan = house.unseen()
    mark_scanned(house.database)
    house.stash_has(1, "/data/a.mp4")
    house.stash_has(2, "/data/b.mp4")

    first = house.unseen()
    second = house.unseen()

    assert "Stash has not scanned" in before_scan["corrupt.mp4"]
    assert "cannot be read as a video" in first["corrupt.mp4"]
    assert second == {}
    assert house.row("corrupt.mp4").state == "blocked"
    assert house.run() == DownloadsResult(
        status="completed", total_items=4, skipped_items=4
    )


def test_a_video_that_left_the_library_is_reported(house: House) -> None:
    """It may come back with its mount, so that it is not given up."""
    mark_scanned(house.database)
    house.stash_has(1, "/data/a.mp4")
    (house.library / "b.mp4").unlink()

    assert "was removed from the library" in house.unseen()["b.mp4"]
    assert house.row("b.mp4").state == "scanned"


def test_what_only_its_owner_can_read_is_said_to_be_that(
    database: Database, tmp_path: Path
) -> None:
    """A file or a folder below Stash's folder, as with umask 077; not that folder."""
    house = House(database, tmp_path)
    for number, folder in enumerate(("Film", "Show", "Open")):
        path = house.downloads / folder / f"{number}.mp4"
        write_video(path, seconds=1, width=40, height=40, seed=number)
    house.run()
    (house.library / "Film" / "0.mp4").chmod(0o600)
    (house.library / "Show").chmod(0o2700)
    house.library.chmod(0o700)
    mark_scanned(database)
    rules = ScanRules(stashes=(ScanFolder(path="/data"),), video_extensions=("mp4",))

    reasons = house.unseen(lambda: rules)
    (house.library / "Show").chmod(0o750)
    later = house.unseen(lambda: rules)

    assert f"Only the owner of {house.library}/Film/0.mp4 can" in reasons["0.mp4"]
    assert f"Only the owner of {house.library}/Show can read it" in reasons["1.mp4"]
    assert "STASHHOG_STASH__SCAN_PATHS" in reasons["2.mp4"]
    assert later["1.mp4"] == reasons["2.mp4"]


RULES = ScanRules(
    stashes=(
        ScanFolder(path="/data"),
        ScanFolder(path="/data/pictures", exclude_video=True),
        ScanFolder(path="/pictures", exclude_video=True),
        ScanFolder(path="D:\\Films"),
    ),
    video_extensions=("mp4", "MKV"),
    excludes=("/sample/", "trailer\\.[a-z0-9]+$", "(?U)only Go knows", ""),
)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/data/film.mp4", None),
        ("/data/film.MP4", None),
        ("/data/pictures/film.mkv", None),
        ("D:\\Films\\film.mp4", None),
        ("/data/film.ts", ".ts is not among the video extensions"),
        ("/data/film.m2ts", ".m2ts is not among"),
        ("/pictures/film.mp4", "leaves videos out"),
        ("/database/film.mp4", "in none of Stash's library paths (/data, "),
        ("/data/Sample/film.mp4", "'/sample/'"),
        ("/data/Film-TRAILER.mp4", "exclusion patterns"),
    ],
)
def test_what_stashs_scan_leaves_out_is_known_from_its_settings(
    path: str, why: str | None
) -> None:
    """Folders, extensions and patterns, in whatever letter case, as Stash does it."""
    found = why_left_out(path, RULES)

    assert (found is None) == (why is None)
    assert (why or "") in (found or "")


def test_stash_is_asked_why_it_has_not_a_video(
    database: Database, tmp_path: Path, stand_in: StandIn
) -> None:
    """A transport stream is no video to Stash unless it is told so.

    The reason stays when Stash does not answer, goes when its settings change, and
    Stash is not asked while nothing is missed.
    """
    house = House(database, tmp_path)
    write_video(house.downloads / "a.ts", seconds=1, width=40, height=40)
    house.run()
    house.path_map = PathMap({str(stand_in.library): str(house.library)})
    settings = StashSettings(url=stand_in.url)
    asked = []

    def ask() -> ScanRules | None:
        asked.append(1)
        return ask_scan_rules(settings)

    before = house.unseen(ask)
    asked_before = len(asked)
    mark_scanned(database)
    reasons = house.unseen(ask)
    silent = house.unseen(lambda: ask_scan_rules(StashSettings(url=None)))
    without = house.run().unseen
    rules = ScanRules(
        stashes=(ScanFolder(path=str(stand_in.library)),), video_extensions=("ts",)
    )
    changed = house.unseen(lambda: rules)
    house.stash_has(1, f"{stand_in.library}/a.ts")

    assert "Stash has not scanned" in before["a.ts"]
    assert asked_before == 0
    assert "Stash's scan leaves the file out: .ts is not among" in reasons["a.ts"]
    assert silent == reasons
    assert without[0].reason == reasons["a.ts"]
    assert "STASHHOG_STASH__SCAN_PATHS" in changed["a.ts"]
    assert house.unseen(ask) == {}
    assert len(asked) == 1
