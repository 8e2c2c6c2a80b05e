"""Generating in pieces: chunks, order, profiles, hours, markers, further servers."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from stashhog_core.db.generated import Checked, store_checks
from stashhog_core.db.models import Scene, SceneFile
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, JobCancelled, JobError
from stashhog_core.params import StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.server_jobs.generate_request import (
    PROFILES,
    is_allowed_at,
    wait_for_turn,
    with_profile,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.servers import server_settings
from tests.support.fake_stash import FINISHED, RUNNING, FakeStash
from tests.support.server_jobs import marked, run, sent


@pytest.fixture
def stash(monkeypatch: pytest.MonkeyPatch) -> FakeStash:
    """A Stash with scenes 1 to 5, whose stopped jobs are not waited for."""
    monkeypatch.setattr("stashhog_core.server_jobs.tracking.STOP_WAIT_SECONDS", 0)
    return FakeStash(scenes=range(1, 6))


@pytest.fixture
def scenes(database: Database) -> Iterator[None]:
    """The mirror of these scenes: 3 is the newest, then 1, 5, 2, 4."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with database.transaction() as session:
        session.add_all(
            Scene(id=id_, created_at=start - timedelta(days=age))
            for age, id_ in enumerate((3, 1, 5, 2, 4))
        )
        session.flush()
        session.add_all(
            SceneFile(scene_id=id_, file_id=id_, position=0, path=f"/data/{id_}.mp4")
            for id_ in range(1, 6)
        )
    return


@pytest.mark.usefixtures("scenes")
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({"chunk_size": 2}, [[1, 2], [3, 4], [5]], id="by-id"),
        pytest.param(
            {"chunk_size": 2, "order": "newest"}, [[3, 1], [5, 2], [4]], id="newest"
        ),
        pytest.param(
            {"chunk_size": 2, "order": "given", "scene_ids": (4, 1, 2)},
            [[4, 1], [2]],
            id="given",
        ),
        pytest.param({"order": "newest"}, [[3, 1, 5, 2, 4]], id="one-job"),
        pytest.param(
            {"chunk_size": 2, "order": "newest", "incremental": True},
            [[3, 1], [5, 2], [4]],
            id="incremental",
        ),
    ],
)
def test_order_and_chunks(
    stash: FakeStash,
    database: Database,
    params: dict[str, Any],
    expected: list[list[int]],
) -> None:
    """Scenes go to Stash in the order that was asked for, so many at a time."""
    result = run(stash, database, **params)

    assert sent(stash) == expected
    updated = sorted(i for chunk in expected for i in chunk)
    assert marked(database) == updated
    assert result.scenes_updated == tuple(map(str, updated))
    assert result.stash_job_ids == tuple(str(i + 1) for i in range(len(expected)))


@pytest.mark.usefixtures("scenes")
@pytest.mark.parametrize(
    ("incremental", "expected"), [(False, []), (True, [1, 2, 3, 4])]
)
def test_chunk_that_fails(
    stash: FakeStash, database: Database, incremental: bool, expected: list[int]
) -> None:
    """All or nothing holds for the whole run; incremental keeps what was proven."""
    stash.job_states = [FINISHED, FINISHED, {"status": "FAILED", "error": "boom"}]

    with pytest.raises(JobError, match="boom"):
        run(stash, database, chunk_size=2, incremental=incremental)

    assert marked(database) == expected


@pytest.mark.usefixtures("scenes")
def test_resumed_run_in_chunks(stash: FakeStash, database: Database) -> None:
    """A run that broke off follows the chunk it was at, then does only the rest."""
    stash.job_states = [FINISHED, RUNNING, RuntimeError("killed")]
    with pytest.raises(RuntimeError):
        run(stash, database, chunk_size=2)
    stash.job_states = [FINISHED]

    result = run(stash, database, chunk_size=2)

    assert sent(stash) == [[1, 2], [3, 4], [5]]
    assert result.scenes_updated_count == 5


@pytest.mark.usefixtures("scenes")
def test_only_what_is_missing(stash: FakeStash, database: Database) -> None:
    """Each scene gets what the check found missing, and what was asked for of it."""
    with database.transaction() as session:
        store_checks(
            session,
            [
                Checked(1, 0, ("sprite", "vtt")),
                Checked(2, 0, ("phash",)),
                Checked(3, 0, ()),
                Checked(4, 0, ("sprite", "marker screenshot")),
                Checked(5, 0, ("cover",)),
            ],
        )

    run(stash, database, only_missing=True, covers=False)
    flags = [
        {name for name, value in asked.items() if value is True}
        - {"clipPreviews", "imageThumbnails"}
        for _, asked in stash.started
    ]

    assert sent(stash) == [[1], [2], [4]]
    assert flags == [
        {"sprites"},
        {"phashes"},
        {"sprites", "markers", "markerScreenshots"},
    ]
    assert marked(database) == [1, 2, 4]


@pytest.mark.usefixtures("scenes")
@pytest.mark.parametrize(
    ("verify", "incremental", "checked", "expected"),
    [
        pytest.param("none", False, 0, 5, id="none"),
        pytest.param("sample", False, 2, 5, id="sample"),
        pytest.param("all", False, 5, 4, id="all"),
        pytest.param("none", True, 5, 4, id="incremental-always-looks"),
    ],
)
def test_verify(
    stash: FakeStash,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    verify: str,
    incremental: bool,
    checked: int,
    expected: int,
) -> None:
    """The setting says whose media is checked. Scene 5 lacks its cover."""
    monkeypatch.setattr("stashhog_core.server_jobs.generate.CHECKED_TOGETHER", 2)
    stash.configure(verify=verify, verify_sample_size=2)
    stash.lacking = {5: {"screenshot"}}
    only_covers = {"sprites": False, "previews": False, "markers": False}

    run(stash, database, incremental=incremental, phashes=False, **only_covers)

    assert len(stash.asked("Media")) == checked
    assert len(marked(database)) == expected


@pytest.mark.usefixtures("scenes")
def test_marker_media_is_checked(stash: FakeStash, database: Database) -> None:
    """A scene is not complete without its markers' media, if that was asked for."""
    stash.add_marker(1, 1, id=7)
    stash.add_marker(2, 1, id=8)
    stash.lacking_markers = {7: {"screenshot"}}

    result = run(stash, database, incremental=True)

    assert marked(database) == [2, 3, 4, 5]
    assert [error.reason for error in result.errors] == ["lacks marker screenshot"]


@pytest.mark.usefixtures("scenes")
def test_markers_alone(stash: FakeStash, database: Database) -> None:
    """Named markers go to Stash without any scene; unknown ones are reported.

    Nothing else is checked afterwards.
    """
    stash.add_marker(1, 1, id=7)
    stash.add_marker(2, 1, id=8)
    stash.add_marker(3, 1, id=9)
    stash.lacking_markers = {7: {"stream"}, 9: {"stream"}}
    # What a scene itself lacks is no fault of its markers.
    stash.lacking = {2: {"preview"}}

    result = run(stash, database, marker_ids=(7, 8, 99))

    (_, asked), *more = stash.started
    assert more == []
    assert "sceneIDs" not in asked
    assert asked["markerIDs"] == ["7", "8"]
    assert [error.item for error in result.errors] == ["marker 99", "marker 7"]
    checked = {asked["path"] for asked in stash.asked("Media")}
    assert checked == {
        f"/marker/{marker}/{kind}"
        for marker in (7, 8)
        for kind in ("screenshot", "stream")
    }
    assert marked(database) == []


@pytest.mark.usefixtures("scenes")
def test_deadline_stops_the_job(stash: FakeStash, database: Database) -> None:
    """A job that takes too long is stopped, and the run fails."""
    stash.job_states = [RUNNING]
    stash.configure(job_deadline_seconds=0.01)

    with pytest.raises(JobError, match=r"did not end within 0.01 s.*JOB_DEADLINE"):
        run(stash, database)

    assert stash.stopped == [1]
    assert marked(database) == []


@pytest.mark.usefixtures("scenes")
def test_additional_server(stash: FakeStash, database: Database) -> None:
    """On a server that is not mirrored all scenes are sent, and none is marked."""
    result = run(stash, database, server="attic")

    assert sent(stash) == [[1, 2, 3, 4, 5]]
    assert marked(database) == []
    assert result.status == "completed"


@pytest.mark.usefixtures("scenes")
def test_order_on_an_additional_server(stash: FakeStash, database: Database) -> None:
    """The mirror knows nothing of its scenes: the newest have the highest ids."""
    run(stash, database, server="attic", order="newest", chunk_size=2)

    assert sent(stash) == [[5, 4], [3, 2], [1]]


@pytest.mark.usefixtures("scenes")
def test_what_is_missing_is_known_of_the_mirrored_server_only(
    stash: FakeStash, database: Database
) -> None:
    """Its findings, applied to another server's scenes, would make the wrong media."""
    with pytest.raises(ConfigurationError, match="sceneIDs"):
        run(stash, database, server="attic", only_missing=True)

    assert stash.started == []


def test_server_settings() -> None:
    """A job names a server of the list; another name is refused with the list."""
    settings = StashSettings.model_validate(
        {"url": "http://a:9999", "servers": {"attic": {"url": "http://b:9999"}}}
    )

    assert server_settings(settings, None).url == "http://a:9999"
    assert server_settings(settings, "attic").url == "http://b:9999"
    with pytest.raises(ConfigurationError, match="attic"):
        server_settings(settings, "cellar")


def test_profiles() -> None:
    """A profile lies under what is set; both end where the defaults do."""
    own = {"hashes": {"previews": False, "previewPreset": "fast"}}
    settings = StashSettings.model_validate({"generate_profiles": own})
    params = StashGenerateParams(profile="hashes", preview_preset="medium")

    merged = with_profile(params, settings)

    assert (merged.previews, merged.preview_preset) == (False, "medium")
    assert merged.sprites
    for name in PROFILES:
        quick = with_profile(StashGenerateParams(profile=name), settings)
        assert quick != StashGenerateParams(profile=name)


@pytest.mark.parametrize(
    ("profile", "words"),
    [("nope", "quick, full, bad"), ("bad", "previewSegments")],
)
def test_profile_that_cannot_be_used(profile: str, words: str) -> None:
    """An unknown name is answered with the known ones, a bad value with its name."""
    settings = StashSettings(generate_profiles={"bad": {"previewSegments": 0}})

    with pytest.raises(ConfigurationError, match=words):
        with_profile(StashGenerateParams(profile=profile), settings)


@pytest.mark.parametrize(
    ("hours", "now", "allowed"),
    [
        (None, time(12), True),
        ("22:00-06:30", time(23), True),
        ("22:00-06:30", time(6, 29), True),
        ("22:00-06:30", time(6, 30), False),
        ("08:00-17:00", time(8), True),
        ("08:00-17:00", time(17), False),
        ("00:00-00:00", time(3), True),
    ],
)
def test_hours(hours: str | None, now: time, allowed: bool) -> None:
    """A span may go past midnight; its end is not part of it."""
    assert is_allowed_at(hours, now) is allowed


def test_waits_until_stash_is_idle(stash: FakeStash) -> None:
    """Nothing is started while Stash does something else; a stop is noticed."""
    stash.started = [("scan", {})]
    stash.job_states = [RUNNING]
    reported: list[str] = []

    def sink(_fraction: float | None, message: str) -> None:
        reported.append(message)
        if len(reported) == 3:
            stash.job_states = [FINISHED]

    params = StashGenerateParams(when_idle=True)
    wait_for_turn(stash, params, Progress(sink), label="G", settings=stash.settings)

    assert reported == ["G: Waiting for Stash to be idle (1 jobs)..."] * 3


def test_waits_for_its_hours(stash: FakeStash) -> None:
    """Outside of the hours it waits, and can be cancelled meanwhile."""
    hour = datetime.now().astimezone().hour
    hours = f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00"

    def sink(_fraction: float | None, message: str) -> None:
        raise JobCancelled(message)

    params = StashGenerateParams(allowed_hours=hours)
    with pytest.raises(JobCancelled, match=hours):
        wait_for_turn(stash, params, Progress(sink), label="G", settings=stash.settings)
