"""The stand-in Stash generates real media, by the rules and traps of the real one."""

import io
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from tests.support.http import loopback
from tests.support.media import write_video
from tests.support.stand_in import ALL_MEDIA, Stash

pytestmark = pytest.mark.slow


def test_generated_media_are_real(stash: Stash, two_videos: tuple[Path, Path]) -> None:
    """Cover, preview, animation, sprite and its times can be fetched and opened."""
    job = stash.generate(sceneIDs=["1"], **ALL_MEDIA)

    paths = stash.scenes()[0]["paths"]
    got = {name: loopback.get(url) for name, url in paths.items()}
    assert (job["status"], job["progress"]) == ("FINISHED", 1)
    assert {answer.status_code for answer in got.values()} == {200}
    assert got["screenshot"].headers["content-type"] == "image/jpeg"
    for name, kind in (("screenshot", "JPEG"), ("sprite", "JPEG"), ("webp", "WEBP")):
        assert Image.open(io.BytesIO(got[name].content)).format == kind
    with av.open(io.BytesIO(got["preview"].content)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    assert got["vtt"].text.startswith("WEBVTT")
    sprite = Image.open(io.BytesIO(got["sprite"].content))
    *_, x, y, width, height = [
        int(n) for n in got["vtt"].text.rpartition("xywh=")[2].split(",")
    ]
    assert (x + width, y + height) == sprite.size


def test_probing_for_media(stash: Stash, two_videos: tuple[Path, Path]) -> None:
    """What lacks answers 404, except the cover: a drawing. HEAD is never answered."""
    stash.generate(sceneIDs=["1"], covers=True, previews=True)
    there, lacking = (scene["paths"] for scene in stash.scenes())
    one_byte = {"range": "bytes=0-0"}

    part = loopback.get(there["preview"], headers=one_byte)
    absent = loopback.get(lacking["preview"], headers=one_byte)
    drawing = loopback.get(lacking["screenshot"], headers=one_byte)

    assert (part.status_code, len(part.content)) == (206, 1)
    assert part.headers["content-range"].startswith("bytes 0-0/")
    assert (absent.status_code, absent.text) == (404, "404 page not found\n")
    assert drawing.status_code == 200
    assert drawing.headers["content-type"] == "image/svg+xml"
    assert httpx.head(there["preview"]).status_code == 405
    assert httpx.head(there["sprite"]).status_code == 400


@pytest.mark.parametrize(
    ("given", "made"),
    [
        pytest.param({}, 2, id="no ids: all"),
        pytest.param({"sceneIDs": []}, 2, id="empty list: all"),
        pytest.param({"sceneIDs": ["2"]}, 1, id="one"),
        pytest.param({"sceneIDs": ["1", "99"]}, 0, id="one unknown drops all"),
        pytest.param({"sceneIDs": ["x"]}, 0, id="no number"),
    ],
)
def test_which_scenes_a_generate_job_takes(
    stash: Stash, two_videos: tuple[Path, Path], given: dict[str, Any], made: int
) -> None:
    """Empty means everything, and one unknown id drops the batch without a word."""
    job = stash.generate(phashes=True, **given)

    answer = stash.ask('{findScenes(scene_filter:{is_missing:"phash"}){count}}')
    assert answer["data"]["findScenes"]["count"] == 2 - made
    assert (job["status"], job["error"]) == ("FINISHED", None)
    assert job["progress"] == (1 if made else None)


def test_existing_media_are_skipped(
    stash: Stash, two_videos: tuple[Path, Path]
) -> None:
    """A second run does nothing, and says so by a progress of null; overwrite does."""
    stash.generate(**ALL_MEDIA)

    assert stash.generate(**ALL_MEDIA)["progress"] is None
    assert stash.generate(overwrite=True, **ALL_MEDIA)["progress"] == 1


@pytest.mark.parametrize(
    ("kind", "moves"),
    [("covers", True), ("previews", False), ("sprites", False), ("phashes", False)],
)
def test_only_covers_move_the_scenes_time(
    stash: Stash, two_videos: tuple[Path, Path], kind: str, moves: bool
) -> None:
    """Everything else that is generated leaves scene and file times alone."""
    before = stash.scenes()[0]

    stash.generate(**{kind: True})

    after = stash.scenes()[0]
    assert (after["updated_at"] != before["updated_at"]) is moves
    assert after["files"][0]["updated_at"] == before["files"][0]["updated_at"]


def test_failing_items_are_only_in_the_log(
    stash: Stash, two_videos: tuple[Path, Path]
) -> None:
    """A file that went, and an item told to fail: the job still ends well."""
    two_videos[0].unlink()
    stash.server.faults.failing_items.add("phash ")

    job = stash.generate(**ALL_MEDIA)

    gone, kept = (scene["paths"] for scene in stash.scenes())
    assert (job["status"], job["progress"], job["error"]) == ("FINISHED", 1, None)
    assert loopback.get(gone["preview"]).status_code == 404
    assert loopback.get(kept["preview"]).status_code == 200
    answer = stash.ask('{findScenes(scene_filter:{is_missing:"phash"}){count}}')
    assert answer["data"]["findScenes"]["count"] == 2
    assert "Error generating phash" in stash.logs()


def test_marker_media(stash: Stash, two_videos: tuple[Path, Path]) -> None:
    """A marker's video is absent until made; its pictures have placeholders."""
    stash.ask('mutation{tagCreate(input:{name:"t"}){id}}')
    stash.ask(
        "mutation{sceneMarkerCreate(input:"
        '{scene_id:1,title:"m",seconds:1,primary_tag_id:1}){id}}'
    )
    query = "{findSceneMarkers{scene_markers{stream preview screenshot}}}"
    (marker,) = stash.ask(query)["data"]["findSceneMarkers"]["scene_markers"]
    before = {name: loopback.get(url) for name, url in marker.items()}

    stash.generate(markers=True, markerScreenshots=True)

    after = {name: loopback.get(url) for name, url in marker.items()}
    assert before["stream"].status_code == 404
    assert before["screenshot"].headers["content-type"] == "image/png"
    assert after["stream"].headers["content-type"] == "video/mp4"
    assert after["screenshot"].headers["content-type"] == "image/jpeg"
    assert after["preview"].headers["content-type"] == "image/png"


def test_empty_media_are_served(stash: Stash, two_videos: tuple[Path, Path]) -> None:
    """Of an empty file the range is ignored: status 200, and a length of 0."""
    stash.generate(sceneIDs=["1"], previews=True)
    (preview,) = (stash.server.home / "generated" / "screenshots").glob("*.mp4")
    preview.write_bytes(b"")

    got = loopback.get(
        stash.scenes()[0]["paths"]["preview"], headers={"range": "bytes=0-0"}
    )

    assert (got.status_code, got.headers["content-length"]) == (200, "0")


def test_very_short_clips_never_get_everything(stash: Stash) -> None:
    """A single frame gets no cover, no phash, and an animation with nothing in it.

    As often as it is asked for; the job ends well.
    """
    write_video(stash.server.library / "blink.mp4", seconds=0.1)
    stash.scan()

    jobs = [stash.generate(**ALL_MEDIA) for _ in range(2)]

    (scene,) = stash.scenes()
    got = {name: loopback.get(url) for name, url in scene["paths"].items()}
    answer = stash.ask('{findScenes(scene_filter:{is_missing:"phash"}){count}}')
    assert [(job["status"], job["progress"]) for job in jobs] == [("FINISHED", 1)] * 2
    assert answer["data"]["findScenes"]["count"] == 1
    assert got["screenshot"].headers["content-type"] == "image/svg+xml"
    assert len(got["webp"].content) == 8
    assert {got[name].status_code for name in ("preview", "sprite", "vtt")} == {200}
