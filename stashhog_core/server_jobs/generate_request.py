"""What a generate run sends to Stash and notes with it: which scenes, and when."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import time as clock_time
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.generated import incomplete_scenes, media_basis, newest_first
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, TransientError, first_problem
from stashhog_core.params import StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.server_jobs.media_check import FLAGS
from stashhog_core.server_jobs.tracking import ServerJob
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient

PROFILES: dict[str, dict[str, Any]] = {
    "quick": {
        "sprites": False,
        "markers": False,
        "clipPreviews": False,
        "imageThumbnails": False,
        "previewSegments": 6,
        "previewPreset": "veryfast",
    },
    "full": {
        "imagePreviews": True,
        "markerImagePreviews": True,
        "interactiveHeatmapsSpeeds": True,
        "previewPreset": "slower",
    },
}
"""The named parameter sets that are always there."""

_BASIS = "basis"
# What only steers our own run.
_NOT_FOR_STASH = {
    "scene_ids",
    "marker_ids",
    "incremental",
    "retry_unmakeable",
    "profile",
    "only_missing",
    "chunk_size",
    "order",
    "when_idle",
    "allowed_hours",
    "server",
}


@dataclass(frozen=True)
class Chunk:
    """What one job of the server is asked for.

    `tracked` are the scenes of it that are to be marked.
    """

    params: StashGenerateParams
    sent: tuple[int, ...] = ()
    tracked: tuple[int, ...] = ()
    marker_ids: tuple[int, ...] = ()


def with_profile(
    params: StashGenerateParams, settings: StashSettings
) -> StashGenerateParams:
    """Return the parameters with those of their profile under them.

    A parameter that is not at its default goes before the profile.

    Raises:
        ConfigurationError: There is no such profile, or it holds what is not allowed;
            or what was found missing is asked for of a server that is not mirrored.
    """
    if params.only_missing and params.server is not None:
        raise ConfigurationError(
            "`onlyMissing` works only on your main Stash server",
            where=f"server {params.server!r}",
            remedy="leave `server` empty, or name the scenes in `sceneIDs`",
        )
    if params.profile is None:
        return params
    profiles = {**PROFILES, **settings.generate_profiles}
    profile = profiles.get(params.profile)
    if profile is None:
        raise ConfigurationError(
            f"There is no generate profile {params.profile!r}",
            where=f"known are {', '.join(profiles)}",
            remedy="add the profile to STASHHOG_STASH__GENERATE_PROFILES",
        )
    given = params.model_dump(by_alias=True, exclude_defaults=True)
    try:
        return StashGenerateParams.model_validate({**profile, **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"The generate profile {params.profile!r} is not valid",
            where=".".join(str(part) for part in first["loc"]),
            remedy=first_problem(error),
        ) from error


def generate_input(
    params: StashGenerateParams,
    scene_ids: Sequence[int],
    marker_ids: Sequence[int] = (),
) -> dict[str, Any]:
    """Return the request as Stash takes it."""
    flat = params.model_dump(by_alias=True, exclude=_NOT_FOR_STASH)
    wire: dict[str, Any] = {}
    if scene_ids:
        wire["sceneIDs"] = [str(scene_id) for scene_id in scene_ids]
    if marker_ids:
        wire["markerIDs"] = [str(marker_id) for marker_id in marker_ids]
    preview: dict[str, Any] = {}
    for name, value in flat.items():
        is_option = name.startswith("preview") and name != "previews"
        (preview if is_option else wire)[name] = value
    return {**wire, "previewOptions": preview}


def into_chunks(
    database: Database,
    params: StashGenerateParams,
    sent: Sequence[int],
    tracked: Sequence[int],
    marker_ids: Sequence[int] = (),
) -> list[Chunk]:
    """Divide what is to be sent into what each server job is asked for.

    `sent` are scenes, as they were named or by id, `tracked` those of them that are to
    be marked.
    """
    if not sent:
        return [Chunk(params, marker_ids=tuple(marker_ids))] if marker_ids else []
    if params.order == "newest":
        # Ids rise with time; the mirror knows nothing of an additional server's scenes.
        sent = sorted(sent, reverse=True)
        if params.server is None:
            with database.transaction() as session:
                sent = newest_first(session, sent)
    elif params.order == "id" and params.chunk_size is not None:
        sent = sorted(sent)
    groups: list[tuple[StashGenerateParams, Sequence[int]]] = [(params, sent)]
    if params.only_missing:
        with database.transaction() as session:
            groups = [*_by_need(params, sent, incomplete_scenes(session))]
    to_mark = frozenset(tracked)
    chunks = []
    for asked, scene_ids in groups:
        for batch in batched(scene_ids, params.chunk_size or len(scene_ids)):
            marks = tuple(scene_id for scene_id in batch if scene_id in to_mark)
            chunks.append(Chunk(asked, tuple(batch), marks))
    if marker_ids and chunks:
        first = chunks[0]
        chunks[0] = Chunk(first.params, first.sent, first.tracked, tuple(marker_ids))
    return chunks


def _by_need(
    params: StashGenerateParams,
    scene_ids: Sequence[int],
    missing: Mapping[int, Sequence[str]],
) -> list[tuple[StashGenerateParams, list[int]]]:
    """Group scenes by what they lack; what was not asked for is not made."""
    groups: dict[frozenset[str], list[int]] = {}
    for scene_id in scene_ids:
        flags = {FLAGS[kind] for kind in missing.get(scene_id, ()) if kind in FLAGS}
        wanted = frozenset(flag for flag in flags if getattr(params, flag))
        if wanted:
            groups.setdefault(wanted, []).append(scene_id)
    return [(_only(params, wanted), ids) for wanted, ids in groups.items()]


def _only(params: StashGenerateParams, wanted: frozenset[str]) -> StashGenerateParams:
    flags = {flag: flag in wanted for flag in FLAGS.values()}
    # Stash makes these beside the videos they belong to, or not at all.
    flags["previews"] |= flags["image_previews"]
    flags["markers"] |= flags["marker_image_previews"] or flags["marker_screenshots"]
    return params.model_copy(update=flags)


def is_allowed_at(hours: str | None, now: clock_time) -> bool:
    """Tell whether a time of day lies in a span such as 22:00-06:30."""
    if hours is None:
        return True
    start, end = (clock_time.fromisoformat(part) for part in hours.split("-"))
    if start <= end:
        return start <= now < end or start == end
    return now >= start or now < end


def wait_for_turn(
    stash: StashClient,
    params: StashGenerateParams,
    progress: Progress,
    *,
    label: str,
    settings: StashSettings,
) -> None:
    """Return when the parameters allow a job to be started.

    Raises:
        TransientError: Stash was away for too long.
        JobCancelled: A stop was asked for.
    """
    away_since: float | None = None
    while True:
        # The hours are those of whoever sits at this machine.
        now = datetime.now().astimezone().time()
        if not is_allowed_at(params.allowed_hours, now):
            why = f"Waiting for {params.allowed_hours}..."
        elif not params.when_idle:
            return
        else:
            try:
                queue = stash.job_queue()
            except TransientError:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since >= settings.outage_limit_seconds:
                    raise
                why = "Waiting for Stash to come back..."
            else:
                if not queue:
                    return
                away_since = None
                why = f"Waiting for Stash to be idle ({len(queue)} jobs)..."
        progress.update(None, f"{label}: {why}")
        progress.sleep(settings.poll_interval_seconds)


def to_note(session: Session, chunk: Chunk) -> dict[str, Any]:
    """Return what a job is asked for, and what its scenes' media will be made of.

    Read before the job starts: whatever changes later may come too late for it.
    """
    noted = chunk.params.model_dump(
        mode="json", by_alias=True, exclude={"scene_ids", "marker_ids"}
    )
    if chunk.marker_ids:
        noted["markerIDs"] = list(chunk.marker_ids)
    if chunk.tracked:
        basis = media_basis(session, chunk.tracked)
        noted[_BASIS] = [basis.get(scene_id) for scene_id in chunk.tracked]
    return noted


def asked_of(server_job: ServerJob) -> StashGenerateParams | None:
    """Return what a job was asked for; None: that was not noted."""
    asked = {k: v for k, v in (server_job.asked or {}).items() if k != _BASIS}
    return StashGenerateParams.model_validate(asked) if asked else None


def basis_of(server_job: ServerJob) -> Mapping[int, int]:
    """Return what the media of a job's scenes was made of, as far as it was noted."""
    noted = (server_job.asked or {}).get(_BASIS)
    if noted is None:
        return {}
    rows = zip(server_job.scene_ids, noted, strict=True)
    return {scene_id: basis for scene_id, basis in rows if basis is not None}
