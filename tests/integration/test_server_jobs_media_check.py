"""Finding scenes that lack media: what is checked, marked and reported."""

import threading
from collections.abc import Iterator

import pytest

from sandbox.stash.server import StandIn
from stashhog_core.db.generated import incomplete_scenes
from stashhog_core.db.models import Scene
from stashhog_core.db.session import Database
from stashhog_core.params import CheckStashGenerateParams, StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.results import CheckStashGenerateResult
from stashhog_core.server_jobs.generate import generate
from stashhog_core.server_jobs.media_check import SAMPLES_SHOWN, check_generate
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Fingerprint
from tests.support.fake_stash import FakeStash
from tests.support.media import write_video
from tests.support.server_jobs import check, marked
from tests.support.waiting import PATIENCE_SECONDS


@pytest.fixture
def stash(database: Database) -> FakeStash:
    """A Stash with scenes 1 to 4; in the mirror, 2 and 3 are marked."""
    with database.transaction() as session:
        session.add_all(Scene(id=i, generated=i in {2, 3}) for i in range(1, 5))
    return FakeStash(scenes={1, 2, 3, 4})


def test_flags_follow_what_is_verified(stash: FakeStash, database: Database) -> None:
    """Incomplete scenes lose the mark, complete ones get it; all is told."""
    stash.lacking = {2: {"sprite", "vtt"}, 4: {"phash"}}
    stash.add_marker(2, 1, id=7)
    stash.add_marker(3, 1, id=8)
    stash.lacking_markers = {7: {"screenshot"}}

    result = check(stash, database)

    assert marked(database) == [1, 3]
    assert (result.marked, result.unmarked) == (1, 1)
    assert result.scene_ids == (2, 4)
    assert result.marker_ids == (7,)
    assert result.missing == {"marker screenshot": 1, "phash": 1, "sprite": 1, "vtt": 1}
    assert (result.scenes_checked, result.scenes_complete) == (4, 2)
    assert [sample.item for sample in result.samples] == ["scene 2", "scene 4"]
    assert result.samples[0].reason == "lacks sprite, vtt, marker screenshot"
    with database.transaction() as session:
        assert dict(incomplete_scenes(session)) == {
            2: ["sprite", "vtt", "marker screenshot"],
            4: ["phash"],
        }


@pytest.mark.parametrize(
    ("change", "checked"),
    [
        pytest.param("nothing", 1, id="only-the-incomplete"),
        pytest.param("file", 2, id="new-content"),
        pytest.param("marker", 2, id="new-marker"),
        pytest.param("kinds", 4, id="more-is-looked-for"),
        pytest.param("recheck", 4, id="asked-to"),
    ],
)
def test_unchanged_scenes_are_not_asked_again(
    stash: FakeStash, database: Database, change: str, checked: int
) -> None:
    """What was complete is asked about again only when something of it changed."""
    stash.lacking = {4: {"preview"}}
    check(stash, database)
    params: dict[str, bool] = {}
    if change == "file":
        stash.replace_file(1, fingerprints=(Fingerprint(type="oshash", value="f"),))
    elif change == "marker":
        stash.add_marker(1, 1)
    elif change == "kinds":
        params = {"image_previews": True}
    elif change == "recheck":
        params = {"recheck": True}

    result = check(stash, database, **params)

    assert result.scenes_checked == checked
    assert result.scenes_unchanged == 4 - checked
    assert result.scene_ids == (4,)
    assert marked(database) == [1, 2, 3]


def test_check_of_some_kinds_proves_no_scene(
    stash: FakeStash, database: Database
) -> None:
    """Covers alone do not make a scene complete, but a missing one unmarks it."""
    stash.lacking = {3: {"screenshot"}}

    result = check(
        stash, database, previews=False, sprites=False, phashes=False, markers=False
    )

    assert len(stash.asked("Media")) == 4
    assert marked(database) == [2]
    assert result.missing == {"cover": 1}


def test_additional_server(stash: FakeStash, database: Database) -> None:
    """Its scenes are checked, every time; the mirror is another server's."""
    stash.lacking = {2: {"sprite", "vtt"}}
    check(stash, database)
    before = marked(database)
    stash.lacking = {3: {"preview"}}

    result = check(stash, database, server="attic")

    assert (result.scenes_checked, result.scene_ids) == (4, (3,))
    assert (result.marked, result.unmarked) == (0, 0)
    assert marked(database) == before
    with database.transaction() as session:
        assert dict(incomplete_scenes(session)) == {2: ["sprite", "vtt"]}


def test_media_checks_under_way_are_limited(
    stash: FakeStash, database: Database
) -> None:
    """Many at a time, never more than are allowed."""
    stash.configure(probes_at_a_time=3)
    together = threading.Barrier(3, timeout=PATIENCE_SECONDS)
    lock = threading.Lock()
    under_way = most = checks = 0

    def on_probe() -> None:
        nonlocal under_way, most, checks
        with lock:
            under_way += 1
            checks += 1
            most = max(most, under_way)
            is_first = checks <= 3
        if is_first:
            # Returns only if three looks are under way at a time.
            together.wait()
        with lock:
            under_way -= 1

    stash.on("Media", before=on_probe)

    check(stash, database)

    assert len(stash.asked("Media")) > 3
    assert most == 3


def test_named_scenes(stash: FakeStash, database: Database) -> None:
    """Only these are checked; an id that Stash lacks is reported."""
    result = check(stash, database, scene_ids=(1, 1, 3))

    assert result.scenes_checked == 2
    assert marked(database) == [1, 2, 3]


@pytest.mark.slow
def test_many(stash: FakeStash, database: Database) -> None:
    """The bar only grows, and the result stays readable."""
    stash.replace_scenes(range(1, 1201))
    stash.lacking = {i: {"preview"} for i in range(1, 101)}
    reported: list[float | None] = []

    result = check(stash, database, Progress(lambda done, _: reported.append(done)))

    shown = [done for done in reported if done is not None]
    assert shown == sorted(shown)
    assert shown[-1] == 1
    assert len(result.scene_ids) == 100
    assert len(result.samples) == SAMPLES_SHOWN


def test_empty_library(database: Database) -> None:
    """Without any scene there is nothing to look at."""
    result = check(FakeStash(), database)

    assert (result.status, result.scenes_checked) == ("completed", 0)


@pytest.fixture
def settings(stand_in: StandIn) -> StashSettings:
    """Settings that lead to the stand-in."""
    return StashSettings(url=stand_in.url, poll_interval_seconds=0.05)


@pytest.fixture
def client(settings: StashSettings) -> Iterator[StashClient]:
    """The product's client."""
    with StashClient(settings) as client:
        yield client


@pytest.mark.slow
def test_check_feeds_a_targeted_generate(
    stand_in: StandIn, client: StashClient, settings: StashSettings, database: Database
) -> None:
    """What the check finds missing over the network is made, and then found."""
    for number in range(2):
        write_video(stand_in.library / f"{number}.mp4", seconds=8, seed=number)
    client.start_job(
        "scan", {"paths": [str(stand_in.library)], "scanGenerateCovers": True}
    )
    stand_in.jobs.wait()
    ids = [stamp.id for page in client.scene_stamps() for stamp in page]
    with database.transaction() as session:
        session.add_all(Scene(id=scene_id, generated=True) for scene_id in ids)

    def check_again() -> CheckStashGenerateResult:
        params = CheckStashGenerateParams()
        return check_generate(client, database, params, Progress(), settings=settings)

    before = check_again()
    unmarked = marked(database)
    made = generate(
        client,
        database,
        StashGenerateParams(only_missing=True, preview_segments=1),
        Progress(),
        run_id="run-1",
        settings=settings,
    )
    after = check_again()

    assert before.missing == {"phash": 2, "preview": 2, "sprite": 2, "vtt": 2}
    assert unmarked == []
    assert made.scenes_updated_count == 2
    assert (after.scenes_complete, after.scenes_incomplete) == (2, 0)
    assert marked(database) == ids
