"""The deep look finds what changes while no time of change moves."""

from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, select, update

from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import Scene, SceneFile, SceneFingerprint, SyncRun
from stashhog_core.db.session import Database
from stashhog_core.errors import TransientError
from stashhog_core.params import VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.stash.payloads import (
    Caption,
    Fingerprint,
    Gallery,
    GroupRef,
    StashGroup,
)
from stashhog_core.sync.deep import wait_for_sync
from stashhog_core.sync.job import pending_scenes
from stashhog_core.sync.verify import verify_mirror
from tests.support.fake_stash import OUTAGE, FakeStash
from tests.support.sync import run as mirror

pytestmark = pytest.mark.slow

FILM, SERIES = StashGroup(id=1, name="film"), StashGroup(id=3, name="series")
GROUPS = (GroupRef(group=FILM, scene_index=2), GroupRef(group=SERIES))
OTHER_PLACE = (GROUPS[0], GroupRef(group=SERIES, scene_index=1))
OTHER_NAME = (GroupRef(group=StashGroup(id=1, name="other"), scene_index=2), GROUPS[1])
GALLERIES = (Gallery(id=4, title="four"), Gallery(id=5, title="five"))

LONG_AGO = "2000-01-01T00:00:00Z"
"""Before every baseline: a file of that time was not scanned anew."""


@pytest.fixture
def stash(database: Database) -> FakeStash:
    """A library of two scenes, all mirrored, and known to be."""
    stash = FakeStash()
    for _ in range(2):
        stash.add_scene(groups=GROUPS, galleries=GALLERIES, play_count=1, o_counter=1)
    run(stash, database)
    run(stash, database)
    return stash


def run(stash: FakeStash, database: Database, **params: Any) -> int:
    """Sync; return how many scenes were updated."""
    return mirror(stash, database, **params).updated


def is_right(stash: FakeStash, database: Database) -> bool:
    result = verify_mirror(stash, database, VerifyMirrorParams(), Progress())
    return result.differences == 0


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"groups": ()}, id="no group"),
        pytest.param({"groups": OTHER_PLACE}, id="place in a group"),
        pytest.param({"groups": OTHER_NAME}, id="name of a group"),
        pytest.param({"last_played_at": "2026-01-01T00:00:00Z"}, id="last_played_at"),
        pytest.param({"resume_time": 7.5}, id="resume_time"),
        pytest.param({"play_duration": 99.25}, id="play_duration"),
        pytest.param({"galleries": GALLERIES[:1]}, id="gallery"),
        pytest.param({"play_count": 2}, id="play_count"),
        pytest.param({"o_counter": None}, id="o_counter"),
        pytest.param(
            {"captions": (Caption(language_code="en", caption_type="srt"),)},
            id="caption",
        ),
        pytest.param({"interactive": True}, id="interactive"),
        pytest.param({"interactive_speed": 80}, id="interactive_speed"),
        pytest.param({"title": "restored from a backup"}, id="title"),
        pytest.param({"urls": ("https://example.invalid",)}, id="urls"),
    ],
)
def test_silent_change_is_found(
    stash: FakeStash, database: Database, fields: dict[str, Any]
) -> None:
    """Every field of a scene is compared, whether or not a time of change moved."""
    stash.change_silently(min(stash.scene_rows), **fields)

    assert pending_scenes(stash, database).count == 0
    assert run(stash, database, deep=True) == 1
    assert run(stash, database, deep=True) == 0
    assert is_right(stash, database)


FILE_FIELDS = [
    pytest.param({"duration": 99.5}, id="duration"),
    pytest.param({"format": "matroska"}, id="format"),
    pytest.param({"video_codec": "hevc"}, id="video codec"),
    pytest.param({"audio_codec": ""}, id="audio codec"),
    pytest.param({"width": 640, "height": 360}, id="size of the picture"),
    pytest.param({"frame_rate": 50.0, "bit_rate": 1}, id="rates"),
]


@pytest.mark.parametrize("fields", FILE_FIELDS)
def test_silent_change_of_a_file_is_found(
    stash: FakeStash, database: Database, fields: dict[str, Any]
) -> None:
    """Every field of a file is compared, though no time moved."""
    scene = stash.scene_rows[min(stash.scene_rows)]
    file = msgspec.structs.replace(scene.files[0], **fields)
    stash.change_silently(scene.id, files=(file,))
    stash.file_times = dict.fromkeys(stash.file_times, LONG_AGO)

    assert pending_scenes(stash, database).count == 0
    assert run(stash, database, deep=True) == 1
    assert is_right(stash, database)


@pytest.mark.parametrize("fields", FILE_FIELDS)
def test_file_scanned_anew_is_found_by_its_time(
    stash: FakeStash, database: Database, fields: dict[str, Any]
) -> None:
    """Where a scan moves the file's time of change, no deep look is needed."""
    stash.replace_file(min(stash.scene_rows), **fields)

    assert pending_scenes(stash, database).reasons == {"file": 1}
    assert run(stash, database) == 1
    assert pending_scenes(stash, database).count == 0
    assert is_right(stash, database)


def test_scene_at_which_stash_fails_holds_nobody_back(
    stash: FakeStash, database: Database
) -> None:
    """The deep look goes on past a page that Stash does not answer."""
    first, second = sorted(stash.scene_rows)
    stash.broken_scenes.add(first)
    stash.change_silently(second, interactive=True)
    result = mirror(stash, database, deep=True)

    assert (result.updated, result.failed) == (1, 1)
    stash.broken_scenes.clear()
    assert run(stash, database, deep=True) == 0
    assert is_right(stash, database)


def test_others_sync_while_scenes_are_compared(
    stash: FakeStash, database: Database
) -> None:
    """The deep look takes the lock of sync only once it has compared all scenes."""
    first, second = sorted(stash.scene_rows)
    stash.change_silently(first, play_count=7)

    def edit_and_sync() -> None:
        stash.on("ScenesBetween")
        stash.edit(second, title="meanwhile")
        assert run(stash, database) == 1

    stash.on("ScenesBetween", after=edit_and_sync)

    assert run(stash, database, deep=True) == 1
    assert is_right(stash, database)


def test_comparison_takes_the_first_part_of_the_bar(
    stash: FakeStash, database: Database
) -> None:
    """It takes four fifths, and says how many scenes were compared."""
    reports: list[tuple[float | None, str]] = []
    progress = Progress(lambda *report: reports.append(report))
    mirror(stash, database, progress, deep=True)

    assert (0.8, "Compared scenes 2/2") in reports


def test_waiting_for_a_sync(database: Database) -> None:
    """The wait ends when the sync does; a stop is noticed meanwhile and afterwards."""
    running = ExitStack()
    running.enter_context(job_lock(database, "sync"))
    stop_was_asked: list[None] = []

    def checkpoint() -> None:
        stop_was_asked.append(None)
        running.close()

    wait_for_sync(database, checkpoint)

    assert len(stop_was_asked) == 2


def test_deep_sync_that_fails_is_in_the_history(
    stash: FakeStash, database: Database
) -> None:
    """It ends before its sync starts, and is a run like any other."""
    stash.on("ScenesBetween", before=OUTAGE)
    with pytest.raises(TransientError):
        run(stash, database, deep=True)

    with database.transaction() as session:
        last = session.scalars(select(SyncRun).order_by(SyncRun.id.desc())).first()
        assert last is not None
        assert (last.status, last.kind) == ("failed", "incremental")
        assert last.finished_at is not None
        assert "Stash" in last.message


@pytest.mark.parametrize(
    "kinds", [("oshash",), ("oshash", "phash", "md5")], ids=["lost", "added"]
)
def test_fingerprint_is_found(
    stash: FakeStash, database: Database, kinds: tuple[str, ...]
) -> None:
    """A hash that Stash has made or lost of a file is seen."""
    scene = stash.scene_rows[min(stash.scene_rows)]
    known = {f.type: f.value for f in scene.files[0].fingerprints}
    hashes = tuple(Fingerprint(type=k, value=known.get(k, "0f")) for k in kinds)
    file = msgspec.structs.replace(scene.files[0], fingerprints=hashes)
    stash.change_silently(scene.id, files=(file,))

    assert pending_scenes(stash, database).count == 0
    assert run(stash, database, deep=True) == 1
    assert run(stash, database, deep=True) == 0
    assert is_right(stash, database)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(delete(SceneFingerprint), id="fingerprints"),
        pytest.param(update(Scene).values(groups=[]), id="groups"),
        pytest.param(update(Scene).values(galleries=[{"id": 9}]), id="galleries"),
        pytest.param(update(Scene).values(play_count=7), id="play_count"),
        pytest.param(update(Scene).values(captions=[{}]), id="captions"),
        pytest.param(update(Scene).values(title="wrong"), id="title"),
        pytest.param(update(SceneFile).values(video_codec="x"), id="codec"),
    ],
)
def test_damage_on_our_side_is_found(
    stash: FakeStash, database: Database, statement: Any
) -> None:
    """It is seen whichever of the two sides is wrong."""
    with database.transaction() as session:
        session.execute(statement)

    assert run(stash, database, deep=True) == 2
    assert is_right(stash, database)
