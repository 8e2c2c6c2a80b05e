"""The sample videos are what they are described to be, and the library knows them."""

import time
from pathlib import Path

import av
import pytest

from sandbox.samples import (
    CONTENT_TAGS,
    PERFORMERS,
    STUDIOS,
    TECHNICAL_TAGS,
    Sample,
    make_samples,
    seed_library,
)
from sandbox.stash.media import MediaError, VideoFacts, probe
from sandbox.stash.server import StandIn
from tests.support.stand_in import asking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The sample set, written once."""
    return make_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def facts(samples: list[Sample]) -> dict[str, VideoFacts]:
    """What a probe says of each readable sample, by its name."""
    return {s.path.name: probe(s.path) for s in samples if not s.is_corrupt}


def test_every_kind_is_there(facts: dict[str, VideoFacts]) -> None:
    """Containers, codecs, shapes and rates that a library meets."""
    kinds = list(facts.values())

    assert {f.format for f in kinds} == {"mp4", "matroska", "webm", "avi"}
    assert {"h264", "vp8", "mpeg4"} == {f.video_codec for f in kinds}
    assert {"aac", "opus", "mp3", ""} == {f.audio_codec for f in kinds}
    assert any(f.height > f.width for f in kinds)
    assert any(f.frame_rate == 60 for f in kinds)
    assert any((f.width, f.height) == (1280, 720) for f in kinds)


def test_all_are_small_and_whole(samples: list[Sample]) -> None:
    """A few seconds and a few hundred kilobytes each; every frame can be decoded."""
    for sample in samples:
        assert sample.path.stat().st_size < 1_000_000
        if sample.is_corrupt:
            continue
        with av.open(str(sample.path)) as container:
            frames = sum(1 for _ in container.decode(video=0))
        assert frames == pytest.approx(
            probe(sample.path).duration * probe(sample.path).frame_rate, abs=4
        )


def test_one_is_a_broken_download(samples: list[Sample]) -> None:
    """It has a video's name and beginning, and cannot be opened."""
    (corrupt,) = [sample for sample in samples if sample.is_corrupt]

    assert corrupt.path.suffix == ".mp4"
    assert b"ftyp" in corrupt.path.read_bytes()[:16]
    with pytest.raises(MediaError):
        probe(corrupt.path)


def test_one_names_its_people_only_in_its_file_name(samples: list[Sample]) -> None:
    """Studio and performer of a video without a card stand in the name."""
    (named,) = [s for s in samples if not s.on_card and not s.is_corrupt]

    assert named.studio is not None
    assert named.studio in named.path.name
    assert all(name in named.path.name for name in named.performers)


def test_sidecars_exist(samples: list[Sample]) -> None:
    """One sample lies in a folder of its own, with subtitles."""
    (sidecar,) = [path for sample in samples for path in sample.sidecars]

    assert sidecar.read_text(encoding="utf-8").startswith("1\n00:00:02,000 --> ")
    assert [path.suffix for path in sidecar.parent.iterdir()].count(".mp4") == 1


def test_making_them_again_changes_nothing(samples: list[Sample]) -> None:
    """What is there is not written again, and is described the same."""
    folder = samples[0].path.parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}
    time.sleep(0.01)

    again = make_samples(folder)

    assert again == samples
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.mp4")} == before
    assert not list(folder.rglob(".*"))


def test_the_library_knows_what_the_samples_name(
    samples: list[Sample], stand_in: StandIn
) -> None:
    """Seeding creates every name once, with its aliases, however often it is done."""
    for _ in range(2):
        seed_library(stand_in.store)

    with asking(stand_in.url) as ask:
        all_of = "filter:{per_page:-1}"
        data = ask(
            f"{{findTags({all_of}){{tags{{name aliases}}}} "
            f"findPerformers({all_of}){{performers{{name alias_list}}}} "
            f"findStudios({all_of}){{studios{{name aliases}}}}}}"
        )["data"]

    tags = {t["name"]: t["aliases"] for t in data["findTags"]["tags"]}
    people = {p["name"]: p["alias_list"] for p in data["findPerformers"]["performers"]}
    studios = {s["name"]: s["aliases"] for s in data["findStudios"]["studios"]}
    for found, known in (
        (tags, {**CONTENT_TAGS, **TECHNICAL_TAGS}),
        (people, PERFORMERS),
        (studios, STUDIOS),
    ):
        assert found == {name: sorted(aliases) for name, aliases in known.items()}
    for sample in samples:
        assert set(sample.performers) <= set(people)
        assert {*sample.tags, *sample.technical_tags} <= set(tags)
        assert sample.studio in {None, *studios}


def test_the_stand_in_takes_all_but_the_broken_one(
    samples: list[Sample], tmp_path: Path
) -> None:
    """A scan of the set makes a scene of every readable file."""
    folder = samples[0].path.parent
    with (
        StandIn(tmp_path / "home", folder) as server,
        asking(server.url) as ask,
    ):
        server.faults.item_seconds = 0
        ask("mutation{metadataScan(input:{})}")
        server.jobs.wait()
        answer = ask("{findScenes(filter:{per_page:-1}){scenes{files{path}}}}")

    paths = {
        file["path"]
        for scene in answer["data"]["findScenes"]["scenes"]
        for file in scene["files"]
    }
    assert paths == {str(s.path) for s in samples if not s.is_corrupt}
