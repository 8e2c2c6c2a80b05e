"""Cleaning: what is counted before, when it is refused, and what a real one leaves."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash.jobs import Job
from sandbox.stash.server import StandIn
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, JobCancelled, JobError
from stashhog_core.params import StashCleanParams
from stashhog_core.progress import Progress
from stashhog_core.results import StashCleanResult
from stashhog_core.server_jobs.clean import clean
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.workflow import status_of
from tests.support.media import write_video
from tests.support.server_jobs import server_jobs
from tests.support.stand_in import Ask, asking
from tests.support.waiting import PATIENCE_SECONDS

FOLDERS = (
    "mutation($folders:[StashConfigInput!]){configureGeneral(input:{stashes:$folders})"
    "{stashes{path}}}"
)


class Site:
    """A stand-in with some scanned videos, and the job on it."""

    def __init__(
        self, stand_in: StandIn, client: StashClient, ask: Ask, database: Database
    ) -> None:
        self.stand_in, self.client = stand_in, client
        self.ask, self.database = ask, database
        self.folder = stand_in.library

    def write(self, *names: str) -> list[Path]:
        """Scan new videos; return their paths."""
        paths = [self.folder / name for name in names]
        for seed, path in enumerate(paths):
            write_video(path, seconds=1, seed=seed)
        self.client.start_job("scan", {"paths": [str(self.folder)]})
        self.stand_in.jobs.wait()
        return paths

    def clean(
        self,
        path_map: dict[str, str] | None = None,
        progress: Progress | None = None,
        **params: Any,
    ) -> StashCleanResult:
        """Run the job."""
        settings = StashSettings(
            url=self.stand_in.url,
            scan_paths=(str(self.folder),),
            path_map=path_map or {},
            poll_interval_seconds=0.01,
        )
        return clean(
            self.client,
            self.database,
            StashCleanParams(**params),
            progress or Progress(),
            run_id="run-1",
            settings=settings,
        )

    def add_rows(self, number: int) -> None:
        """Have Stash know files that were never there."""
        for at in range(number):
            stamps = {"created_at": "2026", "updated_at": "2026"}
            facts = {"size": 1, "mod_time": "2026", "duration": 1, "format": "mp4"}
            codecs = {"video_codec": "h264", "audio_codec": "", "width": 1, "height": 1}
            name = f"never-{at}.mp4"
            with self.stand_in.store.transaction() as writer:
                writer.insert(
                    "files",
                    {
                        "path": str(self.folder / name),
                        "basename": name,
                        "frame_rate": 1,
                        "bit_rate": 1,
                        **stamps,
                        **facts,
                        **codecs,
                    },
                )

    def configure(self, *folders: Path) -> None:
        """Set the folders of Stash's library."""
        rows = [
            {"path": str(folder), "excludeVideo": False, "excludeImage": False}
            for folder in folders
        ]
        self.ask(FOLDERS, folders=rows)

    @property
    def known(self) -> set[str]:
        """The names of the files that Stash knows."""
        return {Path(path).name for page in self.client.file_pages() for path in page}

    @property
    def backups(self) -> list[Path]:
        """The copies of Stash's database."""
        return sorted(self.stand_in.home.glob("library.sqlite.75.*"))


@pytest.fixture
def site(stand_in: StandIn, database: Database) -> Iterator[Site]:
    """A stand-in with an empty library."""
    stand_in.faults.item_seconds = 0
    settings = StashSettings(url=stand_in.url)
    with StashClient(settings) as client, asking(stand_in.url) as ask:
        yield Site(stand_in, client, ask, database)


def test_by_default_nothing_is_removed(site: Site) -> None:
    """The result lists what is gone, which Stash's own dry run does not."""
    gone, _ = site.write("gone.mp4", "kept.mp4")
    gone.unlink()

    result = site.clean()

    assert (result.dry_run, result.files, result.gone) == (True, 2, 1)
    assert (result.removed, result.backup, result.held) == (0, None, None)
    assert [(row.item, row.reason) for row in result.samples] == [
        (str(gone), "the file is not on the disk")
    ]
    assert site.known == {"gone.mp4", "kept.mp4"}
    assert site.backups == []


def test_a_real_clean_removes_what_is_gone_after_a_backup(site: Site) -> None:
    """The backup still has the scene."""
    gone, _ = site.write("gone.mp4", "kept.mp4")
    gone.unlink()

    result = site.clean(dry_run=False)

    assert (result.status, result.gone, result.removed) == ("completed", 1, 1)
    assert site.known == {"kept.mp4"}
    assert [Path(result.backup or "")] == site.backups
    assert {row[1] for row in server_jobs(site.database)} == {"finished"}


def test_without_anything_gone_stash_is_left_alone(site: Site) -> None:
    """Neither a backup nor a clean is made, only the dry run."""
    site.write("kept.mp4")

    result = site.clean(dry_run=False)

    assert (result.gone, result.removed, site.backups) == (0, 0, [])
    assert len(server_jobs(site.database)) == 1


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        pytest.param("absent", "cannot be read (No such file", id="absent"),
        pytest.param("empty", "is empty", id="empty"),
        pytest.param("other", "None of the files that Stash knows", id="other-disk"),
    ],
)
def test_a_folder_that_may_not_be_mounted(site: Site, harm: str, words: str) -> None:
    """Nothing is removed, not even if that is confirmed."""
    site.write("a.mp4", "b.mp4")
    shutil.rmtree(site.folder)
    if harm != "absent":
        site.folder.mkdir()
    if harm == "other":
        (site.folder / "lost+found").mkdir()

    with pytest.raises(JobError) as caught:
        site.clean(dry_run=False, confirm_removals=True)

    for part in (words, str(site.folder), "STASHHOG_STASH__PATH_MAP"):
        assert part in str(caught.value)
    assert site.known == {"a.mp4", "b.mp4"}
    assert server_jobs(site.database) == []


def _above_the_limit(site: Site) -> str:
    site.add_rows(21)
    return "21 of 23 files are gone, more than the removal limit of 20"


def _empty_folder(site: Site) -> str:
    (site.folder / "disk" / "c.mp4").unlink()
    return "disk, in which 1 files are gone, is empty"


@pytest.mark.parametrize("harm", [_above_the_limit, _empty_folder])
def test_doubtful_removals_wait_for_a_confirmation(site: Site, harm: Any) -> None:
    """They are held, without a backup; confirmed, they are done."""
    site.write("a.mp4", "disk/c.mp4")
    words = harm(site)
    known = site.known

    held = site.clean(dry_run=False)

    assert status_of(held) == "held"
    assert words in (held.held or "")
    assert "confirmRemovals=true" in (held.held or "")
    assert (site.known, site.backups) == (known, [])

    done = site.clean(dry_run=False, confirm_removals=True)

    assert done.held is None
    assert done.removed == done.gone > 0
    assert len(site.backups) == 1


def test_as_many_as_the_limit_are_removed(site: Site) -> None:
    """The limit itself needs no confirmation; only more than that does."""
    site.write("a.mp4", "b.mp4")
    site.add_rows(20)

    done = site.clean(dry_run=False)

    assert (done.held, done.removed) == (None, 20)


def test_a_folder_that_was_taken_out_of_the_library(site: Site) -> None:
    """Stash would remove all its scenes: such a folder is refused."""
    site.write("a.mp4")
    other = site.folder / "other"
    other.mkdir()
    site.configure(other)

    with pytest.raises(ConfigurationError, match="not in Stash's library"):
        site.clean(dry_run=False, confirm_removals=True)

    assert site.known == {"a.mp4"}


def test_stash_that_sees_less_than_stashhog(site: Site, tmp_path: Path) -> None:
    """A mount that Stash's machine lacks would cost all scenes on it."""
    a, _ = site.write("a.mp4", "b.mp4")
    seen_here = tmp_path / "seen-here"
    shutil.copytree(site.folder, seen_here)
    a.unlink()

    held = site.clean(path_map={str(site.folder): str(seen_here)}, dry_run=False)

    assert held.gone == 0
    assert f"Stash would also remove {a}, which is there" in (held.held or "")
    assert "File not found" in (held.held or "")
    assert site.known == {"a.mp4", "b.mp4"}


def test_a_log_that_hides_the_dry_run(site: Site) -> None:
    """Whether Stash would remove nothing or everything, only its log tells."""
    site.write("a.mp4")
    site.stand_in.faults.refuse(field="logs", times=10)

    held = site.clean(dry_run=False)

    assert "log does not show" in (held.held or "")


def test_a_file_that_cannot_be_checked(site: Site) -> None:
    """It is neither there nor gone: the run ends."""
    site.write("a.mp4")

    with pytest.raises(JobError, match="cannot check whether"):
        site.clean(path_map={str(site.folder): f"/{'x' * 300}"})


def test_a_stash_that_cannot_list_its_files(site: Site) -> None:
    """Before 0.30 nothing can be counted beforehand."""
    site.stand_in.faults.unknown_fields.add("Query.findFiles")

    with pytest.raises(ConfigurationError, match=r"0\.30"):
        site.clean()


def test_cancelling_stops_stash(site: Site) -> None:
    """A clean that is stopped while it looks has removed nothing."""
    gone, _ = site.write("gone.mp4", "kept.mp4")
    gone.unlink()
    stop = threading.Event()

    def stop_and_hold(job: Job) -> None:
        stop.set()
        job.stopped.wait(PATIENCE_SECONDS)

    site.stand_in.faults.on_item = stop_and_hold

    with pytest.raises(JobCancelled):
        site.clean(dry_run=False, progress=Progress(stop=stop))

    assert site.known == {"gone.mp4", "kept.mp4"}
    assert [row[1] for row in server_jobs(site.database)] == ["cancelled"]
