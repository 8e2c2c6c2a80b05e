"""A mirror with a few scenes; analyzing it, applying and undoing its plans."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from stashhog_core.db.models import (
    AnalysisPlan,
    Performer,
    PlanChange,
    Scene,
    SceneFile,
    SceneFingerprint,
    Studio,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.detection import run as analysis_run
from stashhog_core.detection.job import analyze, unanalyzed_scene_ids
from stashhog_core.detection.readers import SceneReader, StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.params import AnalysisParams, ApplyPlanParams, UndoParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.proposals import Proposal, add_member
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult, ApplyResult, UndoResult
from stashhog_core.settings import Settings, StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.fake_stash import FakeStash
from tests.support.faults import FaultyStatements, FaultyTransport

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VIDEO_ONLY = {"detect_tags": False}


class Reader(SceneReader):
    """Reads the words it was told, by scene; notes which scenes it has read."""

    name = "reader"
    version = "1"
    configuration = "test"

    def __init__(self, words: Mapping[int, list[str] | Exception]) -> None:
        self.words = words
        self.has_read: list[int] = []

    def read(self, scene: SceneFacts) -> Mapping[str, Any]:
        self.has_read.append(scene.id)
        words = self.words.get(scene.id, [])
        if isinstance(words, Exception):
            raise words
        return {"words": words}

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> list[Proposal]:
        found = []
        for word in output["words"]:
            tag_id, name = names.find_tag(word) or (None, word)
            if tag_id not in scene.tag_ids:
                found.append(
                    add_member("tags", tag_id, name, 0.9, self.name, {"rule": "seen"})
                )
        return found


def add_scenes(database: Database) -> None:
    """Add five scenes of 720p, newest first 5 to 1, and some names that Stash knows."""
    with database.transaction() as session:
        session.add_all(
            [
                Tag(id=1, name="Outdoor", aliases=["Open Air"]),
                Tag(id=2, name="Beach"),
                Performer(id=1, name="Jade Kush"),
                Studio(id=1, name="Golden Hour"),
                *(
                    Scene(id=number, created_at=NOW + timedelta(days=number))
                    for number in range(1, 6)
                ),
            ]
        )
        session.flush()
        for number in range(1, 6):
            session.add_all(
                [
                    SceneFile(
                        scene_id=number,
                        file_id=number,
                        position=0,
                        path=f"/data/{number}.mp4",
                        duration_seconds=900.0,
                        width=1280,
                        height=720,
                        frame_rate=25.0,
                        video_codec="h264",
                        audio_codec="aac",
                    ),
                    SceneFingerprint(
                        scene_id=number,
                        file_id=number,
                        kind="oshash",
                        value=f"h{number}",
                    ),
                ]
            )


def plan_of(
    database: Database,
    proposals: Mapping[int, Sequence[Proposal]],
    state: str = "approved",
) -> int:
    """Store a draft plan with these changes, by scene; return its id."""
    with database.transaction() as session:
        plan = AnalysisPlan(name="Plan", state="draft", run_id="run")
        session.add(plan)
        session.flush()
        scenes = session.execute(select(Scene.id, Scene.stash_created_at))
        created_at = {row.id: row.stash_created_at for row in scenes}
        session.add_all(
            PlanChange(
                plan_id=plan.id,
                scene_id=scene_id,
                scene_created_at=created_at.get(scene_id),
                state=state,
                approved_by="auto" if state == "approved" else None,
                **p.row,
            )
            for scene_id, of_scene in proposals.items()
            for p in of_scene
        )
    return plan.id


def run(
    database: Database,
    video: Reader | None = None,
    progress: Progress | None = None,
    *,
    run_id: str = "run",
    settings: Settings | None = None,
    stash: FakeStash | None = None,
    **params: Any,
) -> AnalysisResult:
    return analyze(
        settings or Settings(),
        stash or FakeStash(),
        database,
        AnalysisParams(**params),
        progress or Progress(),
        run_id=run_id,
        video=video,
    )


def changes(database: Database) -> list[tuple[int, str, str]]:
    """Return (scene, value, state) of every change."""
    with database.transaction() as session:
        rows = session.execute(
            select(
                PlanChange.scene_id, PlanChange.value_key, PlanChange.state
            ).order_by(PlanChange.scene_id, PlanChange.value_key)
        )
        return [(row[0], row[1], row[2]) for row in rows]


def count(database: Database, model: Any) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def unanalyzed(database: Database) -> list[int]:
    with database.transaction() as session:
        return unanalyzed_scene_ids(session)


def until_killed(database_url: str, statement: int, words: Mapping[int, Any]) -> None:
    """Analyze in this process, a child, and kill it at statement number `statement`.

    Every finished scene is stored at once.
    """

    def die() -> BaseException:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")

    analysis_run.SAVE_AFTER_SECONDS = 0
    database = FaultyStatements(die, statement).watch(Database(database_url))
    run(
        database,
        Reader(words),
        run_id="killed",
        stash=FakeStash(tags={7: "Newer"}),
        detect_performers=True,
    )


@contextmanager
def opened(url: str, transport: FaultyTransport) -> Iterator[StashClient]:
    """Yield a client that does not repeat reads by itself."""
    settings = StashSettings(url=url)
    with StashClient(settings, transport, retry_delays_seconds=()) as client:
        yield client


def apply(
    url: str,
    database: Database,
    plan_id: int,
    transport: FaultyTransport,
    **params: Any,
) -> ApplyResult:
    """Apply a plan, without a second try in the same run."""
    with opened(url, transport) as client:
        return apply_plan(
            client,
            database,
            ApplyPlanParams(plan_id=plan_id, **params),
            Progress(),
            create_missing_tags=True,
            pauses_seconds=(),
        )


def take_back(
    url: str,
    database: Database,
    plan_id: int,
    transport: FaultyTransport,
) -> UndoResult:
    """Undo a plan, without a second try in the same run."""
    with opened(url, transport) as client:
        return undo(
            client,
            database,
            UndoParams(plan_id=plan_id),
            Progress(),
            pauses_seconds=(),
        )


def job_until_killed(
    job: str,
    url: str,
    database_url: str,
    plan_id: int,
    transport: FaultyTransport,
) -> None:
    """Do a job in this process, which is to be a child: a fault may kill it."""
    database = Database(database_url)
    {"apply": apply, "undo": take_back}[job](url, database, plan_id, transport)
