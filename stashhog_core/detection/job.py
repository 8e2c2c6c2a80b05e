"""The job `analysis`: examine scenes, propose changes, and mark examined scenes."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.models import JobReport
from stashhog_core.db.scenes import SceneFilter, matching_scene_ids
from stashhog_core.db.session import Database
from stashhog_core.detection.known_names import load_name_finder
from stashhog_core.detection.readers import SceneReader
from stashhog_core.detection.registry import (
    Detectors,
    stash_boxes,
    text_models,
    video_reader,
)
from stashhog_core.detection.release import StudioHabits, read_habits
from stashhog_core.detection.run import AnalysisRun
from stashhog_core.errors import Deferred
from stashhog_core.params import AnalysisParams
from stashhog_core.paths import PathMap
from stashhog_core.plans.trust import trust_of
from stashhog_core.plans.writer import PlanOptions, PlanWriter
from stashhog_core.progress import Progress, deadline_after
from stashhog_core.results import AnalysisResult
from stashhog_core.settings import Settings
from stashhog_core.stash.client import StashClient

logger = logging.getLogger(__name__)

SCENES_PER_READ = 200
"""Scenes read from the mirror at a time, so that memory stays flat."""

AUTO_VIDEO_ANALYSIS = "auto_video_analysis"
_SCENE_PREFIX = "scene "


def unanalyzed_scene_ids(session: Session) -> list[int]:
    """Return the scenes whose video has not been analyzed, newest first."""
    return matching_scene_ids(session, SceneFilter(video_analyzed=False))


def next_scenes(session: Session, size: int, *, failed_since: datetime) -> list[int]:
    """Return up to `size` scenes not yet video-analyzed, newest first.

    Scenes that failed in an automatic run come last, so that a few broken videos do
    not delay all older scenes.

    Args:
        session: Open session; nothing is written.
        size: Maximum number of scenes.
        failed_since: Failures of runs that ended before this time do not count.
    """
    ids = unanalyzed_scene_ids(session)
    reports = session.scalars(
        select(JobReport.report["errors"]).where(
            JobReport.job == AUTO_VIDEO_ANALYSIS, JobReport.finished_at >= failed_since
        )
    )
    failed = {
        int(error["item"].removeprefix(_SCENE_PREFIX))
        for errors in reports
        for error in errors or ()
        if error["item"].removeprefix(_SCENE_PREFIX).isdecimal()
    }
    return sorted(ids, key=failed.__contains__)[:size]


def chosen_scene_ids(session: Session, params: AnalysisParams) -> list[int]:
    """Return the scenes of a run: those with the given ids, else by filter.

    Scenes chosen by filter come newest first. Without ids and without a filter, these
    are all scenes whose video has not been analyzed.
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
    stash: StashClient,
    database: Database,
    params: AnalysisParams,
    progress: Progress,
    *,
    run_id: str,
    video: SceneReader | None = None,
    deadline: datetime | None = None,
) -> AnalysisResult:
    """Propose changes for scenes as one plan; there is no plan without a change.

    A scene is marked as analyzed in the transaction that stores its changes, and only
    if every requested detector has examined the scene. A scene that fails is reported
    and stays unmarked, but keeps the changes that other detectors found; the run
    continues with the next scene.

    Args:
        settings: Paths, thresholds, the AI server, the models.
        stash: Looks up tags that the mirror lacks.
        database: The mirror and the plans.
        params: Selects scenes and detectors.
        progress: Reports each scene; a stop keeps the finished scenes and closes the
            plan as a draft.
        run_id: Id of the run; another call with this id continues its plan.
        video: The reader of videos; None: the reader of the settings.
        deadline: When to begin no further scene; None: `params` says after how long.

    Raises:
        ConfigurationError: A requested reader cannot be used on this machine.
        AnalysisDeferred: The AI server, the text model or a stash-box is unavailable.
            The remaining scenes stay unanalyzed; the error's `result` has the finished
            ones.
        TransientError: Stash or the database is unavailable.
        JobCancelled: A stop was requested.
    """
    with ExitStack() as resources:
        with database.transaction() as session:
            finder = load_name_finder(session)
            scene_ids = chosen_scene_ids(session, params)
            trust = trust_of(session, settings.analysis)
        if params.detect_video_tags and video is None:
            video = resources.enter_context(
                video_reader(settings, params, progress.checkpoint)
            )
        readers = [video] if video is not None and params.detect_video_tags else []
        readers += resources.enter_context(text_models(settings, params, finder))
        readers += stash_boxes(settings, params, stash, database)
        run = AnalysisRun(
            database=database,
            params=params,
            readers=readers,
            reads_videos=params.detect_video_tags,
            path_map=PathMap(settings.stash.path_map),
            detectors=Detectors(
                settings, params, readers, finder, stash, _habits_of_studios(database)
            ),
            total=len(scene_ids),
            deadline=deadline or deadline_after(params.max_minutes),
        )
        options = PlanOptions(
            name=params.plan_name or f"Analysis - {len(scene_ids)} scenes",
            run_id=run_id,
            detectors=run.detectors.versions,
            auto_approve=params.auto_approve,
            trust=trust,
        )
        plan = PlanWriter(database, options, run.facts)
        try:
            with plan:
                _analyze_all(run, scene_ids, plan, progress)
        except Deferred as error:
            raise AnalysisDeferred(
                error.what, error.where, error.remedy, run.result(plan)
            ) from error
        if params.auto_approve and plan.changes > plan.approved:
            logger.warning(
                "Plan %d keeps %d of %d changes open for a person to decide on, "
                "because several values are possible",
                plan.plan_id,
                plan.changes - plan.approved,
                plan.changes,
            )
        return run.result(plan)


def _habits_of_studios(database: Database) -> Callable[[int], StudioHabits]:
    """Return a reader of what a studio's scenes prove; it asks once for each studio."""

    @cache
    def habits(studio_id: int) -> StudioHabits:
        with database.transaction() as session:
            return read_habits(session, studio_id)

    return habits


def _analyze_all(
    run: AnalysisRun, scene_ids: list[int], plan: PlanWriter, progress: Progress
) -> None:
    try:
        for ids in batched(scene_ids, SCENES_PER_READ):
            run.analyze_page(ids, plan, progress)
            if run.is_late():
                break
    except Deferred as error:
        run.deferred = str(error)
        raise
    finally:
        run.save(plan)


class AnalysisDeferred(Deferred):
    """A service is unavailable. `result` has the finished part of the run."""

    def __init__(
        self, what: str, where: str, remedy: str, result: AnalysisResult
    ) -> None:
        super().__init__(what, where, remedy)
        # Pickling calls the class with these.
        self.args = (what, where, remedy, result)
        self.result = result
