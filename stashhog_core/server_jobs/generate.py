"""Having Stash generate media for scenes: the job `stash_generate`.

Stash reports success whatever became of the single scenes. So the flag `generated` is
set only after checking, for the scenes that are complete, once all jobs of the run have
ended well; never for a scene that got another file or other markers while the job was
running. What Stash cannot make of a file is remembered and not asked for again.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stashhog_core.db.generated import (
    Failed,
    Unmakeable,
    forget_unmakeable,
    has_unmakeable,
    incomplete_scenes,
    mark_generated,
    mirrored_phashes,
    note_unmakeable,
    scenes_not_generated,
    unmakeable_of,
)
from stashhog_core.db.manifest import forget_hashes
from stashhog_core.db.session import Database
from stashhog_core.errors import JobCancelled, StashHogError, TransientError
from stashhog_core.params import StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, StashGenerateResult
from stashhog_core.server_jobs.generate_request import (
    Chunk,
    asked_of,
    basis_of,
    generate_input,
    into_chunks,
    to_note,
    wait_for_turn,
    with_profile,
)
from stashhog_core.server_jobs.media_check import (
    Lacking,
    find_lacking,
    kinds_asked,
    listed_unmakeable,
    worded,
)
from stashhog_core.server_jobs.tracking import (
    ServerJob,
    WasCancelled,
    close,
    follow_to_end,
    is_cancellation,
    never_cancelled,
    only_one,
    reconcile,
    reconcile_cancelled,
    start,
)
from stashhog_core.server_jobs.unmakeable import why_failed
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Job

logger = logging.getLogger(__name__)

ERRORS_SHOWN = 500
"""Scenes without media that the result lists."""

CHECKED_TOGETHER = 2_000
"""Scenes whose media is checked in one go, so that memory stays flat."""

_LABEL = "Generate metadata"
_MARKER_KINDS = frozenset({"marker video", "marker preview", "marker screenshot"})
# The server's work is nearly all of it; checking the outcome is the rest.
_SERVER_SHARE = 0.95
# What others left is followed first, in this part of the bar.
_LEFT_SHARE = 0.5


def generate(
    stash: StashClient,
    database: Database,
    params: StashGenerateParams,
    progress: Progress,
    *,
    run_id: str,
    settings: StashSettings,
    was_cancelled: WasCancelled = never_cancelled,
) -> StashGenerateResult:
    """Have Stash generate media, then mark the scenes that lacked it.

    All or nothing, as far as Stash's jobs go: an error or a cancellation leaves every
    `generated` flag as it was. Once they have ended well, the scenes that are complete
    are marked, whatever the others lack; with `settings.all_or_nothing` only if no
    scene lacks anything. With `params.incremental` they are marked after each job.
    Cancelling stops the job on the server.

    What Stash cannot make of a scene's file is an error of the run that finds it out.
    Later runs do not ask for it again until the file or Stash's version changes, unless
    the scene is named or `params.retry_unmakeable` is set.

    Args:
        stash: The server that `params.server` names.
        database: The mirror, where the server jobs are noted too.
        params: Which scenes and which media. No scenes named: all in the mirror that
            are not marked; if there are none, no job is started.
        progress: Receives how far Stash is.
        run_id: A run that is tried again under the same id follows its first job.
        settings: Of that server.
        was_cancelled: Whether a run that is gone was asked to stop: its job is then
            stopped, and otherwise followed to its end first.

    Raises:
        ConfigurationError: The profile is unknown or wrong.
        JobError: The server job failed, was cancelled in Stash, or was forgotten.
        TransientError: Stash was away for too long, scenes vanished meanwhile, or
            another run is at it.
    """
    start_time, began = datetime.now(UTC), time.monotonic()
    logger.info("Starting Stash generate job %s", run_id)
    params = with_profile(params, settings)
    server = params.server or ""
    with only_one(database, "generate", server):
        run = _GenerateRun(stash, database, params, run_id, settings, was_cancelled)
        try:
            run.carry_out(progress)
        except BaseException as error:
            if is_cancellation(error):
                reconcile_cancelled(
                    stash, database, run_id=run_id, kind="generate", server=server
                )
            raise
    if run.job_ids:
        logger.info("Updated generated attribute for %d scenes", len(run.marked))
        progress.update(1.0, f"{_LABEL}: Completed")
    else:
        logger.info("No scene lacks generated media: no Stash job is started")
    return StashGenerateResult(
        job_id=run_id,
        stash_job_id=str(run.job_ids[-1]) if run.job_ids else None,
        stash_job_ids=tuple(str(job_id) for job_id in run.job_ids),
        status="completed_with_errors" if run.failures else "completed",
        scenes_updated_count=len(run.marked),
        scenes_updated=tuple(str(scene_id) for scene_id in run.marked),
        start_time=start_time,
        end_time=datetime.now(UTC),
        duration_seconds=round(time.monotonic() - began, 3),
        scenes_processed=run.processed,
        success_rate=run.share(run.checked - run.incomplete),
        failure_rate=run.share(run.incomplete),
        unmakeable_count=len(run.unmakeable),
        unmakeable=listed_unmakeable(run.unmakeable),
        errors=tuple(run.failures),
    )


def scenes_to_generate(
    stash: StashClient,
    database: Database,
    params: StashGenerateParams,
    settings: StashSettings,
) -> tuple[list[int], dict[int, Unmakeable]]:
    """Return the scenes without media, and apart those not to be asked for again.

    Named scenes are all asked for: somebody wants them made.
    """
    with database.transaction() as session:
        lacking = scenes_not_generated(session, params.scene_ids)
        is_asked_again = params.scene_ids is not None or params.retry_unmakeable
        if is_asked_again or settings.all_or_nothing:
            return lacking, {}
        if not lacking or not has_unmakeable(session):
            return lacking, {}
    version = stash.version()
    with database.transaction() as session:
        known = unmakeable_of(session, lacking, version)
        missing = incomplete_scenes(session) if params.only_missing else {}
    kinds = kinds_asked(params)
    left_out = {
        scene_id: found
        for scene_id, found in known.items()
        if (
            found.explains(missing.get(scene_id, ()))
            if params.only_missing
            else found.covers(kinds)
        )
    }
    return [scene_id for scene_id in lacking if scene_id not in left_out], left_out


@dataclass(frozen=True)
class _FinishedJob:
    """A server job that is over: what it was asked for, and what is lacking.

    Attributes:
        since: When Stash took it, as Stash writes it.
    """

    server_job: ServerJob
    since: str
    kinds: frozenset[str]
    lacking: Mapping[int, Lacking]


@dataclass
class _GenerateRun:
    """One run: the server jobs it answers for, and what became of them."""

    stash: StashClient
    database: Database
    params: StashGenerateParams
    run_id: str
    settings: StashSettings
    was_cancelled: WasCancelled
    job_ids: list[int] = field(default_factory=list)
    marked: list[int] = field(default_factory=list)
    failures: list[ItemFailure] = field(default_factory=list)
    unmakeable: dict[int, Unmakeable] = field(default_factory=dict)
    processed: int = 0
    checked: int = 0
    incomplete: int = 0
    # Of jobs that are over, until all are judged together.
    _done: list[_FinishedJob] = field(default_factory=list)

    def share(self, scenes: int) -> float | None:
        """Return the share that these are of the checked scenes; None: of none."""
        return round(scenes / self.checked, 4) if self.checked else None

    def carry_out(self, progress: Progress) -> None:
        """Follow what was left, then start and follow what is still to be done."""
        left = reconcile(
            self.stash,
            self.database,
            run_id=self.run_id,
            kind="generate",
            server=self.params.server or "",
            was_cancelled=self.was_cancelled,
        )
        own = [job for job in left if job.is_own]
        is_in_chunks = self.params.chunk_size is not None or self.params.only_missing
        is_all = bool(own) and not is_in_chunks
        bar = progress if is_all else progress.within(0.0, _LEFT_SHARE)
        for number, server_job in enumerate(left):
            part = bar.within(number / len(left), (number + 1) / len(left))
            if server_job.is_own:
                self._follow(server_job, part)
            else:
                self._follow_resumed(server_job, part)
        if not is_all:
            chunks = self._chunks(covered=own)
            bar = progress.within(_LEFT_SHARE if left else 0.0, 1.0)
            for number, chunk in enumerate(chunks):
                part = bar.within(number / len(chunks), (number + 1) / len(chunks))
                self._follow(self._start(chunk, part), part, chunk.sent)
        self._judge()

    def _follow_resumed(self, server_job: ServerJob, progress: Progress) -> None:
        """Follow a job of a run that is gone; its failure is not this run's."""
        try:
            self._follow(server_job, progress)
        except JobCancelled:
            raise
        except StashHogError as error:
            logger.warning("The resumed Stash job failed: %s", error)
        else:
            self._judge()

    def _chunks(self, covered: Sequence[ServerJob]) -> list[Chunk]:
        """Choose what is to be sent, without what Stash does not have.

        Stash drops a whole job, without a word, for one unknown id.
        """
        params, stash = self.params, self.stash
        tracked: list[int] = []
        if params.server is None and (params.scene_ids or not params.marker_ids):
            tracked, self.unmakeable = scenes_to_generate(
                stash, self.database, params, self.settings
            )
            lacking = len(tracked) + len(self.unmakeable)
            logger.info("Found %d scenes without generated attribute", lacking)
            if self.unmakeable:
                logger.info(
                    "%d of these scenes lack only media that Stash cannot make; "
                    "StashHog does not request that media again",
                    len(self.unmakeable),
                )
        if params.scene_ids is not None:
            wanted = list(dict.fromkeys(params.scene_ids))
        elif params.server is not None and not params.marker_ids:
            # The mirror knows nothing of this server.
            wanted = [row.id for page in stash.scene_stamps() for row in page]
        else:
            wanted = tracked
        existing = stash.existing_scene_ids(wanted) if wanted else set()
        self._leave_out("scene", [i for i in wanted if i not in existing])
        markers: list[int] = []
        if params.marker_ids:
            known = {stamp.id for stamp in stash.marker_stamps()}
            markers = [i for i in dict.fromkeys(params.marker_ids) if i in known]
            self._leave_out("marker", [i for i in params.marker_ids if i not in known])
        done = {scene_id for job in covered for scene_id in job.scene_ids}
        return into_chunks(
            self.database,
            params,
            [i for i in wanted if i in existing and i not in done],
            [i for i in tracked if i in existing],
            markers,
        )

    def _leave_out(self, what: str, ids: Sequence[int]) -> None:
        if not ids:
            return
        logger.warning("%d %ss are not in Stash and are left out", len(ids), what)
        self.failures += [
            ItemFailure(item=f"{what} {id_}", reason=f"Stash has no such {what}")
            for id_ in ids[:ERRORS_SHOWN]
        ]

    def _start(self, chunk: Chunk, progress: Progress) -> ServerJob:
        wait_for_turn(
            self.stash, self.params, progress, label=_LABEL, settings=self.settings
        )
        wire = generate_input(chunk.params, chunk.sent, chunk.marker_ids)
        with self.database.transaction() as session:
            asked = to_note(session, chunk)
        return start(
            self.stash,
            self.database,
            lambda: self.stash.start_job("generate", wire),
            run_id=self.run_id,
            kind="generate",
            scene_ids=chunk.tracked,
            server=self.params.server or "",
            asked=asked,
        )

    def _follow(
        self, server_job: ServerJob, progress: Progress, sent: Sequence[int] = ()
    ) -> None:
        """Follow a job to its end, then check what it made of its scenes."""
        self.job_ids.append(server_job.key.stash_job_id)
        job = follow_to_end(
            self.stash,
            self.database,
            server_job,
            progress.within(0.0, _SERVER_SHARE),
            label=_LABEL,
            settings=self.settings,
        )
        self._check_not_dropped(server_job, job)
        params = asked_of(server_job) or self.params
        self._expect_phashes(sent or server_job.scene_ids, params)
        self.processed += len(sent or server_job.scene_ids)
        kinds = kinds_asked(params)
        lacking = self._check_media(
            server_job.scene_ids, params, kinds, progress.within(_SERVER_SHARE, 1.0)
        )
        self._done.append(_FinishedJob(server_job, job.add_time, kinds, lacking))
        if params.incremental:
            self._judge(incremental=True)

    def _expect_phashes(
        self, scene_ids: Sequence[int], params: StashGenerateParams
    ) -> None:
        """Have the next sync fetch the scenes that got a phash.

        Stash moves no time of change when it makes one. A scene for which Stash can
        make none is as it was, and fetching it again would show nothing new.
        """
        # The mirror knows nothing of an additional server.
        if not params.phashes or self.params.server is not None:
            return
        with self.database.transaction() as session:
            before = mirrored_phashes(
                session, scene_ids, only_lacking=not params.overwrite
            )
        lacking = set(self.stash.scenes_lacking_phash(sorted(before)))
        asked = before.keys() if params.overwrite else lacking
        media, _ = self.stash.scene_media(sorted(asked))
        got = before.keys() - asked
        got |= {scene.id for scene in media if scene.phashes != before[scene.id]}
        with self.database.transaction() as session:
            forget_hashes(session, got)

    def _check_not_dropped(self, server_job: ServerJob, job: Job) -> None:
        """Make sure that the job was not dropped for a scene deleted meanwhile.

        Raises:
            TransientError: It was; another try leaves that scene out.
        """
        # A job without a single task never gets to count. That is also so if there
        # was nothing to do, hence the second check.
        if job.progress is not None or not server_job.scene_ids:
            return
        ids = server_job.scene_ids
        gone = set(ids) - self.stash.existing_scene_ids(ids)
        if gone:
            close(self.database, server_job.row_id, "failed")
            raise TransientError(
                f"Stash generated nothing, because {len(gone)} scenes "
                "were deleted from Stash meanwhile",
                where=f"for example scene {min(gone)}",
                remedy="run the job again",
            )

    def _check_media(
        self,
        scene_ids: Sequence[int],
        params: StashGenerateParams,
        kinds: frozenset[str],
        progress: Progress,
    ) -> dict[int, Lacking]:
        """Return what media is missing after all, of a sample or of all scenes.

        A sample in which nothing is missing stands for all.
        """
        sample: Sequence[int] = ()
        if params.incremental or self.settings.verify == "all":
            sample = scene_ids
        elif self.settings.verify == "sample":
            sample = _spread(scene_ids, self.settings.verify_sample_size)
        others = set(scene_ids).difference(sample) if sample else set()
        bar = progress.within(0.0, 0.5) if others else progress
        lacking = self._lacking_of(sample, kinds, bar)
        if lacking and others and not self._is_strict(params.incremental):
            rest = [scene_id for scene_id in scene_ids if scene_id in others]
            lacking |= self._lacking_of(rest, kinds, progress.within(0.5, 1.0))
        if params.marker_ids and self.settings.verify != "none":
            self._check_markers(params.marker_ids, kinds & _MARKER_KINDS, progress)
        return dict(sorted(lacking.items()))

    def _is_strict(self, incremental: bool) -> bool:
        return self.settings.all_or_nothing and not incremental

    def _lacking_of(
        self, scene_ids: Sequence[int], kinds: frozenset[str], progress: Progress
    ) -> dict[int, Lacking]:
        lacking: dict[int, Lacking] = {}
        total = len(scene_ids)
        for first in range(0, total, CHECKED_TOGETHER):
            end = min(first + CHECKED_TOGETHER, total)
            media, gone = self.stash.scene_media(scene_ids[first:end])
            lacking |= find_lacking(
                self.stash,
                media,
                kinds,
                progress.within(first / total, end / total),
                label=f"{_LABEL}: Checking media of {end}/{total} scenes: media"
                if total > CHECKED_TOGETHER
                else f"{_LABEL}: Checking media",
                at_a_time=self.settings.probes_at_a_time,
            )
            lacking |= {scene_id: Lacking(["scene"]) for scene_id in gone}
        self.checked += total
        self.incomplete += len(lacking)
        return lacking

    def _check_markers(
        self, marker_ids: Sequence[int], kinds: frozenset[str], progress: Progress
    ) -> None:
        named = set(marker_ids)
        stamps = self.stash.marker_stamps()
        scene_ids = {stamp.scene.id for stamp in stamps if stamp.id in named}
        media, _ = self.stash.scene_media(sorted(scene_ids))
        lacking = find_lacking(
            self.stash,
            media,
            kinds,
            progress,
            label=f"{_LABEL}: Checking markers",
            at_a_time=self.settings.probes_at_a_time,
        )
        # Stash makes a marker's media by its id only into a folder that is there.
        self.failures += [
            ItemFailure(
                item=f"marker {marker_id}",
                reason="lacks media; if no marker of its scene ever had media, "
                f"give scene {scene_id} in `sceneIDs` instead",
            )
            for scene_id, scene in lacking.items()
            for marker_id in sorted(named.intersection(scene.marker_ids))
        ]

    def _judge(self, *, incremental: bool = False) -> None:
        """Mark the complete scenes of the jobs that are over.

        What Stash cannot make of the others is stored together with the marks.
        """
        done, self._done = self._done, []
        if not done:
            return
        lacking = {k: v for outcome in done for k, v in outcome.lacking.items()}
        tracked = [i for outcome in done for i in outcome.server_job.scene_ids]
        reasons: dict[int, str] = {}
        failed: dict[int, Failed] = {}
        version = ""
        if lacking and self._is_strict(incremental):
            logger.warning(
                "%d scenes lack requested media, so no scene is marked as generated",
                len(lacking),
            )
            tracked = []
        elif lacking:
            version = self.stash.version()
            self._leave_out_known(lacking, version)
            for outcome in done:
                new = {k: v for k, v in outcome.lacking.items() if k in lacking}
                why, those = self._why_failed(outcome, new)
                reasons |= why
                failed |= those
        at_fault = {i for outcome in done for i in outcome.lacking}
        complete = [scene_id for scene_id in tracked if scene_id not in at_fault]
        rows = [outcome.server_job.row_id for outcome in done]
        basis = {k: v for o in done for k, v in basis_of(o.server_job).items()}
        with self.database.transaction() as session:
            self.marked += mark_generated(session, complete, job_rows=rows, basis=basis)
            given_up = note_unmakeable(session, version, list(failed.values()))
            if has_unmakeable(session):
                forget_unmakeable(session, complete)
        self.unmakeable |= {
            scene_id: failure.found
            for scene_id, failure in failed.items()
            if failure.content in given_up
        }
        self.marked.sort()
        self.failures += _as_failures(lacking, reasons)

    def _leave_out_known(self, lacking: dict[int, Lacking], version: str) -> None:
        """Take those out that lack only what Stash could not make before."""
        with self.database.transaction() as session:
            known = unmakeable_of(session, lacking, version)
        for scene_id, found in known.items():
            if found.explains(lacking[scene_id].kinds):
                self.unmakeable[scene_id] = found
                del lacking[scene_id]

    def _why_failed(
        self, outcome: _FinishedJob, lacking: Mapping[int, Lacking]
    ) -> tuple[dict[int, str], dict[int, Failed]]:
        there = {k: v for k, v in lacking.items() if v.kinds != ["scene"]}
        if not there:
            return {}, {}
        job = outcome.server_job
        return why_failed(
            self.stash,
            self.database,
            there,
            asked=outcome.kinds,
            basis=basis_of(job),
            total=len(job.scene_ids),
            since=outcome.since,
            at_a_time=self.settings.probes_at_a_time,
        )


def _spread(scene_ids: Sequence[int], size: int) -> Sequence[int]:
    """Return a sample, taken evenly from all."""
    total = len(scene_ids)
    if total <= size:
        return scene_ids
    return [scene_ids[i * total // size] for i in range(size)]


def _as_failures(
    lacking: Mapping[int, Lacking], reasons: Mapping[int, str]
) -> list[ItemFailure]:
    shown = sorted(lacking.items())[:ERRORS_SHOWN]
    failures = [
        ItemFailure(
            item=f"scene {scene_id}",
            reason=worded(scene.kinds, reasons.get(scene_id, "")),
        )
        for scene_id, scene in shown
    ]
    if more := len(lacking) - len(shown):
        failures.append(ItemFailure(item=f"{more} more scenes", reason="lack media"))
    return failures
