"""The job `analysis`: look at scenes, propose changes, mark what was really seen."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from stashhog_core.analysis.detection import (
    Detection,
    TagLookup,
    versions,
    video_reader,
)
from stashhog_core.analysis.known_names import known_names
from stashhog_core.analysis.looking import Looked, look_at
from stashhog_core.analysis.plan_writing import (
    PlanOptions,
    PlanWriter,
    rejected_before,
)
from stashhog_core.analysis.proposals import Proposal
from stashhog_core.analysis.scenes import SceneFacts, read_scenes
from stashhog_core.analysis.seen import (
    Mark,
    RawOutput,
    content_hash,
    keep_marks,
    keep_outputs,
    raw_outputs,
)
from stashhog_core.analysis.taken_away import remember_taken_away
from stashhog_core.analysis.trust import trust_of
from stashhog_core.analysis.video import VideoReader
from stashhog_core.db.models import Scene
from stashhog_core.db.scenes import SceneFilter, matching_scene_ids
from stashhog_core.db.session import Database
from stashhog_core.errors import Deferred
from stashhog_core.params import AnalysisParams
from stashhog_core.paths import PathMap
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult, ItemFailure
from stashhog_core.settings import Settings

logger = logging.getLogger(__name__)

SCENES_PER_READ = 200
"""Scenes read from the mirror at a time, so that memory stays flat."""

SAVE_AFTER_SECONDS = 10.0
"""A killed run loses at most so much work, and a quick one writes once."""

_KEPT_FAILURES = 100


def unanalyzed_scene_ids(session: Session) -> list[int]:
    """Return the scenes whose video was not analysed yet, newest first."""
    return list(
        session.scalars(
            select(Scene.id)
            .where(~Scene.video_analyzed, Scene.missing_since.is_(None))
            .order_by(Scene.created_at.desc(), Scene.id.desc())
        )
    )


def chosen_scene_ids(session: Session, params: AnalysisParams) -> list[int]:
    """Return the scenes a run is for: the named ones, else by filter, newest first.

    Without a name and without a filter these are all not yet video-analysed.
    """
    if params.scene_ids is not None:
        return list(dict.fromkeys(params.scene_ids))
    which = SceneFilter(
        video_analyzed=None if params.include_analyzed else False,
        tag=params.tag,
        performer=params.performer,
        studio=params.studio,
        text=params.query,
    )
    return matching_scene_ids(session, which, params.limit)


def analyze(
    settings: Settings,
    stash: TagLookup,
    database: Database,
    params: AnalysisParams,
    progress: Progress,
    *,
    run_id: str,
    video: VideoReader | None = None,
) -> AnalysisResult:
    """Propose changes for scenes, as one plan; none if there is nothing to change.

    A scene is marked as analysed in the transaction that stores its changes, and only
    if every detector asked for has really seen it. A scene that fails is reported and
    stays unmarked, with what the other detectors found; the next ones go on.

    Args:
        settings: Where files are, thresholds, the AI server.
        stash: Looks up tags that the mirror does not have yet.
        database: The mirror and the plans.
        params: Which scenes, which detectors.
        progress: Reports each scene; a stop keeps the finished ones and closes the
            plan as a draft.
        run_id: The run; coming again with the same one continues its plan.
        video: What looks at videos; None: what the settings say.

    Raises:
        ConfigurationError: Title cards are asked for and cannot be read here.
        AnalysisDeferred: The AI server is away. Scenes not yet seen stay unanalysed;
            the error's `result` has what was finished.
        TransientError: Stash or the database is down; likewise.
        JobCancelled: A stop was asked for.
    """
    with ExitStack() as resources:
        if not params.detect_video_tags:
            video = None
        elif video is None:
            video = resources.enter_context(video_reader(settings, progress.checkpoint))
        with database.transaction() as session:
            finder = known_names(session)
            scene_ids = chosen_scene_ids(session, params)
            trust = trust_of(session, settings.analysis)
        run = _Run(
            database=database,
            params=params,
            video=video,
            path_map=PathMap(settings.stash.path_map),
            detection=Detection(settings, params, video, finder, stash),
            detectors=versions(params, video),
            total=len(scene_ids),
            deadline=None
            if params.max_minutes is None
            else time.monotonic() + 60 * params.max_minutes,
        )
        options = PlanOptions(
            name=params.plan_name or f"Analysis - {len(scene_ids)} scenes",
            run_id=run_id,
            detectors=run.detectors,
            auto_approve=params.auto_approve,
            trust=trust,
        )
        plan = PlanWriter(database, options, run.facts)
        try:
            with plan:
                try:
                    for start in range(0, len(scene_ids), SCENES_PER_READ):
                        ids = scene_ids[start : start + SCENES_PER_READ]
                        run.analyze_page(ids, plan, progress)
                        if run.is_late():
                            break
                except Deferred as error:
                    run.deferred = str(error)
                    raise
                finally:
                    run.save(plan)
        except Deferred as error:
            raise AnalysisDeferred(
                error.what, error.where, error.remedy, run.result(plan)
            ) from error
        return run.result(plan)


class AnalysisDeferred(Deferred):
    """A service is away. `result` has what was finished, and how much was not."""

    def __init__(
        self, what: str, where: str, remedy: str, result: AnalysisResult
    ) -> None:
        super().__init__(what, where, remedy)
        # Pickling calls the class with these.
        self.args = (what, where, remedy, result)
        self.result = result


@dataclass
class _Unsaved:
    """Finished scenes that are not in the database yet."""

    proposals: dict[int, list[Proposal]] = field(default_factory=dict)
    outputs: list[RawOutput] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)


@dataclass
class _Run:
    database: Database
    params: AnalysisParams
    video: VideoReader | None
    path_map: PathMap
    detection: Detection
    detectors: dict[str, str]
    total: int
    deadline: float | None = None
    deferred: str | None = None
    done: int = 0
    analyzed: int = 0
    from_cache: int = 0
    failures: list[ItemFailure] = field(default_factory=list)
    by_field: Counter[str] = field(default_factory=Counter)
    unsaved: _Unsaved = field(default_factory=_Unsaved)
    started: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)

    def analyze_page(
        self, scene_ids: list[int], plan: PlanWriter, progress: Progress
    ) -> None:
        """Analyse some scenes, in their order."""
        with self.database.transaction() as session:
            scenes = read_scenes(session, scene_ids)
            remember_taken_away(session, scene_ids)
            rejected = rejected_before(session, scene_ids)
        hashes = {
            scene_id: content_hash(scene, self.path_map)
            for scene_id, scene in scenes.items()
        }
        known = self._known_outputs(filter(None, hashes.values()))

        def there() -> Iterator[tuple[SceneFacts, Mapping[str, Any] | None]]:
            for scene_id in scene_ids:
                scene = scenes.get(scene_id)
                if scene is None or scene.missing:
                    self._failed(scene_id, "Stash has no such scene: run a sync first")
                    self.done += 1
                    continue
                yield scene, known.get(hashes[scene_id] or "")

        self._report(progress)
        for looked in self._looked(there(), progress):
            scene_id = looked.scene.id
            proposals = self._analyze_scene(looked, hashes[scene_id])
            self.unsaved.proposals[scene_id] = [
                p
                for p in proposals
                if (scene_id, p.field, p.value_key, p.detector) not in rejected
            ]
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
            self.done / self.total, f"Analysed {self.done}/{self.total} scenes"
        )

    def _looked(
        self,
        scenes: Iterable[tuple[SceneFacts, Mapping[str, Any] | None]],
        progress: Progress,
    ) -> Iterator[Looked]:
        if self.video is None:
            return (Looked(scene, None) for scene, _ in scenes)
        return look_at(self.video, scenes, progress)

    def _known_outputs(self, hashes: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        if self.video is None:
            return {}
        with self.database.transaction() as session:
            return raw_outputs(
                session, list(hashes), self.video.name, self._configuration()
            )

    def _configuration(self) -> str:
        if self.video is None:
            return ""
        return f"{self.video.version};{self.video.configuration}"

    def _analyze_scene(self, looked: Looked, content: str | None) -> list[Proposal]:
        """Return the scene's proposals; note it as seen or as failed."""
        scene, detectors = looked.scene, dict(self.detectors)
        if self.video is not None:
            if looked.reason is not None:
                del detectors[self.video.name]
            elif not looked.is_new:
                self.from_cache += 1
            elif content is not None and looked.output is not None:
                key = (content, self.video.name, self._configuration())
                self.unsaved.outputs.append(RawOutput(*key, looked.output))
        proposals = self.detection.propose(scene, looked.output, looked.reason)
        if content is not None:
            self.unsaved.marks += [
                Mark(content, name, version) for name, version in detectors.items()
            ]
        if looked.reason is None:
            self.analyzed += 1
            self.unsaved.seen.append(scene.id)
        else:
            self._failed(scene.id, looked.reason)
        return proposals

    def _failed(self, scene_id: int, reason: str) -> None:
        logger.warning("Scene %d was not analysed: %s", scene_id, reason)
        self.failures.append(ItemFailure(item=f"scene {scene_id}", reason=reason))

    def save(self, plan: PlanWriter) -> None:
        """Store what is finished, all of it or nothing."""
        work = self.unsaved
        if work.proposals:
            plan.save(work.proposals, self._keep_what_was_seen)
            self.by_field.update(
                proposal.field
                for proposals in work.proposals.values()
                for proposal in proposals
            )
            self.unsaved = _Unsaved()
        self.saved = time.monotonic()

    def _keep_what_was_seen(self, session: Session) -> None:
        keep_outputs(session, self.unsaved.outputs)
        keep_marks(session, self.unsaved.marks)
        flags = {"analyzed": True}
        if self.video is not None:
            flags["video_analyzed"] = True
        if self.unsaved.seen:
            session.execute(
                update(Scene).where(Scene.id.in_(self.unsaved.seen)).values(**flags)
            )

    def facts(self) -> dict[str, Any]:
        """Return what is kept of the run with its plan."""
        return {
            "scenes": self.total,
            "scenes_analyzed": self.analyzed,
            "videos_from_cache": self.from_cache,
            "changes": dict(self.by_field),
            "seconds": round(time.monotonic() - self.started, 3),
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
            errors=tuple(self.failures),
        )
