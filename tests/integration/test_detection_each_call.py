"""The analysis with a fault at each of its calls in turn, then undisturbed.

However it was disturbed, the end is that of one clean run: a scene is marked together
with its changes, or not at all.
"""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from sandbox.stash.server import StandIn
from stashhog_core.db.models import (
    AnalysisPlan,
    DetectorMark,
    PlanChange,
    ReviewMemory,
    Scene,
    TaggerResult,
)
from stashhog_core.db.session import Database
from stashhog_core.detection import run as analysis_run
from stashhog_core.detection.job import analyze
from stashhog_core.detection.readers import StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.errors import (
    ItemError,
    RefusedError,
    StashHogError,
    TransientError,
)
from stashhog_core.params import AnalysisParams
from stashhog_core.plans.proposals import Proposal
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult
from stashhog_core.settings import Settings, StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.fake_stash import FakeStash
from tests.support.faults import (
    FAULTS,
    STATEMENT_ERRORS,
    FaultyStatements,
    FaultyTransport,
    in_turn,
)
from tests.support.locks import wait_until_unlocked
from tests.support.plans import Reader, add_scenes, until_killed

pytestmark = pytest.mark.slow

SEES = {5: ["Outdoor", "Fresh"], 4: ["Newer"], 3: ["Fresh", "Last"]}
SCENES = tuple(SEES)


@pytest.fixture
def mirror(database: Database) -> Database:
    """Three scenes to be analyzed."""
    add_scenes(database)
    with database.transaction() as session:
        session.execute(delete(Scene).where(Scene.id.not_in(SCENES)))
    return database


@pytest.fixture
def stash(stand_in: StandIn) -> StandIn:
    """A Stash that has tags which the mirror lacks."""
    with StashClient(StashSettings(url=stand_in.url)) as client:
        client.create_tag("Other")
        client.create_tag("Newer")
    return stand_in


def run(
    stash: StashClient, database: Database, video: Reader, run_id: str
) -> AnalysisResult:
    return analyze(
        Settings(),
        stash,
        database,
        AnalysisParams(detect_performers=True),
        Progress(),
        run_id=run_id,
        video=video,
    )


def disturbed(
    stash: StashClient, database: Database, video: Reader | None = None
) -> None:
    with contextlib.suppress(StashHogError, KeyboardInterrupt, SystemExit):
        run(stash, database, video or Reader(SEES), "disturbed")


def outcome(database: Database) -> dict[str, Any]:
    """Return all that an analysis leaves, by content: changes, marks, outputs."""
    with database.transaction() as session:
        changes = session.execute(
            select(
                PlanChange.scene_id,
                PlanChange.field,
                PlanChange.action,
                PlanChange.value_key,
                PlanChange.proposed,
                PlanChange.state,
                PlanChange.detector,
            )
            .order_by(PlanChange.scene_id, PlanChange.field, PlanChange.value_key)
            .distinct()
        ).all()
        marks = session.execute(
            select(
                DetectorMark.content_hash, DetectorMark.detector, DetectorMark.version
            ).order_by(DetectorMark.content_hash, DetectorMark.detector)
        ).all()
        outputs = session.execute(
            select(TaggerResult.content_hash, TaggerResult.output).order_by(
                TaggerResult.content_hash
            )
        ).all()
        scenes = session.execute(
            select(Scene.id, Scene.analyzed, Scene.video_analyzed).order_by(Scene.id)
        ).all()
        return {
            "changes": changes,
            "marks": marks,
            "outputs": outputs,
            "scenes": scenes,
            "plans": set(session.scalars(select(AnalysisPlan.state))),
            "rejected": session.scalars(select(ReviewMemory.scene_id)).all(),
        }


def check_marks(database: Database, clean: Mapping[str, Any]) -> None:
    """Each marked scene has all its changes, each other one has none at all."""
    left = outcome(database)
    marked = {row.id for row in left["scenes"] if row.video_analyzed}
    hashes = {f"h{scene_id}" for scene_id in marked}
    assert [c for c in clean["changes"] if c.scene_id in marked] == left["changes"]
    assert {mark.content_hash for mark in left["marks"]} == hashes
    assert {output.content_hash for output in left["outputs"]} == hashes


def forget(database: Database) -> None:
    """Take back all that runs of the analysis have left."""
    with database.transaction() as session:
        for model in (PlanChange, AnalysisPlan, DetectorMark, TaggerResult):
            session.execute(delete(model))
        session.execute(update(Scene).values(analyzed=False, video_analyzed=False))


def clean_run(stash: StashClient, database: Database) -> dict[str, Any]:
    run(stash, database, Reader(SEES), "clean")
    clean = outcome(database)
    forget(database)
    assert {row.id for row in clean["scenes"] if row.video_analyzed} == set(SCENES)
    assert {change.scene_id for change in clean["changes"]} == set(SCENES)
    return clean


@contextlib.contextmanager
def client(stash: StandIn, transport: FaultyTransport) -> Iterator[StashClient]:
    settings = StashSettings(url=stash.url)
    with StashClient(settings, transport, retry_delays_seconds=()) as opened:
        yield opened


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "killed"])
def test_fault_of_stash_at_each_lookup_of_a_tag(
    mirror: Database, stash: StandIn, fault: str
) -> None:
    """A scene of which Stash could not be asked stays unmarked, with no change."""
    counting = FaultyTransport()
    with client(stash, counting) as asked:
        clean = clean_run(asked, mirror)

    for number in in_turn(counting.count):
        with client(stash, FaultyTransport(fault, at=number)) as asked:
            disturbed(asked, mirror)
        check_marks(mirror, clean)
        assert not all(row.video_analyzed for row in outcome(mirror)["scenes"])
        with client(stash, FaultyTransport()) as asked:
            run(asked, mirror, Reader(SEES), "again")
        assert outcome(mirror) == clean
        forget(mirror)


@pytest.mark.parametrize("error", STATEMENT_ERRORS.values(), ids=STATEMENT_ERRORS)
def test_fault_at_each_statement_and_commit(
    mirror: Database, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    """Whatever statement or commit is the last one, marks and changes are one."""
    # Every finished scene is stored at once.
    monkeypatch.setattr(analysis_run, "SAVE_AFTER_SECONDS", 0)
    known = FakeStash(tags={7: "Newer"})
    clean = clean_run(known, mirror)
    counting = FaultyStatements(error)
    watched = counting.watch(Database(mirror.connection_string))
    disturbed(known, watched)
    watched.close()
    forget(mirror)

    for number in in_turn(counting.count):
        faulty = FaultyStatements(error, number).watch(
            Database(mirror.connection_string)
        )
        disturbed(known, faulty)
        faulty.close()
        check_marks(mirror, clean)
        run(known, mirror, Reader(SEES), "again")
        assert outcome(mirror) == clean
        forget(mirror)


def test_kill_at_each_statement_and_commit(
    mirror: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds for kill -9."""
    monkeypatch.setattr(analysis_run, "SAVE_AFTER_SECONDS", 0)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.support.plans"])
    known = FakeStash(tags={7: "Newer"})
    clean = clean_run(known, mirror)
    counting = FaultyStatements(KeyboardInterrupt)
    watched = counting.watch(Database(database_url))
    disturbed(known, watched)
    watched.close()
    forget(mirror)

    for number in in_turn(counting.count):
        arguments = (database_url, number, SEES)
        child = processes.Process(target=until_killed, args=arguments)
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        wait_until_unlocked(mirror)
        check_marks(mirror, clean)
        run(known, mirror, Reader(SEES), "again")
        assert outcome(mirror) == clean
        forget(mirror)


class Failing(Reader):
    """Fails at the `at`-th reading, or at the `at`-th time that it is to propose."""

    def __init__(self, error: BaseException, where: str, at: int) -> None:
        super().__init__(SEES)
        self._error, self._where, self._left = error, where, at

    def _step(self, where: str) -> None:
        self._left -= where == self._where
        if self._left == 0 and where == self._where:
            raise self._error

    def read(self, scene: SceneFacts) -> Mapping[str, Any]:
        self._step("read")
        return super().read(scene)

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> list[Proposal]:
        self._step("propose")
        return super().propose(scene, output, names)


ERRORS = [
    TransientError("Stash is away"),
    KeyboardInterrupt(),
    SystemExit(),
    RefusedError("no"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    RecursionError(),
]


ENDING = [TransientError("Stash is away"), KeyboardInterrupt(), SystemExit()]
OF_A_SCENE = [
    ItemError("no"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    RecursionError(),
]
CASES = [
    *[("read", error) for error in ENDING],
    *[("propose", error) for error in [*ENDING, *OF_A_SCENE, RefusedError("no")]],
]


@pytest.mark.parametrize(("where", "error"), CASES, ids=lambda v: repr(v)[:20])
def test_fault_at_each_reading_and_each_proposing(
    mirror: Database, error: BaseException, where: str
) -> None:
    """What a detector raises, of whatever type, marks no scene without its changes."""
    known = FakeStash(tags={7: "Newer"})
    clean = clean_run(known, mirror)

    for number in in_turn(len(SCENES)):
        disturbed(known, mirror, Failing(error, where, number))
        check_marks(mirror, clean)
        run(known, mirror, Reader(SEES), "again")
        assert outcome(mirror) == clean
        forget(mirror)


@pytest.mark.parametrize("error", OF_A_SCENE, ids=lambda error: type(error).__name__)
def test_failed_reading_leaves_what_other_detectors_found(
    mirror: Database, error: Exception
) -> None:
    """The scene stays unmarked, and so does the reader; the next run ends it."""
    known = FakeStash(tags={7: "Newer"})
    clean = clean_run(known, mirror)

    for number in in_turn(len(SCENES)):
        disturbed(known, mirror, Failing(error, "read", number))
        left = outcome(mirror)
        (failed,) = (row.id for row in left["scenes"] if not row.video_analyzed)
        lacking = [c for c in clean["changes"] if c not in left["changes"]]
        assert {(c.scene_id, c.detector) for c in lacking} == {(failed, "reader")}
        assert (f"h{failed}", "reader", "1") not in left["marks"]
        run(known, mirror, Reader(SEES), "again")
        assert outcome(mirror) == clean
        forget(mirror)


@pytest.mark.parametrize("where", ["read", "propose"])
def test_unexpected_error_fails_only_its_scene(mirror: Database, where: str) -> None:
    """The other scenes are analyzed and marked; the failed one is named."""
    failing = Failing(ValueError("odd"), where, 2)

    result = run(FakeStash(), mirror, failing, "run")

    assert result.scenes_analyzed == len(SCENES) - 1
    assert [e.item for e in result.errors] == ["scene 4"]
    assert "ValueError: odd" in result.errors[0].reason
    with mirror.transaction() as session:
        marked = set(session.scalars(select(Scene.id).where(Scene.video_analyzed)))
    assert marked == {5, 3}
