"""Having Stash generate media for scenes: the job `stash_generate`.

Stash reports success whatever became of the single scenes. So the flag `generated` is
set only after looking, and by default for all scenes of the run or for none.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stashhog_core.db.generated import mark_generated, scenes_not_generated
from stashhog_core.db.session import Database
from stashhog_core.db.stash_jobs import close_job
from stashhog_core.errors import TransientError
from stashhog_core.params import StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, StashGenerateResult
from stashhog_core.server_job import (
    ServerJob,
    find_started,
    follow_to_end,
    is_cancellation,
    settle_cancelled,
    start,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Job, MediaPaths

logger = logging.getLogger(__name__)

SAMPLE_SIZE = 200
"""Scenes whose media is looked at before all are marked."""

ERRORS_SHOWN = 500
"""Scenes without media that the result lists."""

_LABEL = "Generate metadata"
_PROBES_AT_A_TIME = 8
# The server's work is nearly all of it; looking at the outcome is the rest.
_SERVER_SHARE = 0.95


@dataclass(frozen=True)
class _Selection:
    """What is sent to Stash, and which of it is to be marked."""

    sent: list[int]
    tracked: list[int]
    unknown: list[ItemFailure]


def generate(
    stash: StashClient,
    database: Database,
    params: StashGenerateParams,
    progress: Progress,
    *,
    run_id: str,
    settings: StashSettings,
) -> StashGenerateResult:
    """Have Stash generate media, then mark the scenes that lacked it.

    All or nothing: an error, a cancellation or one scene whose media is missing
    afterwards leaves every `generated` flag as it was. With `params.incremental` the
    scenes that are proven complete are marked, whatever the others lack. Cancelling
    stops the job on the server.

    Args:
        stash: The server.
        database: The mirror, where the server job is noted too.
        params: Which scenes and which media. No scenes named: all in the mirror that
            are not marked; if there are none, no job is started.
        progress: Told how far Stash is.
        run_id: A run that is tried again under the same id follows its first job.
        settings: Poll interval.

    Raises:
        JobError: The server job failed, was cancelled in Stash, or was forgotten.
        TransientError: Stash was away for too long, or scenes vanished meanwhile.
    """
    start_time = datetime.now(UTC)
    logger.info("Starting Stash generate job %s", run_id)
    failures: list[ItemFailure] = []
    try:
        server_job = find_started(stash, database, run_id=run_id, kind="generate")
        if server_job is None:
            selection = _select(stash, database, params)
            failures += selection.unknown
            if not selection.sent:
                logger.info("No scenes to generate for: no Stash job is started")
                return _result(run_id, None, start_time, failures=failures)
            wire = generate_input(params, selection.sent)
            server_job = start(
                stash,
                database,
                lambda: stash.start_generate(wire),
                run_id=run_id,
                kind="generate",
                scene_ids=selection.tracked,
            )
        job = follow_to_end(
            stash,
            database,
            server_job,
            progress.within(0.0, _SERVER_SHARE),
            label=_LABEL,
            settings=settings,
        )
        _check_not_dropped(stash, database, server_job, job)
        lacking = _lacking_media(
            stash, params, server_job.scene_ids, progress.within(_SERVER_SHARE, 1.0)
        )
        proven = _proven(server_job.scene_ids, lacking, incremental=params.incremental)
        with database.transaction() as session:
            marked = mark_generated(session, proven) if proven else []
            close_job(session, server_job.row_id, "finished")
    except BaseException as error:
        if is_cancellation(error):
            settle_cancelled(stash, database, run_id=run_id, kind="generate")
        raise
    logger.info("Updated generated attribute for %d scenes", len(marked))
    failures += _as_failures(lacking)
    progress.update(1.0, f"{_LABEL}: Completed")
    return _result(run_id, job, start_time, marked=marked, failures=failures)


def generate_input(
    params: StashGenerateParams, scene_ids: Sequence[int]
) -> dict[str, Any]:
    """Return the request as Stash takes it."""
    flat = params.model_dump(by_alias=True, exclude={"scene_ids", "incremental"})
    wire: dict[str, Any] = {"sceneIDs": [str(scene_id) for scene_id in scene_ids]}
    preview: dict[str, Any] = {}
    for name, value in flat.items():
        is_option = name.startswith("preview") and name != "previews"
        (preview if is_option else wire)[name] = value
    return {**wire, "previewOptions": preview}


def _select(
    stash: StashClient, database: Database, params: StashGenerateParams
) -> _Selection:
    """Choose the scenes, without those that Stash does not have.

    Stash drops the whole job, without a word, for one unknown id.
    """
    with database.transaction() as session:
        tracked = scenes_not_generated(session, params.scene_ids)
    logger.info("Found %d scenes without generated attribute", len(tracked))
    wanted = tracked if params.scene_ids is None else dict.fromkeys(params.scene_ids)
    existing = stash.existing_scene_ids(list(wanted)) if wanted else set()
    unknown = [scene_id for scene_id in wanted if scene_id not in existing]
    if unknown:
        logger.warning("%d scenes are not in Stash and are left out", len(unknown))
    return _Selection(
        sent=[scene_id for scene_id in wanted if scene_id in existing],
        tracked=[scene_id for scene_id in tracked if scene_id in existing],
        unknown=[
            ItemFailure(item=f"scene {scene_id}", reason="Stash has no such scene")
            for scene_id in unknown[:ERRORS_SHOWN]
        ],
    )


def _check_not_dropped(
    stash: StashClient, database: Database, server_job: ServerJob, job: Job
) -> None:
    """Make sure that the job was not dropped for a scene deleted since it was chosen.

    Raises:
        TransientError: It was; another try leaves that scene out.
    """
    # A job without a single task never gets to count. That is also so if there was
    # nothing to do, hence the second look.
    if job.progress is not None or not server_job.scene_ids:
        return
    ids = server_job.scene_ids
    gone = set(ids) - stash.existing_scene_ids(ids)
    if gone:
        with database.transaction() as session:
            close_job(session, server_job.row_id, "failed")
        raise TransientError(
            f"Stash did nothing, since {len(gone)} scenes were deleted meanwhile",
            where=f"scene {min(gone)}, for one",
            remedy="run this again",
        )


def _lacking_media(
    stash: StashClient,
    params: StashGenerateParams,
    scene_ids: Sequence[int],
    progress: Progress,
) -> dict[int, list[str]]:
    """Return what media is missing after all, per scene, of a sample or of all."""
    sample = list(scene_ids) if params.incremental else _spread(scene_ids)
    lacking: dict[int, list[str]] = {}
    if params.phashes:
        for scene_id in stash.scenes_lacking_phash(sample):
            lacking.setdefault(scene_id, []).append("phash")
    media, gone = stash.scene_media(sample)
    for scene_id in gone:
        lacking[scene_id] = ["scene"]
    probes = [
        (scene.id, kind, path)
        for scene in media
        for kind, path in _asked_for(params, scene.paths)
    ]
    for (scene_id, kind, _), exists in zip(
        probes, _probe_all(stash, probes, progress), strict=True
    ):
        if not exists:
            lacking.setdefault(scene_id, []).append(kind)
    return dict(sorted(lacking.items()))


def _asked_for(
    params: StashGenerateParams, paths: MediaPaths
) -> list[tuple[str, str | None]]:
    kinds = [
        ("cover", params.covers, paths.screenshot),
        ("preview", params.previews, paths.preview),
        # Stash makes the animated one from the video one, or not at all.
        ("webp", params.previews and params.image_previews, paths.webp),
        ("sprite", params.sprites, paths.sprite),
        ("vtt", params.sprites, paths.vtt),
    ]
    return [(kind, path) for kind, wanted, path in kinds if wanted]


def _probe_all(
    stash: StashClient,
    probes: Sequence[tuple[int, str, str | None]],
    progress: Progress,
) -> list[bool]:
    def look(probe: tuple[int, str, str | None]) -> bool:
        return probe[2] is not None and stash.media_exists(probe[2])

    found: list[bool] = []
    executor = ThreadPoolExecutor(_PROBES_AT_A_TIME, thread_name_prefix="probe")
    try:
        for exists in executor.map(look, probes):
            found.append(exists)
            progress.items(len(found), len(probes), f"{_LABEL}: Checking media")
    finally:
        executor.shutdown(cancel_futures=True)
    return found


def _spread(scene_ids: Sequence[int]) -> list[int]:
    """Return a sample, taken evenly from all."""
    total = len(scene_ids)
    if total <= SAMPLE_SIZE:
        return list(scene_ids)
    return [scene_ids[i * total // SAMPLE_SIZE] for i in range(SAMPLE_SIZE)]


def _proven(
    scene_ids: Sequence[int], lacking: dict[int, list[str]], *, incremental: bool
) -> list[int]:
    if incremental:
        return [scene_id for scene_id in scene_ids if scene_id not in lacking]
    if lacking:
        logger.warning(
            "%d scenes lack media that was asked for: none is marked", len(lacking)
        )
        return []
    return list(scene_ids)


def _as_failures(lacking: dict[int, list[str]]) -> list[ItemFailure]:
    shown = list(lacking.items())[:ERRORS_SHOWN]
    failures = [
        ItemFailure(item=f"scene {scene_id}", reason=f"lacks {', '.join(kinds)}")
        for scene_id, kinds in shown
    ]
    if more := len(lacking) - len(shown):
        failures.append(ItemFailure(item=f"{more} more scenes", reason="lack media"))
    return failures


def _result(
    run_id: str,
    job: Job | None,
    start_time: datetime,
    *,
    marked: Sequence[int] = (),
    failures: Sequence[ItemFailure] = (),
) -> StashGenerateResult:
    return StashGenerateResult(
        job_id=run_id,
        stash_job_id=str(job.id) if job else None,
        status="completed_with_errors" if failures else "completed",
        scenes_updated_count=len(marked),
        scenes_updated=tuple(str(scene_id) for scene_id in marked),
        start_time=start_time,
        end_time=datetime.now(UTC),
        errors=tuple(failures),
    )
