"""Which rows are old enough to go, and are proved not to be missed."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, func, or_, select, true
from sqlalchemy.orm import aliased

from stashhog_core.cleanup.findings import Findings
from stashhog_core.db.columns import Base
from stashhog_core.db.generated import basis_of_media
from stashhog_core.db.models import (
    DetectorMark,
    DownloadItem,
    JobReport,
    LibraryFile,
    MediaCheck,
    MirrorCheck,
    Picture,
    PlanChange,
    Scene,
    SceneFile,
    SceneFingerprint,
    StashJob,
    SyncRun,
    TaggerResult,
    UnmakeableMedia,
)
from stashhog_core.db.session import Database
from stashhog_core.detection.stash_box import NAME as STASH_BOX
from stashhog_core.downloads.configuration import listed_keys
from stashhog_core.params import CleanupParams, removal_limit
from stashhog_core.results.base import SUCCESSFUL
from stashhog_core.settings import Settings

logger = logging.getLogger(__name__)

_Expression = SQLColumnExpression[Any]


@dataclass(frozen=True)
class OldRows:
    """Rows of a table that may go."""

    kind: str
    model: type[Base]
    condition: ColumnElement[bool]
    label: _Expression
    order: _Expression


def old_history(settings: Settings, now: datetime) -> Iterator[OldRows]:
    """Name reports, syncs, checks and Stash jobs of long ago."""
    keep = settings.cleanup
    newest = (
        select(JobReport.run_id)
        .distinct(JobReport.job)
        .order_by(JobReport.job, JobReport.finished_at.desc())
    )
    yield OldRows(
        "job report",
        JobReport,
        (JobReport.finished_at < now - timedelta(days=keep.reports_days))
        # They say how long a job has been failing, and whether it ever succeeded.
        & JobReport.run_id.not_in(newest)
        & JobReport.run_id.not_in(newest.where(JobReport.status.in_(SUCCESSFUL))),
        func.concat_ws(" ", JobReport.finished_at, JobReport.job, JobReport.run_id),
        JobReport.finished_at,
    )
    before = now - timedelta(days=keep.sync_runs_days)
    newest_run = aliased(SyncRun)
    baseline = select(func.max(newest_run.id)).where(newest_run.baseline.is_not(None))
    yield OldRows(
        "sync run",
        SyncRun,
        (SyncRun.started_at < before)
        & (SyncRun.status != "running")
        # Without its baseline, a sync would look at every file again.
        & (SyncRun.id != func.coalesce(baseline.scalar_subquery(), 0)),
        func.concat_ws(" ", SyncRun.started_at, SyncRun.kind, SyncRun.id),
        SyncRun.started_at,
    )
    newest_check = aliased(MirrorCheck)
    verification = select(func.max(newest_check.id)).where(newest_check.proved)
    yield OldRows(
        "mirror check",
        MirrorCheck,
        (MirrorCheck.checked_at < before)
        & (MirrorCheck.id != func.coalesce(verification.scalar_subquery(), 0)),
        func.concat_ws(" ", MirrorCheck.checked_at, MirrorCheck.id),
        MirrorCheck.checked_at,
    )
    yield OldRows(
        "Stash job",
        StashJob,
        (StashJob.state != "open")
        & (StashJob.finished_at < now - timedelta(days=keep.stash_jobs_days)),
        func.concat_ws(" ", StashJob.finished_at, StashJob.kind, StashJob.stash_job_id),
        StashJob.finished_at,
    )


def orphaned_checks() -> Iterator[OldRows]:
    """Name what was noted of the media of scenes that the mirror has no longer."""
    scene = select(Scene.id).where(Scene.id == MediaCheck.scene_id)
    yield OldRows(
        "media check",
        MediaCheck,
        ~scene.exists(),
        MediaCheck.scene_id,
        MediaCheck.checked_at,
    )


def unused_pictures(settings: Settings, now: datetime) -> Iterator[OldRows]:
    """Name covers of long ago that no change proposes or could restore."""
    before = now - timedelta(days=settings.cleanup.tagger_results_days)
    used = select(PlanChange.id).where(
        PlanChange.field == "cover",
        or_(
            PlanChange.proposed["sha256"].astext == Picture.sha256,
            PlanChange.effect["before"].astext == Picture.sha256,
        ),
    )
    yield OldRows(
        "picture",
        Picture,
        (Picture.created_at < before) & ~used.exists(),
        Picture.sha256,
        Picture.created_at,
    )


def orphaned_unmakeable_media() -> Iterator[OldRows]:
    """Name what Stash could not make of a content that no scene has any more.

    An empty mirror proves nothing: it is filled again by the next sync.
    """
    in_use = select(basis_of_media()).select_from(Scene)
    yield OldRows(
        "unmakeable medium",
        UnmakeableMedia,
        select(Scene.id).exists() & UnmakeableMedia.content.not_in(in_use),
        func.concat_ws(" ", UnmakeableMedia.noted_at, UnmakeableMedia.reason),
        UnmakeableMedia.noted_at,
    )


def old_downloads(settings: Settings, now: datetime) -> Iterator[OldRows]:
    """Name the ledger's entries that arrived long ago and that the source has not.

    While the source has an entry, its rows keep it from being imported again. A source
    with none of the entries that the ledger knows proves nothing: it is the mount point
    of a missing disk, or another qBittorrent.
    """
    listed = listed_keys(settings)
    if listed is None:
        return
    before = now - timedelta(days=settings.cleanup.downloads_days)
    other = aliased(DownloadItem)
    is_open = (
        select(other.id)
        .where(
            other.source == DownloadItem.source,
            other.entry_key == DownloadItem.entry_key,
            other.state.not_in(["seen", "left_out"]) | (other.seen_at >= before),
        )
        .exists()
    )
    has_known = select(other.id).where(
        other.source == settings.downloads.source, other.entry_key.in_(sorted(listed))
    )
    arrived = select(other.id).where(
        other.source == DownloadItem.source,
        other.entry_key == DownloadItem.entry_key,
        other.state == "seen",
    )
    yield OldRows(
        "download",
        DownloadItem,
        (DownloadItem.source == settings.downloads.source)
        & has_known.exists()
        & (DownloadItem.entry_key != func.all(sorted(listed)))
        & arrived.exists()
        & ~is_open,
        func.concat_ws("/", DownloadItem.entry_name, DownloadItem.relative_path),
        DownloadItem.found_at,
    )


def old_tagger_results(
    settings: Settings,
    database: Database,
    params: CleanupParams,
    now: datetime,
    findings: Findings,
) -> Iterator[OldRows]:
    """Name what was seen in videos that are neither in Stash nor in the library.

    It is costly to get again. So nothing goes while the mirror does not know the hash
    of every file, and too much at once is held.
    """
    before = now - timedelta(days=settings.cleanup.tagger_results_days)
    # The answers of stash-boxes are kept by all hashes of a scene, not by its oshash,
    # and are asked for again anyway.
    of_boxes = TaggerResult.tagger == STASH_BOX
    yield OldRows(
        "answer of a stash-box",
        TaggerResult,
        of_boxes & (TaggerResult.created_at < before),
        TaggerResult.content_hash,
        TaggerResult.created_at,
    )
    with database.transaction() as session:
        scenes = session.scalar(select(func.count()).select_from(Scene)) or 0
        unhashed = session.scalar(select(func.count()).where(_lacks_oshash())) or 0
    if not scenes or unhashed:
        logger.info(
            "No tagger result is removed, because the hash of some videos is unknown"
        )
        return
    for kind, model, created, others in (
        ("tagger result", TaggerResult, TaggerResult.created_at, ~of_boxes),
        ("detector mark", DetectorMark, DetectorMark.seen_at, true()),
    ):
        content = model.content_hash
        in_stash = select(SceneFingerprint.value).where(
            SceneFingerprint.kind == "oshash", SceneFingerprint.value == content
        )
        on_disk = select(LibraryFile.oshash).where(LibraryFile.oshash == content)
        unused = others & (created < before) & ~in_stash.exists() & ~on_disk.exists()
        with database.transaction() as session:
            of_kind = select(func.count()).select_from(model).where(others)
            total = session.scalar(of_kind) or 0
            many = session.scalar(select(func.count()).where(unused)) or 0
        limit = removal_limit(total)
        if many > limit and not params.confirm_removals:
            findings.blocked.append(
                f"{many} of {total} {kind}s belong to videos that are "
                "no longer in Stash. This is more than the removal "
                f"limit of {limit}, so none was removed. If the videos "
                "are really gone, run cleanup with confirm_removals=true"
            )
            continue
        yield OldRows(kind, model, unused, content, created)


def _lacks_oshash() -> ColumnElement[bool]:
    """Match files of scenes of which the mirror has no oshash."""
    fingerprint = select(SceneFingerprint.file_id).where(
        SceneFingerprint.scene_id == SceneFile.scene_id,
        SceneFingerprint.file_id == SceneFile.file_id,
        SceneFingerprint.kind == "oshash",
    )
    return ~fingerprint.exists()
