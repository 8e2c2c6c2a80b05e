"""One run of the analysis: scenes page by page, their results, and the costs."""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from stashhog_core.db.models import Scene
from stashhog_core.db.reading import any_of
from stashhog_core.db.scenes import primary_oshash
from stashhog_core.db.session import Database
from stashhog_core.detection.readers import (
    Output,
    ReaderResult,
    SceneReader,
    read_all,
    unexpected,
)
from stashhog_core.detection.registry import Detectors
from stashhog_core.detection.result_cache import (
    ExaminedMark,
    RawOutput,
    content_hash,
    raw_outputs,
    store_marks,
    store_outputs,
)
from stashhog_core.detection.scene_facts import SceneFacts, read_scenes
from stashhog_core.errors import ItemError, RefusedError, StashHogError
from stashhog_core.params import AnalysisParams
from stashhog_core.paths import PathMap
from stashhog_core.plans.plans import Costs, add_costs
from stashhog_core.plans.proposals import Proposal
from stashhog_core.plans.rejections import rejected_before, remember_removed
from stashhog_core.plans.writer import PlanWriter
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult, ItemFailure

logger = logging.getLogger(__name__)

SAVE_AFTER_SECONDS = 10.0
"""A killed run loses at most this much work, and a short run writes once."""

_KEPT_FAILURES = 100


@dataclass(frozen=True)
class _SceneOutcome:
    """Everything that the analysis of one scene stores; made after its proposals.

    There is one object per scene, so that an interruption cannot leave a mark without
    the changes that belong to the mark.

    Attributes:
        outputs: New outputs of the readers.
        marks: The detectors that have examined the content.
        oshash: Hash of the file that was examined.
        reasons: Why readers failed; the scene counts as analyzed only if empty.
    """

    scene_id: int
    proposals: Sequence[Proposal]
    outputs: Sequence[RawOutput] = ()
    marks: Sequence[ExaminedMark] = ()
    oshash: str | None = None
    reasons: Sequence[str] = ()


@dataclass
class AnalysisRun:
    """A run of the analysis and its progress.

    Attributes:
        readers: The readers of each scene, in this order; the video reader first.
        reads_videos: Whether the first reader reads the video.
        detectors: Detects changes; includes the readers.
        total: Number of scenes to analyze.
        deadline: Time (UTC) after which no scene is started.
        deferred: Why the remaining scenes are deferred.
    """

    database: Database
    params: AnalysisParams
    readers: Sequence[SceneReader]
    reads_videos: bool
    path_map: PathMap
    detectors: Detectors
    total: int
    deadline: datetime | None = None
    deferred: str | None = None
    done: int = 0
    analyzed: int = 0
    videos_from_cache: int = 0
    failures: list[ItemFailure] = field(default_factory=list)
    by_field: Counter[str] = field(default_factory=Counter)
    read_seconds: dict[str, list[float]] = field(default_factory=dict)
    unsaved: list[_SceneOutcome] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)

    def analyze_page(
        self, scene_ids: list[int], plan: PlanWriter, progress: Progress
    ) -> None:
        """Analyze a page of scenes in their order."""
        with self.database.transaction() as session:
            found = read_scenes(session, scene_ids)
            remember_removed(session, scene_ids)
            rejected = rejected_before(session, scene_ids)
        scenes = []
        for scene_id in scene_ids:
            scene = found.get(scene_id)
            if scene is None or scene.missing:
                self._failed(scene_id, "Stash has no such scene: run a sync first")
                self.done += 1
            else:
                scenes.append(scene)
        self._report(progress)
        for scene, content, results in self._read(scenes, progress):
            self._analyze_scene(scene, content, results, rejected)
            self.done += 1
            if time.monotonic() - self.saved >= SAVE_AFTER_SECONDS:
                self.save(plan)
            self._report(progress)
            if self.is_late():
                return

    def is_late(self) -> bool:
        """Tell whether the time limit of the run has passed."""
        return self.deadline is not None and datetime.now(UTC) >= self.deadline

    def _report(self, progress: Progress) -> None:
        progress.update(
            self.done / self.total, f"Analyzed {self.done}/{self.total} scenes"
        )

    def _read(
        self, scenes: list[SceneFacts], progress: Progress
    ) -> Iterator[tuple[SceneFacts, str | None, list[ReaderResult]]]:
        """Yield each scene, the hash of its content, and the result of each reader."""
        contents = {scene.id: content_hash(scene, self.path_map) for scene in scenes}
        for reader in self.readers:
            reader.prepare(scenes)
        with ExitStack() as streams:
            results = [
                streams.enter_context(closing(read_all(reader, known, progress)))
                for reader in self.readers
                for known in [self._known(reader, scenes, contents)]
            ]
            for scene in scenes:
                yield scene, contents[scene.id], [next(stream) for stream in results]

    def _known(
        self,
        reader: SceneReader,
        scenes: list[SceneFacts],
        contents: Mapping[int, str | None],
    ) -> list[tuple[SceneFacts, Output | None]]:
        """Return the scenes, each with the stored output of this reader."""
        keys = [reader.cache_key(scene, contents[scene.id]) for scene in scenes]
        with self.database.transaction() as session:
            outputs = raw_outputs(
                session, list(filter(None, keys)), reader.name, _configuration(reader)
            )
        return [
            (scene, outputs.get(key or ""))
            for scene, key in zip(scenes, keys, strict=True)
        ]

    def _analyze_scene(
        self,
        scene: SceneFacts,
        content: str | None,
        results: list[ReaderResult],
        rejected: Collection[tuple[int, str, str, str]],
    ) -> None:
        """Make proposals from the results of a scene, and record both together.

        Proposing may ask Stash and can fail. Until it has returned, only the costs of
        reading are recorded. An outage ends the run. Any other error concerns only
        this scene, and the next run tries the scene again.
        """
        for reader, result in zip(self.readers, results, strict=True):
            self._note_cost(reader, result)
        reasons = [r.reason for r in results if r.reason is not None]
        try:
            proposals = [
                p
                for p in self.detectors.propose(scene, results)
                if (scene.id, p.field, p.value_key, p.detector) not in rejected
            ]
        except (ItemError, RefusedError) as error:
            self._failed(scene.id, "; ".join([*reasons, str(error)]))
            return
        except StashHogError:
            raise
        except Exception as error:
            logger.exception("Could not analyze scene %d", scene.id)
            self._failed(scene.id, "; ".join([*reasons, unexpected(error)]))
            return
        self.unsaved.append(
            _SceneOutcome(
                scene.id,
                proposals,
                self._new_outputs(results, content),
                self._marks(results, content),
                scene.file.oshash if scene.file else None,
                reasons,
            )
        )
        if reasons:
            self._failed(scene.id, "; ".join(reasons))
        else:
            self.analyzed += 1

    def _marks(
        self, results: list[ReaderResult], content: str | None
    ) -> list[ExaminedMark]:
        """Return marks for the detectors that have examined this content."""
        if content is None:
            return []
        failed = {
            reader.name
            for reader, result in zip(self.readers, results, strict=True)
            if result.reason is not None
        }
        return [
            ExaminedMark(content, name, version)
            for name, version in self.detectors.versions.items()
            if name not in failed
        ]

    def _new_outputs(
        self, results: list[ReaderResult], content: str | None
    ) -> list[RawOutput]:
        """Return the outputs of a scene that the result cache does not have."""
        outputs = []
        for reader, result in zip(self.readers, results, strict=True):
            key = reader.cache_key(result.scene, content)
            if result.is_new and key is not None and result.output is not None:
                configuration = _configuration(reader)
                outputs.append(
                    RawOutput(key, reader.name, configuration, result.output)
                )
        return outputs

    def _note_cost(self, reader: SceneReader, result: ReaderResult) -> None:
        """Record the time of reading a scene, or that the cache had its video."""
        if result.is_new:
            self.read_seconds.setdefault(reader.name, []).append(result.seconds)
        else:
            self.videos_from_cache += self.reads_videos and reader is self.readers[0]

    def _failed(self, scene_id: int, reason: str) -> None:
        logger.warning("Scene %d was not analyzed: %s", scene_id, reason)
        self.failures.append(ItemFailure(item=f"scene {scene_id}", reason=reason))

    def save(self, plan: PlanWriter) -> None:
        """Store all finished scenes in one transaction."""
        work = self.unsaved
        if work:
            plan.save(
                {finished.scene_id: finished.proposals for finished in work},
                lambda session: self._store(session, work),
            )
            self.by_field.update(p.field for done in work for p in done.proposals)
            self.unsaved = []
        self.saved = time.monotonic()

    def _store(self, session: Session, work: Sequence[_SceneOutcome]) -> None:
        store_outputs(session, [o for done in work for o in done.outputs])
        store_marks(session, [mark for done in work for mark in done.marks])
        examined = {done.scene_id: done.oshash for done in work if not done.reasons}
        if not examined:
            return
        session.execute(
            update(Scene).where(Scene.id == any_of(examined)).values(analyzed=True)
        )
        if self.reads_videos:
            _mark_videos(session, examined)

    def costs(self) -> Costs:
        """Return the costs of reading so far; cached outputs cost nothing."""
        costs: Costs = {}
        for reader in self.readers:
            of_reader: dict[str, Any] = dict(reader.costs())
            if seconds := self.read_seconds.get(reader.name):
                of_reader |= {"looks": len(seconds), "seconds": round(sum(seconds), 3)}
            if of_reader:
                costs[reader.name] = of_reader
        return costs

    def facts(self, earlier: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts about the run that are stored with its plan.

        Args:
            earlier: The facts of an earlier try; its time and costs are added.
        """
        seconds = time.monotonic() - self.started + earlier.get("seconds", 0)
        return {
            "scenes": self.total,
            "scenes_analyzed": self.analyzed,
            "videos_from_cache": self.videos_from_cache,
            "changes": dict(self.by_field),
            "seconds": round(seconds, 3),
            "costs": add_costs(earlier.get("costs", {}), self.costs()),
            "deferred": self.deferred,
            "options": self.params.model_dump(mode="json", exclude={"scene_ids"}),
            "failures": [f.model_dump() for f in self.failures[:_KEPT_FAILURES]],
        }

    def result(self, plan: PlanWriter) -> AnalysisResult:
        """Return the result of the run so far."""
        troubled = self.failures or self.deferred
        left = self.total - self.done
        return AnalysisResult(
            status="completed_with_errors" if troubled else "completed",
            plan_id=plan.plan_id,
            scenes_analyzed=self.analyzed,
            scenes_left=0 if self.deferred else left,
            scenes_deferred=left if self.deferred else 0,
            deferred=self.deferred,
            changes_proposed=plan.changes,
            changes_approved=plan.approved,
            costs=self.costs(),
            errors=tuple(self.failures),
        )


def _mark_videos(session: Session, examined: Mapping[int, str | None]) -> None:
    """Mark the scenes whose primary file is still the file that was examined.

    This transaction has locked the rows: no sync replaces a file at the same time.
    """
    now = session.execute(
        select(Scene.id, primary_oshash()).where(Scene.id == any_of(examined))
    )
    same = [scene_id for scene_id, oshash in now if oshash == examined[scene_id]]
    session.execute(
        update(Scene).where(Scene.id == any_of(same)).values(video_analyzed=True)
    )
    if replaced := len(examined) - len(same):
        logger.info(
            "The file of %d scenes was replaced during the analysis: "
            "the next run analyzes these scenes again",
            replaced,
        )


def _configuration(reader: SceneReader) -> str:
    return f"{reader.version};{reader.configuration}"
