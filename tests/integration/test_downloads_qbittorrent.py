"""`process_downloads` on a real qBittorrent."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from stashhog_core.db.models import DownloadItem
from stashhog_core.db.session import Database
from stashhog_core.downloads.job import process_downloads
from stashhog_core.errors import ConfigurationError, TransientError
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.progress import Progress
from stashhog_core.results import DownloadsResult
from stashhog_core.settings import DownloadSettings, QBittorrentSettings, Settings
from tests.support.media import write_video
from tests.support.proxy import proxy_of
from tests.support.qbittorrent import (
    PASSWORD,
    USERNAME,
    QBittorrentServer,
    running_qbittorrent,
)

pytestmark = pytest.mark.slow

Run = Callable[..., DownloadsResult]
_SEEDING = ("stalledUP", "uploading", "queuedUP", "forcedUP")


@pytest.fixture
def qbittorrent(tmp_path: Path) -> Iterator[QBittorrentServer]:
    with running_qbittorrent(tmp_path / "profile") as server:
        yield server


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
def run(qbittorrent: QBittorrentServer, database: Database, library: Path) -> Run:
    def run(
        password: str = PASSWORD,
        server: dict[str, Any] | None = None,
        *,
        dry_run: bool = False,
        progress: Progress | None = None,
        **changes: Any,
    ) -> DownloadsResult:
        values = {
            "source": "qbittorrent",
            "library_root": library,
            "reserve_bytes": 0,
        }
        settings = Settings(
            downloads=DownloadSettings(**(values | changes)),
            qbittorrent=QBittorrentSettings(
                **{
                    "url": qbittorrent.url,
                    "username": USERNAME,
                    "password": SecretStr(password),
                }
                | (server or {})
            ),
        )
        return process_downloads(
            settings,
            database,
            ProcessDownloadsParams(dry_run=dry_run),
            progress or Progress(),
        )

    return run


def _video(path: Path, seed: int = 0) -> Path:
    return write_video(path, seconds=1, width=40, height=40, seed=seed)


def _tree(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


def _due_now(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(DownloadItem).values(next_try_at=None))


def test_finished_torrents_come_in_and_are_tagged(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """A folder, a single file and another category; the second run has nothing."""
    _video(downloads / "Film" / "disc" / "film.mkv")
    (downloads / "Film" / "film.srt").write_text("1")
    single = _video(downloads / "single.mp4", seed=1)
    other = _video(downloads / "other.mp4", seed=2)
    film_hash = qbittorrent.seed(downloads / "Film")
    single_hash = qbittorrent.seed(single)
    other_hash = qbittorrent.seed(other, category="music")
    for info_hash in (film_hash, single_hash, other_hash):
        qbittorrent.wait_for(info_hash, *_SEEDING)

    first = run()
    second = run()

    assert _tree(library) == {"Film/disc/film.mkv", "Film/film.srt", "single.mp4"}
    assert (library / "single.mp4").samefile(single)
    assert (first.status, first.total_items, first.synced_items) == ("completed", 2, 2)
    assert qbittorrent.tags(film_hash) == qbittorrent.tags(single_hash) == {"synced"}
    assert qbittorrent.tags(other_hash) == set()
    assert second == DownloadsResult(
        status="completed", total_items=2, skipped_items=2, awaiting_scan=3
    )

    assert run(category="").synced_items == 1
    assert qbittorrent.tags(other_hash) == {"synced"}


def test_without_its_tag_a_torrent_is_not_taken_again(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """The ledger knows better; the tag comes back."""
    info_hash = qbittorrent.seed(_video(downloads / "film.mp4"))
    qbittorrent.wait_for(info_hash, *_SEEDING)
    run()
    qbittorrent.client.torrents_remove_tags(tags="synced", torrent_hashes=info_hash)
    (library / "film.mp4").unlink()

    again = run()

    assert (again.synced_items, again.skipped_items) == (0, 1)
    assert not _tree(library)
    assert qbittorrent.tags(info_hash) == {"synced"}


def test_a_failed_torrent_is_tagged_and_cleared_when_it_succeeds(
    qbittorrent: QBittorrentServer,
    run: Run,
    database: Database,
    downloads: Path,
    library: Path,
) -> None:
    """Its reason stands in the ledger; later its tags change places."""
    _video(downloads / "Film" / "film.mp4")
    info_hash = qbittorrent.seed(downloads / "Film")
    qbittorrent.wait_for(info_hash, *_SEEDING)
    (library / "Film").write_text("in the way")

    failed = run()
    tags_failed = qbittorrent.tags(info_hash)
    (library / "Film").unlink()
    _due_now(database)
    succeeded = run()

    assert (failed.failed_items, failed.synced_items) == (1, 0)
    assert failed.errors[0].item == "Film/film.mp4"
    assert tags_failed == {"error_syncing"}
    assert succeeded.synced_items == 1
    assert qbittorrent.tags(info_hash) == {"synced"}


def test_missing_files_are_reported_not_passed_over(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, database: Database
) -> None:
    """Also when qBittorrent has not noticed them yet, and when it has."""
    video = _video(downloads / "film.mp4")
    info_hash = qbittorrent.seed(video)
    qbittorrent.wait_for(info_hash, *_SEEDING)
    video.unlink()

    unnoticed = run()
    qbittorrent.client.torrents_recheck(torrent_hashes=info_hash)
    qbittorrent.wait_for(info_hash, "missingFiles", "stalledDL", "downloading")
    _due_now(database)
    run()

    assert unnoticed.failed_items == 1
    assert unnoticed.errors[0].item == "film.mp4"
    assert "PATH_MAP" in unnoticed.errors[0].reason
    assert qbittorrent.tags(info_hash) == {"error_syncing"}
    with database.transaction() as session:
        item = session.scalars(select(DownloadItem)).one()
    assert (item.entry_key, item.relative_path, item.state) == (
        info_hash,
        "",
        "failed",
    )


def test_a_torrent_whose_disk_was_away_comes_in_when_it_is_back(
    qbittorrent: QBittorrentServer,
    run: Run,
    database: Database,
    downloads: Path,
    library: Path,
) -> None:
    """However often it was tried meanwhile: nobody has to ask for another try."""
    info_hash = qbittorrent.seed(_video(downloads / "film.mp4"))
    qbittorrent.wait_for(info_hash, *_SEEDING)
    away = downloads.with_name("away")
    downloads.rename(away)
    downloads.mkdir()
    for _ in range(3):
        run(max_tries=2)
        _due_now(database)
    with database.transaction() as session:
        given_up = session.scalars(select(DownloadItem.state)).all()
    downloads.rmdir()
    away.rename(downloads)

    back = run(max_tries=2)

    assert given_up == ["blocked"]
    assert (back.synced_items, _tree(library)) == (1, {"film.mp4"})
    assert qbittorrent.tags(info_hash) == {"synced"}
    with database.transaction() as session:
        assert session.scalars(select(DownloadItem.state)).all() == ["placed"]


def test_deselected_files_are_not_expected(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """Priority 0 means that qBittorrent never had to have them."""
    _video(downloads / "Film" / "a.mp4")
    _video(downloads / "Film" / "b.mp4", seed=1)
    info_hash = qbittorrent.seed(downloads / "Film")
    qbittorrent.wait_for(info_hash, *_SEEDING)
    qbittorrent.client.torrents_file_priority(
        torrent_hash=info_hash, file_ids=1, priority=0
    )
    (downloads / "Film" / "b.mp4").unlink()

    result = run()

    assert (result.status, result.synced_items) == ("completed", 1)
    assert _tree(library) == {"Film/a.mp4"}


def test_a_torrent_without_a_folder_of_its_own_comes_in_alone(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """Exactly what qBittorrent names is taken, by its name there, and cleaned up."""
    _video(downloads / "1.mp4")
    _video(downloads / "disc" / "2.mp4", seed=1)
    info_hash = qbittorrent.seed(downloads, name="Film", layout="NoSubfolder")
    qbittorrent.wait_for(info_hash, *_SEEDING)
    other = _video(downloads / "other.mp4", seed=2)
    qbittorrent.client.torrents_rename_file(
        info_hash, old_path="disc/2.mp4", new_path="elsewhere/part 2.mp4"
    )

    first = run()
    cleaning = {"clean_up": "remove_torrent_and_files"}
    second = run(server=cleaning)

    assert _tree(library) == {"Film/1.mp4", "Film/elsewhere/part 2.mp4"}
    assert (first.synced_items, first.errors) == (1, ())
    assert second.removed == ("Film",)
    qbittorrent.wait_until_gone(downloads / "1.mp4")
    assert other.exists()
    assert len(_tree(library)) == 2


def test_two_torrents_in_one_folder_keep_each_others_files(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """Without folders of their own they share the save path; a shared file stays."""
    shared = _video(downloads / "shared.mp4")
    qbittorrent.wait_for(qbittorrent.seed(shared), *_SEEDING)
    _video(downloads / "own.mp4", seed=1)
    flat = qbittorrent.seed(downloads, name="Both", layout="NoSubfolder")
    qbittorrent.wait_for(flat, *_SEEDING)

    run()
    cleaned = run(server={"clean_up": "remove_torrent_and_files"})

    assert cleaned.removed == ()
    assert {kept.item for kept in cleaned.kept} == {"Both", "shared.mp4"}
    assert all("Another torrent" in kept.reason for kept in cleaned.kept)
    assert shared.exists()


def test_a_symbolic_link_of_a_torrent_is_left_out_with_a_note(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """Its target comes in by itself; the note is given once and is no error."""
    _video(downloads / "Film" / "film.mp4")
    _video(downloads / "Film" / "more.mp4", seed=1)
    info_hash = qbittorrent.seed(downloads / "Film", links={"link.mp4": "film.mp4"})
    qbittorrent.wait_for(info_hash, *_SEEDING)

    first = run()
    qbittorrent.client.torrents_remove_tags("synced", info_hash)
    second = run()

    assert (downloads / "Film" / "link.mp4").is_symlink()
    assert _tree(library) == {"Film/film.mp4", "Film/more.mp4"}
    assert (first.status, first.synced_items) == ("completed", 1)
    assert [note.item for note in first.left_out] == ["Film/link.mp4"]
    assert "symbolic link" in first.left_out[0].reason
    assert second.left_out == ()
    assert qbittorrent.tags(info_hash) == {"synced"}


def test_a_deselected_part_on_the_disk_keeps_the_files_of_a_torrent(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """Also under the name that qBittorrent gives to what is not whole."""
    _video(downloads / "Film" / "film.mp4")
    extra = _video(downloads / "Film" / "extra.mp4", seed=1)
    qbittorrent.client.app_set_preferences({"incomplete_files_ext": True})
    info_hash = qbittorrent.seed(downloads / "Film")
    qbittorrent.wait_for(info_hash, *_SEEDING)
    run_files = qbittorrent.client.torrents_files(info_hash)
    index = next(f.index for f in run_files if f.name.endswith("extra.mp4"))
    qbittorrent.client.torrents_file_priority(info_hash, index, 0)
    if extra.exists():
        extra.rename(extra.with_name("extra.mp4.!qB"))

    run()
    cleaned = run(server={"clean_up": "remove_torrent_and_files"})

    assert _tree(library) == {"Film/film.mp4"}
    assert cleaned.removed == ()
    assert "deselected" in cleaned.kept[0].reason
    assert (downloads / "Film" / "extra.mp4.!qB").exists()


@pytest.mark.parametrize("how", ["folder", "no folder", "single file"])
def test_archives_keep_a_torrent_from_being_done_until_they_are_unpacked(
    qbittorrent: QBittorrentServer,
    run: Run,
    downloads: Path,
    library: Path,
    how: str,
) -> None:
    """Whatever else is in it; then what lies beside them comes in, and it is done."""
    video = _video(downloads.parent / "film.mp4").read_bytes()
    folder = downloads if how == "single file" else downloads / "Film"
    folder.mkdir(exist_ok=True)
    (folder / "film.rar").write_bytes(b"Rar!" + video)
    if how == "single file":
        content = folder / "film.rar"
    else:
        content = folder
        (folder / "cover.jpg").write_bytes(b"jpg")
        (folder / "film.srt").write_text("1")
        _video(folder / "proof" / "sample.mp4", seed=3)
        (folder / "proof" / "sample.mp4").write_bytes(b"tiny")
    layout = "NoSubfolder" if how == "no folder" else None
    info_hash = qbittorrent.seed(content, layout=layout)
    qbittorrent.wait_for(info_hash, *_SEEDING)
    quiet = {"settle_seconds": 0}

    first = run(**quiet)
    tags = qbittorrent.tags(info_hash)
    second = run(**quiet)
    (folder / "film.mp4").write_bytes(video)
    if how == "no folder":
        (folder / "of another torrent.mp4").write_bytes(b"x")
    too_new = run(settle_seconds=3600)
    third = run(**quiet)

    assert (first.failed_items, first.synced_items) == (1, 0)
    assert "archives need unpacking" in first.errors[0].reason
    assert tags == {"error_syncing"}
    assert (second.skipped_items, second.errors) == (1, ())
    assert (too_new.files, len(too_new.waiting)) == (0, 1)
    assert (third.synced_items, third.status) == (1, "completed")
    assert qbittorrent.tags(info_hash) == {"synced"}
    name = "film.mp4" if how == "single file" else "Film/film.mp4"
    assert name in _tree(library)
    assert (library / name).read_bytes() == video
    assert not {path for path in _tree(library) if "sample" in path or "of" in path}


def test_what_another_torrent_has_not_finished_is_not_unpacked(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """Two torrents share a folder: the file of a stopped one may have its full size."""
    folder = downloads / "Show"
    _video(folder / "first.mkv")
    (folder / "extras.rar").write_bytes(b"Rar!" * 10)
    first = qbittorrent.seed(folder)
    qbittorrent.wait_for(first, *_SEEDING)
    whole = _video(downloads.parent / "elsewhere" / "Show" / "second.mkv", seed=1)
    data = whole.read_bytes()
    (folder / "second.mkv").write_bytes(b"\0" * len(data))
    second = qbittorrent.seed(whole.parent, save_path=downloads)
    qbittorrent.wait_for(second, "stalledDL", "downloading")

    run(settle_seconds=0)
    half_done = _tree(library)
    (folder / "second.mkv").write_bytes(data)
    qbittorrent.client.torrents_recheck(torrent_hashes=second)
    qbittorrent.wait_for(second, *_SEEDING)
    run(settle_seconds=0)

    assert half_done == {"Show/first.mkv"}
    assert _tree(library) == {"Show/first.mkv", "Show/second.mkv"}
    assert (library / "Show" / "second.mkv").read_bytes() == data


def test_sub_categories_count_if_that_is_set(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """For taking and for cleaning up; qBittorrent itself gives one category only."""
    info_hash = qbittorrent.seed(_video(downloads / "film.mp4"), category="stash/new")
    qbittorrent.wait_for(info_hash, *_SEEDING)

    first = run()
    named = run(server={"post_import_category": "stash/done"})
    second = run(sub_categories=True, layout="{category}/{name}")
    last = run(server={"clean_up": "remove_torrent"}, sub_categories=True)

    assert (first.total_items, first.waiting) == (0, ())
    assert [waiting.item for waiting in named.waiting] == ["film.mp4"]
    assert (second.synced_items, last.removed) == (1, ("film.mp4",))
    assert _tree(library) == {"stash/new/film.mp4"}


def test_a_renamed_file_keeps_its_new_name(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """Alone or in a folder; a torrent that is renamed itself goes by that name."""
    renamed = qbittorrent.seed(_video(downloads / "old.mp4"))
    _video(downloads / "Film" / "old.mp4", seed=1)
    folder = qbittorrent.seed(downloads / "Film")
    shown = qbittorrent.seed(_video(downloads / "abc.mp4", seed=2))
    for info_hash in (renamed, folder, shown):
        qbittorrent.wait_for(info_hash, *_SEEDING)
    rename_file = qbittorrent.client.torrents_rename_file
    rename_file(renamed, old_path="old.mp4", new_path="new.mp4")
    rename_file(folder, old_path="Film/old.mp4", new_path="Film/new.mp4")
    qbittorrent.client.torrents_rename(shown, "A title")

    result = run()

    assert result.errors == ()
    assert _tree(library) == {"new.mp4", "Film/new.mp4", "A title.mp4"}


def test_a_name_that_would_be_hidden_is_shown_in_the_library(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """As it is shown by qBittorrent, without its dot."""
    info_hash = qbittorrent.seed(_video(downloads / "film.mp4"))
    qbittorrent.wait_for(info_hash, *_SEEDING)
    qbittorrent.client.torrents_rename(info_hash, ".hidden")

    run()

    assert _tree(library) == {"hidden.mp4"}


def test_paths_of_another_machine_are_mapped(
    qbittorrent: QBittorrentServer,
    run: Run,
    downloads: Path,
    library: Path,
    tmp_path: Path,
) -> None:
    """As with qBittorrent in a container that sees the folder elsewhere."""
    info_hash = qbittorrent.seed(_video(downloads / "film.mp4"))
    qbittorrent.wait_for(info_hash, *_SEEDING)
    moved = tmp_path / "mounted here"
    downloads.rename(moved)

    result = run(path_map={str(downloads): str(moved)})

    assert result.synced_items == 1
    assert (library / "film.mp4").samefile(moved / "film.mp4")


def test_a_wrong_password_and_the_ban_after_it_are_reported(
    qbittorrent: QBittorrentServer, run: Run
) -> None:
    """First what to correct, then that waiting is needed too."""
    messages = []
    for _ in range(5):
        with pytest.raises(ConfigurationError) as caught:
            run(password="wrong-word")
        messages.append(str(caught.value))

    assert "STASHHOG_QBITTORRENT__PASSWORD" in messages[0]
    assert "banned" in messages[-1]
    assert not any("wrong-word" in message for message in messages)


def test_a_dead_server_is_an_error(qbittorrent: QBittorrentServer, run: Run) -> None:
    """Never an empty list of downloads."""
    qbittorrent.kill()

    with pytest.raises(ConfigurationError, match="STASHHOG_QBITTORRENT__URL"):
        run()


def test_layout_filters_tag_and_category_are_as_set(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """A torrent goes to its category's folder, and then to another category."""
    taken = qbittorrent.seed(_video(downloads / "film.mp4"), category="new")
    refused = qbittorrent.seed(_video(downloads / "other.mp4", seed=1), category="new")
    for info_hash in (taken, refused):
        qbittorrent.wait_for(info_hash, *_SEEDING)
    qbittorrent.client.torrents_add_tags(tags="later", torrent_hashes=refused)
    server = {
        "refused_tags": ["later"],
        "save_paths": [str(downloads)],
        "done_tag": "in stash",
        "post_import_category": "imported",
    }

    dry = run(server=server, category="", layout="{category}/{name}", dry_run=True)
    tags_after_dry = qbittorrent.tags(taken) | qbittorrent.tags(refused)
    untouched = not _tree(library) and qbittorrent.category(taken) == "new"
    result = run(server=server, category="", layout="{category}/{name}")

    assert untouched
    assert tags_after_dry == {"later"}
    assert dry.model_copy(update={"awaiting_scan": 1}) == result
    assert (result.total_items, result.synced_items, result.files) == (1, 1, 1)
    assert _tree(library) == {"new/film.mp4"}
    assert qbittorrent.tags(taken) == {"in stash"}
    assert qbittorrent.category(taken) == "imported"
    assert qbittorrent.category(refused) == "new"


@pytest.mark.parametrize("call", ["setCategory", "createCategory", "addTags"])
def test_a_failed_update_of_qbittorrent_is_retried_by_the_next_run(
    call: str,
    qbittorrent: QBittorrentServer,
    run: Run,
    downloads: Path,
    library: Path,
) -> None:
    """Category and tag come about in the end, whichever of the calls failed."""
    mine = qbittorrent.seed(_video(downloads / "film.mp4"))
    theirs = qbittorrent.seed(_video(downloads / "b.mp4", seed=1), category="imported")
    for info_hash in (mine, theirs):
        qbittorrent.wait_for(info_hash, *_SEEDING)
    server = {"post_import_category": "imported"}
    with proxy_of(qbittorrent.url) as proxy:
        proxy.failing.add(f"/api/v2/torrents/{call}")
        with pytest.raises(TransientError):
            run(server=server | {"url": proxy.url})
        placed = _tree(library)
        reported = "synced" in qbittorrent.tags(mine)
        proxy.failing.clear()
        again = run(server=server | {"url": proxy.url})
    third = run(server=server)

    assert placed == _tree(library) == {"film.mp4"}
    assert not reported
    assert (again.total_items, again.synced_items, again.skipped_items) == (1, 0, 1)
    assert (third.total_items, third.skipped_items) == (0, 0)
    assert qbittorrent.tags(mine) == {"synced"}
    assert qbittorrent.category(mine) == "imported"
    # Somebody put it there by hand: it is none of ours.
    assert qbittorrent.tags(theirs) == set()


def test_what_is_in_the_library_is_removed_with_its_files(
    qbittorrent: QBittorrentServer, run: Run, downloads: Path, library: Path
) -> None:
    """When it need not seed; what is not all in the library stays, and says why."""
    _video(downloads / "Film" / "film.mp4")
    (downloads / "Film" / "film.srt").write_text("1")
    _video(downloads / "With notes" / "film.mp4", seed=1)
    (downloads / "With notes" / "film.nfo").write_text("x")
    seeding = qbittorrent.seed(_video(downloads / "seeding.mp4", seed=2))
    gone = qbittorrent.seed(downloads / "Film")
    kept = qbittorrent.seed(downloads / "With notes")
    for info_hash in (gone, kept, seeding):
        qbittorrent.wait_for(info_hash, *_SEEDING)
    qbittorrent.client.torrents_set_share_limits(
        ratio_limit=3,
        seeding_time_limit=-1,
        inactive_seeding_time_limit=-1,
        torrent_hashes=seeding,
    )
    placed = run()
    before = _tree(library)
    server = {"clean_up": "remove_torrent_and_files", "post_import_category": "x"}

    dry = run(server=server, dry_run=True)
    untouched = _tree(downloads)
    result = run(server=server)

    assert placed.synced_items == 3
    assert untouched >= {"Film/film.mp4", "Film/film.srt"}
    assert dry == result
    assert (result.removed_items, result.removed) == (1, ("Film",))
    assert [item.item for item in result.kept] == ["With notes"]
    assert "film.nfo" in result.kept[0].reason
    qbittorrent.wait_until_gone(downloads / "Film")
    assert _tree(downloads) == {"With notes/film.mp4", "With notes/film.nfo"} | {
        "seeding.mp4"
    }
    assert _tree(library) == before
    assert qbittorrent.hashes() == {kept, seeding}


def test_a_server_that_dies_halfway_loses_nothing(
    qbittorrent: QBittorrentServer,
    run: Run,
    database: Database,
    downloads: Path,
    library: Path,
) -> None:
    """What was placed stands in the ledger; nothing half-written remains."""
    info_hash = qbittorrent.seed(_video(downloads / "film.mp4"))
    qbittorrent.wait_for(info_hash, *_SEEDING)

    def sink(fraction: float | None, message: str) -> None:
        if message.startswith("film.mp4"):
            qbittorrent.kill()

    with pytest.raises(TransientError):
        run(progress=Progress(sink), place="copy")

    assert _tree(library) == {"film.mp4"}
    with database.transaction() as session:
        item = session.scalars(select(DownloadItem)).one()
    assert (item.entry_key, item.state) == (info_hash, "placed")
