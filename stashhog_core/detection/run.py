"""One run of the analysis: scenes page by page, what was seen of them, what it cost."""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Text, func, literal, update
from sqlalchemy.orm import Session

from stashhog_core.db.models import Scene
from stashhog_core.db.primary_file import primary_oshash
from stashhog_core.db.session import Database
from stashhog_core.detection.parallel import Looked, look_at, unexpected
from stashhog_core.detection.reader import SceneReader
from stashhog_core.detection.registry import Detection
from stashhog_core.detection.result_cache import (
    Mark,
    RawOutput,
    content_hash,
    keep_marks,
    keep_outputs,
    raw_outputs,
)
from stashhog_core.detection.scene_facts import SceneFacts, read_scenes
from stashhog_core.errors import ItemError, RefusedError, StashHogError
from stashhog_core.params import AnalysisParams
from stashhog_core.paths import PathMap
from stashhog_core.plans.costs import Costs, added
from stashhog_core.plans.proposals import Proposal
from stashhog_core.plans.rejections import remember_taken_away
from stashhog_core.plans.writer import PlanWriter, rejected_before
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult, ItemFailure

logger = logging.getLogger(__name__)

SAVE_AFTER_SECONDS = 10.0
"""A killed run loses at most so much work, and a quick one writes once."""

_KEPT_FAILURES = 100


@dataclass(frozen=True)
class _Finished:
    """All that one scene's analysis leaves; made only once its proposals are known.

    One object per scene: an interruption between two notes of the same scene cannot
    leave a mark without the changes that the mark stands for.

    Attributes:
        outputs: What the readers saw anew.
        marks: The detectors that have seen the content.
        oshash: Of the file that was looked at.
        reasons: Why readers failed; the scene counts as analyzed only without any.
    """

    scene_id: int
    proposals: Sequence[Proposal]
    outputs: Sequence[RawOutput] = ()
    marks: Sequence[Mark] = ()
    oshash: str | None = None
    reasons: Sequence[str] = ()


@dataclass
class Run:
    """What a run of the analysis has, and what it has done so far.

    Attributes:
        readers: What looks at each scene, in this order; the video first.
        sees_videos: Whether one of them looks at the video.
        detectors: Name → version of all that was asked for.
        total: Scenes to be analyzed.
        deadline: When no further scene is begun, by the monotonic clock.
        deferred: Why the rest is put off.
    """

    database: Database
    params: AnalysisParams
    readers: Sequence[SceneReader]
    sees_videos: bool
    path_map: PathMap
    detection: Detection
    detectors: Mapping[str, str]
    total: int
    deadline: float | None = None
    deferred: str | None = None
    done: int = 0
    analyzed: int = 0
    videos_from_cache: int = 0
    failures: list[ItemFailure] = field(default_factory=list)
    by_field: Counter[str] = field(default_factory=Counter)
    looking: dict[str, list[float]] = field(default_factory=dict)
    unsaved: list[_Finished] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)

    def analyze_page(
        self, scene_ids: list[int], plan: PlanWriter, progress: Progress
    ) -> None:
        """Analyze some scenes, in their order."""
        with self.database.transaction() as session:
            found = read_scenes(session, scene_ids)
            remember_taken_away(session, scene_ids)
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
        for scene, content, looks in self._looked(scenes, progress):
            self._analyze_scene(scene, content, looks, rejected)
            self.done += 1
            if time.monotonic() - self.saved >= SAVE_AFTER_SECONDS:
                self.save(plan)
            self._report(progress)
            if self.is_late():
                return

    def is_late(self) -> bool:
        """Tell whether the time that the run was given is over."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _report(self, progress: Progress) -> None:
        progress.update(
            self.done / self.total, f"Analyzed {self.done}/{self.total} scenes"
        )

    def _looked(
        self, scenes: list[SceneFacts], progress: Progress
    ) -> Iterator[tuple[SceneFacts, str | None, list[Looked]]]:
        """Yield each scene, the hash of its content, and what each reader saw."""
        contents = {scene.id: content_hash(scene, self.path_map) for scene in scenes}
        with ExitStack() as streams:
            looks = [
                streams.enter_context(closing(look_at(reader, known, progress)))
                for reader in self.readers
                for known in [self._known(reader, scenes, contents)]
            ]
            for scene in scenes:
                yield scene, contents[scene.id], [next(stream) for stream in looks]

    def _known(
        self,
        reader: SceneReader,
        scenes: list[SceneFacts],
        contents: Mapping[int, str | None],
    ) -> list[tuple[SceneFacts, Mapping[str, Any] | None]]:
        """Return the scenes, each with what this reader saw of it before."""
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
        looks: list[Looked],
        rejected: Collection[tuple[int, str, str, str]],
    ) -> None:
        """Turn what was seen of a scene into proposals, and note both together.

        Proposing may ask Stash, and so may fail: until it has returned, nothing of
        the scene is noted but what looking has cost. An outage ends the run; an error
        that only this scene has, of whatever type, is the scene's, which is then left
        to the next run.
        """
        for reader, looked in zip(self.readers, looks, strict=True):
            self._note_cost(reader, looked)
        reasons = [looked.reason for looked in looks if looked.reason is not None]
        try:
            proposals = [
                p
                for p in self.detection.propose(scene, looks)
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
            _Finished(
                scene.id,
                proposals,
                self._new_outputs(looks, content),
                self._marks(looks, content),
                scene.file.oshash if scene.file else None,
                reasons,
            )
        )
        if reasons:
            self._failed(scene.id, "; ".join(reasons))
        else:
            self.analyzed += 1

    def _marks(self, looks: list[Looked], content: str | None) -> list[Mark]:
        """Return which detectors have seen this content: those that did not fail."""
        if content is None:
            return []
        failed = {
            reader.name
            for reader, looked in zip(self.readers, looks, strict=True)
            if looked.reason is not None
        }
        return [
            Mark(content, name, version)
            for name, version in self.detectors.items()
            if name not in failed
        ]

    def _new_outputs(self, looks: list[Looked], content: str | None) -> list[RawOutput]:
        """Return what the readers saw of a scene for the first time."""
        outputs = []
        for reader, looked in zip(self.readers, looks, strict=True):
            key = reader.cache_key(looked.scene, content)
            if looked.is_new and key is not None and looked.output is not None:
                configuration = _configuration(reader)
                outputs.append(
                    RawOutput(key, reader.name, configuration, looked.output)
                )
        return outputs

    def _note_cost(self, reader: SceneReader, looked: Looked) -> None:
        """Note what a look has cost."""
        if looked.is_new:
            self.looking.setdefault(reader.name, []).append(looked.seconds)
        else:
            self.videos_from_cache += self.sees_videos and reader is self.readers[0]

    def _failed(self, scene_id: int, reason: str) -> None:
        logger.warning("Scene %d was not analyzed: %s", scene_id, reason)
        self.failures.append(ItemFailure(item=f"scene {scene_id}", reason=reason))

    def save(self, plan: PlanWriter) -> None:
        """Store what is finished, all of it or nothing."""
        work = self.unsaved
        if work:
            plan.save(
                {finished.scene_id: finished.proposals for finished in work},
                lambda session: self._keep_what_was_seen(session, work),
            )
            self.by_field.update(p.field for done in work for p in done.proposals)
            self.unsaved = []
        self.saved = time.monotonic()

    def _keep_what_was_seen(self, session: Session, work: Sequence[_Finished]) -> None:
        keep_outputs(session, [o for done in work for o in done.outputs])
        keep_marks(session, [mark for done in work for mark in done.marks])
        seen = {done.scene_id: done.oshash for done in work if not done.reasons}
        if not seen:
            return
        session.execute(update(Scene).where(Scene.id.in_(seen)).values(analyzed=True))
        if self.sees_videos:
            _mark_videos(session, seen)

    def costs(self) -> Costs:
        """Return what looking has cost so far; the cache costs nothing."""
        costs: Costs = {}
        for reader in self.readers:
            of_reader: dict[str, Any] = dict(reader.costs())
            if looks := self.looking.get(reader.name):
                of_reader |= {"looks": len(looks), "seconds": round(sum(looks), 3)}
            if of_reader:
                costs[reader.name] = of_reader
        return costs

    def facts(self, earlier: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is kept of the run with its plan.

        Args:
            earlier: The same of an earlier try; its time and costs are added.
        """
        seconds = time.monotonic() - self.started + earlier.get("seconds", 0)
        return {
            "scenes": self.total,
            "scenes_analyzed": self.analyzed,
            "videos_from_cache": self.videos_from_cache,
            "changes": dict(self.by_field),
            "seconds": round(seconds, 3),
            "costs": added(earlier.get("costs", {}), self.costs()),
            "deferred": self.deferred,
            "options": self.params.model_dump(mode="json", exclude={"scene_ids"}),
            "failures": [f.model_dump() for f in self.failures[:_KEPT_FAILURES]],
        }

    def result(self, plan: PlanWriter) -> AnalysisResult:
        """Return what the caller is told."""
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


def _mark_videos(session: Session, seen: Mapping[int, str | None]) -> None:
    """Mark the scenes whose primary file is still the one that was looked at.

    Their rows are held by this transaction: no sync replaces a file meanwhile.
    """
    looked_at = (
        func.unnest(
            literal(list(seen), ARRAY(BigInteger)),
            literal(list(seen.values()), ARRAY(Text)),
        )
        .table_valued("id", "oshash")
        .render_derived("looked_at")
    )
    marked = session.scalars(
        update(Scene)
        .where(
            Scene.id == looked_at.c.id,
            looked_at.c.oshash.is_not_distinct_from(primary_oshash()),
        )
        .values(video_analyzed=True)
        .returning(Scene.id)
    ).all()
    if left := len(seen) - len(marked):
        logger.info("%d scenes got another file meanwhile: left to the next run", left)


def _configuration(reader: SceneReader) -> str:
    return f"{reader.version};{reader.configuration}"
