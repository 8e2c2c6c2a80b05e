"""What the product relies on in the other tasks of a Stash server: for every server.

It runs against the sandbox's stand-in, and against a real Stash as
`test_stash_contract.py` does. A real one must be on this machine: the sandbox's
stash-box answers on loopback, and backups are looked for on the disk.
"""

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from sandbox.stash_box import StashBox, named, scene
from stashhog_core.media.covers import as_data_url
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.follow import JobKey, follow
from stashhog_core.stash.payloads import Job
from tests.support.media import write_video
from tests.support.pictures import png
from tests.support.stand_in import Ask, asking

pytestmark = pytest.mark.slow

SCENES = (
    '{findScenes(filter:{per_page:-1,sort:"id"}){scenes{id title date organized '
    "updated_at files{path fingerprints{type value}} tags{id} performers{id name} "
    "studio{id} stash_ids{endpoint stash_id}}}}"
)
BOXES = (
    "mutation($boxes:[StashBoxInput!]){configureGeneral(input:{stashBoxes:$boxes})"
    "{stashBoxes{endpoint}}}"
)
FOLDERS = (
    "mutation($folders:[StashConfigInput!]){configureGeneral(input:{stashes:$folders})"
    "{stashes{path}}}"
)
MERGE_ALL: dict[str, Any] = {
    "fieldOptions": [],
    "setCoverImage": False,
    "skipMultipleMatches": True,
}


@dataclass
class Site:
    """A Stash server, and a folder of its library of our own."""

    ask: Ask
    client: StashClient
    folder: Path

    def write(self, *names: str) -> list[Path]:
        """Scan new videos, each of other pictures; return their paths."""
        paths = [self.folder / name for name in names]
        for path in paths:
            write_video(path, seconds=4, seed=uuid.uuid4().int % 2**31)
        self.run(self.client.start_job("scan", {"paths": [str(self.folder)]}))
        return paths

    def run(self, job_id: int) -> Job:
        """Return a job once it is over."""
        job = follow(
            self.client,
            JobKey(job_id),
            Progress(),
            label="Test",
            poll_interval_seconds=0.05,
            outage_limit_seconds=0,
        )
        assert job is not None
        return job

    def scenes(self) -> dict[str, dict[str, Any]]:
        """Return the scenes of our folder, by the name of their first file."""
        found = self.ask(SCENES)["data"]["findScenes"]["scenes"]
        return {
            Path(one["files"][0]["path"]).name: one
            for one in found
            if one["files"] and str(self.folder) in one["files"][0]["path"]
        }

    def clean(self, *, dry_run: bool) -> Job:
        """Clean our folder."""
        given = {"paths": [str(self.folder)], "dryRun": dry_run}
        return self.run(self.client.start_job("clean", given))

    def create(self, kind: str, **given: Any) -> str:
        """Create a tag, performer or studio; return its id."""
        variable = f"$i:{kind.capitalize()}CreateInput!"
        query = f"mutation({variable}){{{kind}Create(input:$i){{id}}}}"
        made: str = self.ask(query, i=given)["data"][f"{kind}Create"]["id"]
        return made

    def log(self) -> list[str]:
        """Return the last lines of the log, the newest first."""
        return [entry.message for entry in self.client.recent_log()]


@pytest.fixture
def site(stash_server: tuple[str, Path]) -> Iterator[Site]:
    """The server, with a folder of this test."""
    url, library = stash_server
    folder = library / f"tasks-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    with asking(url) as ask, StashClient(StashSettings(url=url)) as client:
        yield Site(ask, client, folder)
    shutil.rmtree(folder, ignore_errors=True)


# --- clean ---------------------------------------------------------------------------


def test_a_dry_run_of_clean_says_what_is_gone_in_the_log_only(site: Site) -> None:
    """Its progress ends at the share of what is marked; nothing is removed."""
    gone, kept, _ = site.write("gone.mp4", "kept.mp4", "other.mp4")
    gone.unlink()

    job = site.clean(dry_run=True)

    assert (job.status, job.description) == ("FINISHED", "Cleaning...")
    # Three files and their folder are looked at.
    assert job.progress == pytest.approx(1 / 4)
    assert f'File not found. Marking to clean: "{gone}"' in site.log()
    assert not [line for line in site.log() if str(kept) in line and "clean" in line]
    assert set(site.scenes()) == {"gone.mp4", "kept.mp4", "other.mp4"}


def test_all_files_and_folders_can_be_listed(site: Site) -> None:
    """With their number; this is what a dry run of clean is compared with."""
    first, second = site.write("a.mp4", "below/b.mp4")

    pages = list(site.client.file_pages(page_size=1))

    paths = [path for page in pages for path in page]
    assert {str(first), str(second)} <= set(paths)
    assert len(paths) == site.client.count_files()
    assert {str(site.folder), str(second.parent)} <= set(site.client.folder_paths())


def test_a_clean_says_in_the_log_that_it_has_ended(site: Site) -> None:
    """So its log shows, or does not show, what a dry run has found."""
    site.write("a.mp4")

    assert site.clean(dry_run=True).progress == 1

    assert [line for line in site.log()[:3] if line.startswith("Finished Cleaning")]


def test_a_clean_removes_scenes_whose_files_are_gone(site: Site) -> None:
    """A scene with another file stays; with nothing to remove the progress is full."""
    gone, _ = site.write("gone.mp4", "kept.mp4")
    gone.unlink()

    first, second = site.clean(dry_run=False), site.clean(dry_run=True)

    assert set(site.scenes()) == {"kept.mp4"}
    assert (first.progress, second.progress) == (1, 1)


def test_a_clean_empties_the_library_of_an_empty_folder(site: Site) -> None:
    """A mount point without its disk is no reason for Stash to stop."""
    for path in site.write("a.mp4", "b.mp4"):
        path.unlink()

    assert site.clean(dry_run=True).progress == pytest.approx(2 / 3)
    site.clean(dry_run=False)

    assert site.scenes() == {}


def test_a_clean_removes_what_is_outside_of_the_library(
    site: Site, stash_server: tuple[str, Path]
) -> None:
    """A folder that was taken out of the settings loses its scenes, files or not."""
    (path,) = site.write("a.mp4")
    other = stash_server[1] / f"{site.folder.name}-other"
    other.mkdir()

    def configure(folder: Path) -> None:
        row = {"path": str(folder), "excludeVideo": False, "excludeImage": False}
        site.ask(FOLDERS, folders=[row])

    configure(other)
    try:
        job = site.clean(dry_run=True)
        line = f'File not in any stash library directories. Marking to clean: "{path}"'
        assert line in site.log()
        # The file and its folder are all there is.
        assert job.progress == 1
        site.clean(dry_run=False)
    finally:
        configure(stash_server[1])
        other.rmdir()

    assert site.scenes() == {}


# --- auto-tag ------------------------------------------------------------------------


def test_auto_tag_finds_whole_names_in_paths(site: Site) -> None:
    """Aliases count for tags and studios only; separators between words may differ."""
    mark = uuid.uuid4().hex[:6]
    tag = site.create("tag", name=f"Beach {mark}", aliases=[f"Strand {mark}"])
    studio = site.create("studio", name=f"Films{mark}", aliases=[f"Kino{mark}"])
    performer = site.create(
        "performer", name=f"Ann {mark}", alias_list=[f"Annie {mark}"]
    )
    names = (
        f"strand-{mark}.Kino{mark}.ann_{mark}.mp4",
        f"Annie.{mark}.mp4",
        f"xbeach {mark}.mp4",
    )
    site.write(*names)
    everything = {kind: ["*"] for kind in ("performers", "studios", "tags")}

    job = site.run(
        site.client.start_job("auto_tag", {"paths": [str(site.folder)], **everything})
    )

    by_name, by_alias, by_part = (site.scenes()[name] for name in names)
    assert (job.status, job.description, job.progress) == (
        "FINISHED",
        "Auto-tagging...",
        1,
    )
    assert [row["id"] for row in by_name["tags"]] == [tag]
    assert [row["id"] for row in by_name["performers"]] == [performer]
    assert by_name["studio"] == {"id": studio}
    for other in (by_alias, by_part):
        assert (other["tags"], other["performers"], other["studio"]) == ([], [], None)


def test_auto_tag_leaves_organized_scenes_and_a_studio_that_is_set(site: Site) -> None:
    """What a person has marked as done, and a studio, stay."""
    mark = uuid.uuid4().hex[:6]
    site.create("tag", name=f"Beach {mark}")
    first = site.create("studio", name=f"First {mark}")
    site.create("studio", name=f"Films{mark}")
    site.write(f"a beach {mark} Films{mark}.mp4", f"b beach {mark}.mp4")
    a, b = (site.scenes()[name] for name in sorted(site.scenes()))
    update = "mutation($i:SceneUpdateInput!){sceneUpdate(input:$i){id}}"
    site.ask(update, i={"id": a["id"], "studio_id": first})
    site.ask(update, i={"id": b["id"], "organized": True})

    site.run(
        site.client.start_job(
            "auto_tag", {"paths": [str(site.folder)], "studios": ["*"], "tags": ["*"]}
        )
    )

    a, b = (site.scenes()[name] for name in sorted(site.scenes()))
    assert a["studio"] == {"id": first}
    assert (len(a["tags"]), b["tags"]) == (1, [])


def test_auto_tag_with_an_unknown_id_only_writes_to_the_log(site: Site) -> None:
    """The job ends as finished."""
    site.write("a.mp4")

    job = site.run(
        site.client.start_job(
            "auto_tag", {"paths": [str(site.folder)], "tags": ["999999"]}
        )
    )

    assert (job.status, job.progress, job.error) == ("FINISHED", 0, None)
    assert "auto-tag error: tag with id 999999 not found" in site.log()


# --- identify ------------------------------------------------------------------------


@pytest.fixture
def box(site: Site) -> Iterator[StashBox]:
    """A stash-box that the server asks."""
    with StashBox() as box:
        given = {"endpoint": box.endpoint, "api_key": box.api_key, "name": "box"}
        site.ask(BOXES, boxes=[given])
        yield box
    site.ask(BOXES, boxes=[])


def _known(site: Site, name: str, **more: Any) -> dict[str, Any]:
    """Return a remote scene that has the hash of this file."""
    prints = site.scenes()[name]["files"][0]["fingerprints"]
    (oshash,) = [one["value"] for one in prints if one["type"] == "oshash"]
    return scene(
        more.pop("title", "A title"), fingerprints=[("OSHASH", oshash, 4)], **more
    )


def _identify(site: Site, box: StashBox, **options: Any) -> Job:
    return site.run(
        site.client.start_job(
            "identify",
            {
                "sources": [{"source": {"stash_box_endpoint": box.endpoint}}],
                "options": {**MERGE_ALL, **options},
                "paths": [str(site.folder)],
            },
        )
    )


def test_identify_writes_what_is_missing(site: Site, box: StashBox) -> None:
    """Without createMissing nothing is created; a second run changes nothing."""
    site.write("a.mp4", "b.mp4")
    performer = site.create("performer", name=f"Ann {site.folder.name}")
    box.scenes = [
        _known(
            site,
            "a.mp4",
            date="2023-04-05",
            performers=[
                named(f"Ann {site.folder.name}"),
                named(f"New {site.folder.name}"),
            ],
        )
    ]

    job = _identify(site, box)
    once = site.scenes()
    _identify(site, box)

    assert (job.status, job.description, job.progress) == (
        "FINISHED",
        "Identifying...",
        1,
    )
    a, b = once["a.mp4"], once["b.mp4"]
    assert (a["title"], a["date"], b["title"]) == ("A title", "2023-04-05", "")
    assert [row["id"] for row in a["performers"]] == [performer]
    assert a["stash_ids"] == [
        {"endpoint": box.endpoint, "stash_id": box.scenes[0]["id"]}
    ]
    assert site.scenes() == once


def test_identify_creates_only_when_asked(site: Site, box: StashBox) -> None:
    """A performer with one name is left out if single names are skipped."""
    site.write("a.mp4")
    whole, single = f"Ann {site.folder.name}", f"Ann{site.folder.name}"
    box.scenes = [_known(site, "a.mp4", performers=[named(whole), named(single)])]

    _identify(
        site,
        box,
        fieldOptions=[
            {"field": "performers", "strategy": "MERGE", "createMissing": True}
        ],
        skipSingleNamePerformers=True,
    )

    assert [row["name"] for row in site.scenes()["a.mp4"]["performers"]] == [whole]


def test_identify_with_several_matches(site: Site, box: StashBox) -> None:
    """They are skipped if that is asked for; else the first one is written."""
    site.write("a.mp4")
    box.scenes = [_known(site, "a.mp4", title=title) for title in ("First", "Second")]

    _identify(site, box)
    skipped = site.scenes()["a.mp4"]["title"]
    _identify(site, box, skipMultipleMatches=False)

    assert (skipped, site.scenes()["a.mp4"]["title"]) == ("", "First")


def test_identify_that_fails_at_the_stash_box_ends_well(
    site: Site, box: StashBox
) -> None:
    """Only the log says what failed."""
    site.write("a.mp4")
    box.fault = lambda operation, variables: PlainTextResponse("no", 500)

    job = _identify(site, box)

    assert (job.status, job.progress, job.error) == ("FINISHED", 1, None)
    assert [line for line in site.log() if line.startswith("error scraping from ")]


def test_identify_at_an_unknown_stash_box_fails(site: Site, box: StashBox) -> None:
    """So does an unknown scene; those before it stay changed."""
    site.write("a.mp4")
    scene_id = site.scenes()["a.mp4"]["id"]
    box.scenes = [_known(site, "a.mp4")]
    unknown = {"source": {"stash_box_endpoint": "http://127.0.0.1:9/graphql"}}
    known = {"source": {"stash_box_endpoint": box.endpoint}}

    at_unknown = site.run(
        site.client.start_job(
            "identify", {"sources": [unknown], "sceneIDs": [scene_id]}
        )
    )
    of_unknown = site.run(
        site.client.start_job(
            "identify", {"sources": [known], "sceneIDs": [scene_id, "99999999"]}
        )
    )

    assert at_unknown.status == "FAILED"
    assert at_unknown.error == (
        'not found: stash-box with endpoint "http://127.0.0.1:9/graphql"'
    )
    assert (of_unknown.status, of_unknown.error) == (
        "FAILED",
        "error encountered while identifying scenes: scene with id 99999999 not found",
    )
    assert site.scenes()["a.mp4"]["title"] == "A title"


# --- covers --------------------------------------------------------------------------


def test_a_cover_comes_back_byte_by_byte(site: Site) -> None:
    """An earlier cover can be restored; a scene never gets rid of a cover again."""
    site.write("a.mp4")
    scene_id = int(site.scenes()["a.mp4"]["id"])
    first, second = png(320, 180, grey=1), png(320, 180, grey=2)
    assert site.client.cover(scene_id) is None

    site.client.set_cover(scene_id, as_data_url(first))
    assert site.client.cover(scene_id) == first
    site.client.set_cover(scene_id, as_data_url(second))
    site.client.set_cover(scene_id, "")
    assert site.client.cover(scene_id) == second


# --- the database --------------------------------------------------------------------


def test_optimising_is_a_job(site: Site) -> None:
    """It ends with full progress."""
    job = site.run(site.client.start_job("optimise"))

    assert (job.status, job.description, job.progress) == (
        "FINISHED",
        "Optimising database...",
        1,
    )


def test_a_backup_is_complete_when_it_is_answered(site: Site) -> None:
    """The log names the file, which lies beside the database; it is no job."""
    site.client.back_up(timeout_seconds=60)

    (line,) = [
        text for text in site.log()[:3] if text.startswith("Successfully backed up")
    ]
    copy = Path(line.removeprefix("Successfully backed up database to: "))
    assert copy.read_bytes()[:15] == b"SQLite format 3"
    assert site.client.job_queue() == []
    copy.unlink()
