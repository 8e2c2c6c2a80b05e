"""Scans and cleans of the stand-in Stash: from real folders to files and scenes."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from stashhog_core.hashing import oshash
from tests.support.http import loopback
from tests.support.stand_in import ALL_MEDIA, Stash

pytestmark = pytest.mark.slow


def test_scan_finds_videos_and_only_those(stash: Stash, video: Path) -> None:
    """Broken files never become scenes; they are in the log, the job ends well."""
    folder = stash.server.library
    (folder / "deep" / "er").mkdir(parents=True)
    shutil.copy(video, folder / "deep" / "er" / "good.mp4")
    (folder / "broken.mp4").write_bytes(video.read_bytes()[:3000])
    (folder / "empty.mp4").touch()
    (folder / "readme.txt").write_text("no video", encoding="utf-8")

    job = stash.scan()

    (scene,) = stash.scenes()
    (file,) = scene["files"]
    assert (job["status"], job["progress"], job["error"]) == ("FINISHED", 1, None)
    assert file["path"] == str(folder / "deep" / "er" / "good.mp4")
    assert file["size"] == video.stat().st_size
    assert file["fingerprints"] == [{"type": "oshash", "value": oshash(video)}]
    assert "broken.mp4" in stash.logs()


def test_a_name_that_is_not_utf8_is_taken(stash: Stash, video: Path) -> None:
    """As the real server has it: the odd byte is shown as a replacement character."""
    folder = stash.server.library
    shutil.copy(video, folder / os.fsdecode(b"caf\xe9.mp4"))

    jobs = [stash.scan(), stash.scan()]

    (scene,) = stash.scenes()
    assert [(job["status"], job["error"]) for job in jobs] == [("FINISHED", None)] * 2
    assert [file["path"] for file in scene["files"]] == [str(folder / "caf\ufffd.mp4")]


def test_facts_of_a_file(stash: Stash, video: Path) -> None:
    """Length, size, rate, codecs and container are those of the file."""
    shutil.copy(video, stash.server.library)
    stash.scan()

    answer = stash.ask(
        "{findScene(id:1){files{basename duration width height frame_rate format "
        "video_codec audio_codec}}}"
    )

    assert answer["data"]["findScene"]["files"] == [
        {
            "basename": "video.mp4",
            "duration": 2,
            "width": 320,
            "height": 180,
            "frame_rate": 25,
            "format": "mp4",
            "video_codec": "h264",
            "audio_codec": "aac",
        }
    ]


@pytest.mark.parametrize(
    "paths",
    [
        pytest.param(["/elsewhere"], id="outside"),
        pytest.param([""], id="empty"),
        pytest.param(["relative"], id="relative"),
        pytest.param(["{library}/gone"], id="missing"),
    ],
)
def test_paths_that_cannot_be_scanned_are_passed_over(
    stash: Stash, video: Path, paths: list[str]
) -> None:
    """The job ends well, having done nothing: only its progress tells."""
    folder = stash.server.library
    shutil.copy(video, folder)

    job = stash.scan(paths=[path.format(library=folder) for path in paths])

    assert (job["status"], job["progress"], job["error"]) == ("FINISHED", None, None)
    assert stash.scenes() == []


@pytest.mark.parametrize("given", [{}, {"paths": []}], ids=["none", "empty list"])
def test_no_paths_mean_the_whole_library(
    stash: Stash, video: Path, given: dict[str, Any]
) -> None:
    """An empty list is everything, not nothing."""
    shutil.copy(video, stash.server.library)

    stash.scan(**given)

    assert len(stash.scenes()) == 1


def test_single_file_needs_a_known_folder(stash: Stash, video: Path) -> None:
    """A file by itself is taken only after its folder was scanned."""
    folder = stash.server.library / "new"
    folder.mkdir()
    shutil.copy(video, folder)
    path = str(folder / video.name)

    stash.scan(paths=[path])
    assert stash.scenes() == []
    stash.scan(paths=[str(folder)])
    (folder / "other.mp4").write_bytes(video.read_bytes() + b"other")
    stash.scan(paths=[str(folder / "other.mp4")])

    assert len(stash.scenes()) == 2


def test_moved_file_keeps_its_scene(
    stash: Stash, two_videos: tuple[Path, Path]
) -> None:
    """A move changes path and time of the file; the scene's time stays."""
    before = stash.scenes()[0]
    moved = two_videos[0].parent / "sub" / "moved.mp4"
    moved.parent.mkdir()
    two_videos[0].rename(moved)

    stash.scan()

    after = stash.scenes()[0]
    assert after["id"] == before["id"]
    assert after["files"][0]["id"] == before["files"][0]["id"]
    assert after["files"][0]["path"] == str(moved)
    assert after["files"][0]["updated_at"] > before["files"][0]["updated_at"]
    assert after["updated_at"] == before["updated_at"]


def test_copy_is_a_second_file_of_the_scene(
    stash: Stash, two_videos: tuple[Path, Path]
) -> None:
    """A byte-identical copy makes no scene; when the first file goes it is primary."""
    copy = two_videos[0].with_name("z-copy.mp4")
    shutil.copy(two_videos[0], copy)
    stash.scan()
    scene = stash.scenes()[0]
    assert [file["path"] for file in scene["files"]] == [str(two_videos[0]), str(copy)]

    two_videos[0].unlink()
    stash.clean()

    (file,) = stash.scenes()[0]["files"]
    assert file["path"] == str(copy)
    assert stash.scenes()[0]["paths"]["sprite"] == scene["paths"]["sprite"]


def test_replaced_content_keeps_a_stale_phash(
    stash: Stash, two_videos: tuple[Path, Path], video: Path
) -> None:
    """New content at a path changes only the file: scene, phash and preview stay."""
    stash.generate(**ALL_MEDIA)
    before = stash.scenes()[0]
    two_videos[0].write_bytes(video.read_bytes() + b"quite new")

    stash.scan()

    after = stash.scenes()[0]
    old, new = (
        {f["type"]: f["value"] for f in scene["files"][0]["fingerprints"]}
        for scene in (before, after)
    )
    assert (after["id"], after["updated_at"]) == (before["id"], before["updated_at"])
    assert new["oshash"] == oshash(two_videos[0]) != old["oshash"]
    assert new["phash"] == old["phash"]
    assert loopback.get(after["paths"]["sprite"]).status_code == 200


def test_deleted_file_stays_until_cleaned(
    stash: Stash, two_videos: tuple[Path, Path], video: Path
) -> None:
    """A scan removes nothing; a clean does, and the file's return is a new scene."""
    two_videos[1].unlink()
    stash.scan()
    assert [scene["id"] for scene in stash.scenes()] == ["1", "2"]

    stash.ask("mutation{metadataClean(input:{dryRun:true})}")
    stash.server.jobs.wait()
    assert [scene["id"] for scene in stash.scenes()] == ["1", "2"]
    stash.clean()
    assert [scene["id"] for scene in stash.scenes()] == ["1"]

    two_videos[1].write_bytes(video.read_bytes() + b"other content")
    stash.scan()
    assert [scene["id"] for scene in stash.scenes()] == ["1", "3"]


def test_rescan_moves_the_files_time_only(
    stash: Stash, two_videos: tuple[Path, Path]
) -> None:
    """Only a forced scan touches unchanged files, and never their scenes."""
    first = stash.scenes()
    stash.scan()
    assert stash.scenes() == first

    stash.scan(rescan=True)

    for before, after in zip(first, stash.scenes(), strict=True):
        assert after["updated_at"] == before["updated_at"]
        assert after["files"][0]["updated_at"] > before["files"][0]["updated_at"]


def test_subtitles_are_noticed_beside_known_files(stash: Stash, video: Path) -> None:
    """The scan that finds a video passes its subtitles over; the next takes them."""
    shutil.copy(video, stash.server.library)
    (stash.server.library / "video.en.srt").write_text("1\n", encoding="utf-8")
    stash.scan()
    assert stash.scenes()[0]["captions"] is None

    stash.scan()

    expected = [{"language_code": "en", "caption_type": "srt"}]
    assert stash.scenes()[0]["captions"] == expected


def test_scan_generates_for_new_files_only(
    stash: Stash, two_videos: tuple[Path, Path], video: Path
) -> None:
    """The flags of a scan act on what it found, not on what was there."""
    (two_videos[0].parent / "c.mp4").write_bytes(video.read_bytes() + b"third")

    stash.scan(scanGeneratePhashes=True, scanGenerateCovers=True)

    hashed = stash.ask(
        '{findScenes(scene_filter:{phash_distance:{value:"",modifier:NOT_NULL}})'
        "{scenes{id}}}"
    )
    assert hashed["data"]["findScenes"]["scenes"] == [{"id": "3"}]
