"""Having Stash generate media for scenes: the job `stash_generate`.

Stash reports success whatever became of the single scenes. So the flag `generated` is
set only after looking, and by default for all scenes of the run or for none; never for
a scene that got another file or other markers while the job was running.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stashhog_core.db.generated import (
    mark_generated,
    mirrored_phashes,
    scenes_not_generated,
)
from stashhog_core.db.manifest import forget_hashes
from stashhog_core.db.session import Database
from stashhog_core.db.stash_jobs import close_job
from stashhog_core.errors import JobCancelled, StashHogError, TransientError
from stashhog_core.generate_notes import asked_of, basis_of, to_note
from stashhog_core.generate_plan import (
    Chunk,
    generate_input,
    into_chunks,
    wait_for_turn,
    with_profile,
)
from stashhog_core.params import StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, StashGenerateResult
from stashhog_core.server_job import (
    ServerJob,
    WasCancelled,
    follow_to_end,
    is_cancellation,
    never_cancelled,
    only_one,
    reconcile,
    settle_cancelled,
    start,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.media_check import Lacking, find_lacking, kinds_asked
from stashhog_core.stash.payloads import Job

logger = logging.getLogger(__name__)

ERRORS_SHOWN = 500
"""Scenes without media that the result lists."""

LOOKED_AT_TOGETHER = 2_000
"""Scenes whose media is looked at in one go, so that memory stays flat."""

_LABEL = "Generate metadata"
_MARKER_KINDS = frozenset({"marker video", "marker preview", "marker screenshot"})
# The server's work is nearly all of it; looking at the outcome is the rest.
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

    All or nothing: an error, a cancellation or one scene whose media is missing
    afterwards leaves every `generated` flag as it was. With `params.incremental` the
    scenes that are proven complete are marked, whatever the others lack, after each
    server job. Cancelling stops the job on the server.

    Args:
        stash: The server that `params.server` names.
        database: The mirror, where the server jobs are noted too.
        params: Which scenes and which media. No scenes named: all in the mirror that
            are not marked; if there are none, no job is started.
        progress: Told how far Stash is.
        run_id: A run that is tried again under the same id follows its first job.
        settings: Of that server.
        was_cancelled: Whether a run that is gone was told to stop: its job is then
            stopped, and otherwise followed to its end first.

    Raises:
        ConfigurationError: The profile is unknown or wrong.
        JobError: The server job failed, was cancelled in Stash, or was forgotten.
        TransientError: Stash was away for too long, scenes vanished meanwhile, or
            another run is at it.
    """
    start_time = datetime.now(UTC)
    logger.info("Starting Stash generate job %s", run_id)
    params = with_profile(params, settings)
    server = params.server or ""
    with only_one(database, "generate", server):
        run = _Run(stash, database, params, run_id, settings, was_cancelled)
        try:
            run.carry_out(progress)
        except BaseException as error:
            if is_cancellation(error):
                settle_cancelled(
                    stash, database, run_id=run_id, kind="generate", server=server
                )
            raise
    if run.job_ids:
        logger.info("Updated generated attribute for %d scenes", len(run.marked))
        progress.update(1.0, f"{_LABEL}: Completed")
    else:
        logger.info("No scenes to generate for: no Stash job is started")
    return StashGenerateResult(
        job_id=run_id,
        stash_job_id=str(run.job_ids[-1]) if run.job_ids else None,
        stash_job_ids=tuple(str(job_id) for job_id in run.job_ids),
        status="completed_with_errors" if run.failures else "completed",
        scenes_updated_count=len(run.marked),
        scenes_updated=tuple(str(scene_id) for scene_id in run.marked),
        start_time=start_time,
        end_time=datetime.now(UTC),
        errors=tuple(run.failures),
    )


@dataclass
class _Run:
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
    # Of jobs that are over, until all are judged together.
    _done: list[ServerJob] = field(default_factory=list)
    _lacking: dict[int, Lacking] = field(default_factory=dict)

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
                self._follow_adopted(server_job, part)
        if not is_all:
            chunks = self._chunks(covered=own)
            bar = progress.within(_LEFT_SHARE if left else 0.0, 1.0)
            for number, chunk in enumerate(chunks):
                part = bar.within(number / len(chunks), (number + 1) / len(chunks))
                self._follow(self._start(chunk, part), part, chunk.sent)
        self._judge()

    def _follow_adopted(self, server_job: ServerJob, progress: Progress) -> None:
        """Follow a job of a run that is gone; its failure is not this run's."""
        try:
            self._follow(server_job, progress)
        except JobCancelled:
            raise
        except StashHogError as error:
            logger.warning("The adopted job came to nothing: %s", error)
        else:
            self._judge()

    def _chunks(self, covered: Sequence[ServerJob]) -> list[Chunk]:
        """Choose what is to be sent, without what Stash does not have.

        Stash drops a whole job, without a word, for one unknown id.
        """
        params, stash = self.params, self.stash
        tracked: list[int] = []
        if params.server is None and (params.scene_ids or not params.marker_ids):
            with self.database.transaction() as session:
                tracked = scenes_not_generated(session, params.scene_ids)
            logger.info("Found %d scenes without generated attribute", len(tracked))
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
            lambda: self.stash.start_generate(wire),
            run_id=self.run_id,
            kind="generate",
            scene_ids=chunk.tracked,
            server=self.params.server or "",
            asked=asked,
        )

    def _follow(
        self, server_job: ServerJob, progress: Progress, sent: Sequence[int] = ()
    ) -> None:
        """Follow a job to its end and look what it made, of the scenes it was sent."""
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
        self._look(server_job.scene_ids, params, progress.within(_SERVER_SHARE, 1.0))
        self._done.append(server_job)
        if params.incremental:
            self._judge(incremental=True)

    def _expect_phashes(
        self, scene_ids: Sequence[int], params: StashGenerateParams
    ) -> None:
        """Have the next sync fetch the scenes that got a phash.

        Stash moves no time of change when it makes one. A scene for which Stash can
        make none is as it was, and fetching it again would show nothing new.
        """
        # The mirror knows nothing of a further server.
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
        # was nothing to do, hence the second look.
        if job.progress is not None or not server_job.scene_ids:
            return
        ids = server_job.scene_ids
        gone = set(ids) - self.stash.existing_scene_ids(ids)
        if gone:
            with self.database.transaction() as session:
                close_job(session, server_job.row_id, "failed")
            raise TransientError(
                f"Stash did nothing, since {len(gone)} scenes were deleted meanwhile",
                where=f"scene {min(gone)}, for one",
                remedy="run this again",
            )

    def _look(
        self,
        scene_ids: Sequence[int],
        params: StashGenerateParams,
        progress: Progress,
    ) -> None:
        """Note what media is missing after all, of a sample or of all scenes."""
        sample: Sequence[int] = ()
        if params.incremental or self.settings.verify == "all":
            sample = scene_ids
        elif self.settings.verify == "sample":
            sample = _spread(scene_ids, self.settings.verify_sample_size)
        kinds = kinds_asked(params)
        for first in range(0, len(sample), LOOKED_AT_TOGETHER):
            end = min(first + LOOKED_AT_TOGETHER, len(sample))
            media, gone = self.stash.scene_media(sample[first:end])
            self._lacking |= find_lacking(
                self.stash,
                media,
                kinds,
                progress.within(first / len(sample), end / len(sample)),
                label=f"{_LABEL}: Checking media of {end}/{len(sample)} scenes: looks"
                if len(sample) > LOOKED_AT_TOGETHER
                else f"{_LABEL}: Checking media",
                at_a_time=self.settings.probes_at_a_time,
            )
            self._lacking |= {scene_id: Lacking(["scene"]) for scene_id in gone}
        if params.marker_ids and self.settings.verify != "none":
            self._look_at_markers(params.marker_ids, kinds & _MARKER_KINDS, progress)

    def _look_at_markers(
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
                reason=f"lacks media; if none of its scene's markers had any before, "
                f"name scene {scene_id} instead",
            )
            for scene_id, scene in lacking.items()
            for marker_id in sorted(named.intersection(scene.marker_ids))
        ]

    def _judge(self, *, incremental: bool = False) -> None:
        """Mark the scenes of the jobs that are over, all or none or the proven ones."""
        if not self._done:
            return
        lacking, rows = self._lacking, [job.row_id for job in self._done]
        tracked = [scene_id for job in self._done for scene_id in job.scene_ids]
        if incremental:
            tracked = [scene_id for scene_id in tracked if scene_id not in lacking]
        elif lacking:
            logger.warning(
                "%d scenes lack media that was asked for: none is marked", len(lacking)
            )
            tracked = []
        basis = {k: v for job in self._done for k, v in basis_of(job).items()}
        with self.database.transaction() as session:
            self.marked += mark_generated(session, tracked, job_rows=rows, basis=basis)
        self.marked.sort()
        self.failures += _as_failures(lacking)
        self._done, self._lacking = [], {}


def _spread(scene_ids: Sequence[int], size: int) -> Sequence[int]:
    """Return a sample, taken evenly from all."""
    total = len(scene_ids)
    if total <= size:
        return scene_ids
    return [scene_ids[i * total // size] for i in range(size)]


def _as_failures(lacking: dict[int, Lacking]) -> list[ItemFailure]:
    shown = sorted(lacking.items())[:ERRORS_SHOWN]
    failures = [
        ItemFailure(item=f"scene {scene_id}", reason=f"lacks {', '.join(scene.kinds)}")
        for scene_id, scene in shown
    ]
    if more := len(lacking) - len(shown):
        failures.append(ItemFailure(item=f"{more} more scenes", reason="lack media"))
    return failures
