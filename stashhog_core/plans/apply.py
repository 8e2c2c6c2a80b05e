"""The job `apply_plan`: bring approved changes to Stash, three-way and set-wise.

Before a request, the database records which changes are about to be made; right after
the response, that they were made. So a run that is killed between the two recognizes
its own work: each change is applied once, and can be undone.

Only a readable success counts. After any other response (a refusal, a page of a proxy,
a lost connection) the scenes are read and the values in Stash decide: a change that
Stash has is applied, any other change stays approved for another try.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from stashhog_core.batches import batched
from stashhog_core.db.session import Database
from stashhog_core.errors import (
    BusyError,
    ConfigurationError,
    ItemError,
    RefusedError,
    TransientError,
    UnreadableError,
)
from stashhog_core.params import ApplyPlanParams
from stashhog_core.plans import records
from stashhog_core.plans.covers import LiveCovers
from stashhog_core.plans.new_objects import (
    NewObject,
    NewObjects,
    forget_object,
    mirror_object,
    note_object,
    ours_in_stash,
    unfinished_objects,
)
from stashhog_core.plans.plans import plan_lock
from stashhog_core.plans.records import MAX_ATTEMPTS
from stashhog_core.plans.requests import (
    ChangeRequest,
    OutageCounter,
    mirror_tag,
    parts_of,
    requests_for,
)
from stashhog_core.plans.tags import CREATED_TAGS, LiveTags
from stashhog_core.plans.three_way import (
    ApprovedChange,
    ChangeResult,
    FoundChange,
    OutgoingChange,
    decide_change,
    decide_sent,
)
from stashhog_core.progress import Progress
from stashhog_core.results import ApplyResult, ItemFailure
from stashhog_core.server_jobs.backup import back_up_before
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import StashScene, StashTag

logger = logging.getLogger(__name__)

SCENES_PER_BATCH = 500
"""Number of scenes that are read and changed together."""

PAUSES_SECONDS = (1.0, 5.0)
"""Pauses before a run retries changes after a busy Stash or a lost response."""


def apply_plan(
    stash: StashClient,
    database: Database,
    params: ApplyPlanParams,
    progress: Progress,
    *,
    create_missing_tags: bool,
    settings: StashSettings | None = None,
    pauses_seconds: Sequence[float] = PAUSES_SECONDS,
) -> ApplyResult:
    """Apply the approved changes of a plan; a further run continues where this ended.

    If the live value equals the base, the change is applied; if it equals the proposal,
    the change counts as already applied; any other value is a conflict and stays. A
    performer or studio is created only if a change says so. A change that Stash refuses
    stays approved for the next run. After `MAX_ATTEMPTS` runs it is failed, and the
    plan stays open until a person has decided.

    Args:
        stash: The server.
        database: The plan, and the mirror, which repeats the changes.
        params: The plan and, if not all of it, the changes to apply.
        progress: Reports changes; a stop leaves the remaining changes approved.
        create_missing_tags: Whether tags that Stash lacks may be created.
        settings: Of that server: whether its database is backed up before the first
            of many changes. None: never.
        pauses_seconds: Pause before each retry of changes that failed for the moment.

    Raises:
        ConfigurationError: Stash no longer accepts the API key.
        JobError: There is no such plan or change, the plan was cancelled, or Stash
            could not back up its database.
        TransientError: Stash or the database is down, or another run works on the plan;
            the remaining changes stay approved.
        JobCancelled: A stop was asked for.
    """
    plan_id = params.plan_id
    with plan_lock(database, plan_id):
        with database.transaction() as session:
            rejected = records.begin_applying(
                session,
                plan_id,
                params.change_ids,
                auto_approve=params.auto_approve,
                retry=params.retry,
            )
            changes = records.count_approved(session, plan_id, params.change_ids)
        if settings is not None:
            back_up_before(stash, changes, progress, settings=settings)
        run = _Apply(stash, database, plan_id, create_missing_tags)
        run.counts["rejected"] = rejected
        run.resume_tags()
        run.resume_objects()
        run.apply_all(params.change_ids, progress)
        for pause_seconds in pauses_seconds:
            retried = [u.change.id for u in run.unapplied.values() if u.is_temporary]
            if not retried:
                break
            progress.sleep(pause_seconds)
            run.apply_all(retried, progress.within(1.0, 1.0))
        run.close()
    return run.result()


@dataclass(frozen=True)
class _UnappliedChange:
    """An approved change that could not be applied so far, and why.

    Attributes:
        is_temporary: Whether this run may try the change again.
    """

    change: ApprovedChange
    error: Exception
    is_temporary: bool


@dataclass
class _Apply:
    stash: StashClient
    database: Database
    plan_id: int
    create_missing_tags: bool
    counts: Counter[str] = field(default_factory=Counter)
    changed_scenes: set[int] = field(default_factory=set)
    unapplied: dict[int, _UnappliedChange] = field(default_factory=dict)
    failures: list[ItemFailure] = field(default_factory=list)
    outage: OutageCounter = field(default_factory=OutageCounter)

    def __post_init__(self) -> None:
        self.tags = LiveTags(
            self.stash,
            self.create_missing_tags,
            self._before_creating_tag,
            self._after_creating_tag,
            self._tag_not_created,
        )

        self.covers = LiveCovers(self.stash, self.database)
        self.objects = NewObjects(
            self.stash,
            self._note_object,
            self._after_creating_object,
            self._object_not_created,
        )

    def resume_objects(self) -> None:
        """Find out whether Stash has what an earlier run began to create."""
        with self.database.transaction() as session:
            unfinished = unfinished_objects(session, self.plan_id)
        for wanted in unfinished:
            found = ours_in_stash(self.stash, wanted)
            if found is None:
                self._object_not_created(wanted)
            else:
                self._after_creating_object(replace(wanted, id=found))

    def resume_tags(self) -> None:
        """Find out whether Stash has the tags that an earlier run began to create."""
        with self.database.transaction() as session:
            created = CREATED_TAGS.of_plan(session, self.plan_id)
        for name in [name for name, tag_id in created.items() if tag_id is None]:
            tag = self.stash.find_tag(name)
            if tag is not None and tag.name == name:
                self._after_creating_tag(tag)
            else:
                self._tag_not_created(name)

    def apply_all(self, change_ids: Sequence[int] | None, progress: Progress) -> None:
        """Apply approved changes of the plan in batches; None: all of them."""
        self.tags.forget_failures()
        self.objects.forget_failures()
        with self.database.transaction() as session:
            scene_ids = records.approved_scene_ids(session, self.plan_id, change_ids)
        done = 0
        for ids in batched(scene_ids, SCENES_PER_BATCH):
            start, done = done, done + len(ids)
            with self.database.transaction() as session:
                changes = records.approved_changes(
                    session, self.plan_id, change_ids, ids
                )
            self._apply_batch(
                changes,
                progress.within(start / len(scene_ids), done / len(scene_ids)),
            )

    def _apply_batch(self, changes: list[ApprovedChange], progress: Progress) -> None:
        """Apply the changes of some scenes."""
        live = self._live(c.scene_id for c in changes)
        decided: list[tuple[ApprovedChange, ChangeResult | FoundChange]] = []
        outgoing: list[OutgoingChange] = []
        for change in changes:
            try:
                decision = decide_change(
                    change,
                    live.get(change.scene_id),
                    self.tags,
                    self.objects,
                    self.covers,
                )
            except ItemError as error:
                self._leave_approved([change], error, error.__cause__)
            else:
                if isinstance(decision, OutgoingChange):
                    outgoing.append(decision)
                else:
                    decided.append((change, decision))
        outgoing, crowded = _one_for_each_place(outgoing)
        decided += crowded
        with self.database.transaction() as session:
            begun = records.begin_sending(
                session, [(o.change, o.intent) for o in outgoing]
            )
        outgoing = [o for o in outgoing if o.change.id in begun]
        self._record(decided)
        waiting = deque(requests_for(outgoing, self.covers))
        done = len(changes) - len(outgoing)
        try:
            while waiting:
                progress.items(done, len(changes), "Applied changes")
                parts = self._send(request := waiting.popleft())
                waiting.extendleft(reversed(parts))
                done += 0 if parts else len(request.changes)
        except BaseException:
            self._withdraw([o for request in waiting for o in request.changes])
            raise
        progress.items(len(changes), len(changes), "Applied changes")

    def _live(self, scene_ids: Iterable[int]) -> dict[int, StashScene]:
        found, _ = self.stash.scenes(list(dict.fromkeys(scene_ids)))
        return {scene.id: scene for scene in found}

    def _send(self, request: ChangeRequest) -> list[ChangeRequest]:
        """Send a request; return the requests to send instead if Stash refused it."""
        try:
            created_id = request.send(self.stash)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - after any error, Stash is read
            return self._read_outcome(request, error)
        self.outage.note(None)
        results = [outgoing.applied(created_id) for outgoing in request.changes]
        with self.database.transaction() as session:
            request.mirror(session, created_id)
            records.record_outcomes(session, self.plan_id, results)
        self._count(
            (o.change, r) for o, r in zip(request.changes, results, strict=True)
        )
        return []

    def _read_outcome(
        self, request: ChangeRequest, error: Exception
    ) -> list[ChangeRequest]:
        """Find out from Stash what a request without a readable success has changed.

        Returns:
            The requests to send instead.
        """
        logger.info("Reading the outcome of a request from Stash after: %s", error)
        live = self._live(o.change.scene_id for o in request.changes)
        decided: list[tuple[ApprovedChange, ChangeResult | FoundChange]] = []
        left: list[OutgoingChange] = []
        for outgoing in request.changes:
            scene = live.get(outgoing.change.scene_id)
            decision = decide_sent(outgoing, scene, self.covers)
            if decision is None:
                left.append(outgoing)
            else:
                decided.append((outgoing.change, decision))
        self._record(decided)
        if isinstance(error, RefusedError):
            # Stash refuses the whole request for one missing scene or bad value.
            parts = requests_for(left, self.covers) if decided else parts_of(request)
            if parts:
                return parts
        self._leave_approved([o.change for o in left], error, error, sent=left)
        return []

    def _leave_approved(
        self,
        changes: list[ApprovedChange],
        error: Exception,
        cause: BaseException | None,
        sent: Sequence[OutgoingChange] = (),
    ) -> None:
        """Leave changes approved; record why, and whether Stash may still make them.

        Args:
            changes: The changes.
            error: The error, as people read it.
            cause: The error of Stash behind it; None: Stash was not asked.
            sent: The changes that were sent.

        Raises:
            TransientError, UnreadableError: Stash no longer gives readable responses.
        """
        if not changes:
            self.outage.note(None)
            return
        is_over = isinstance(cause, RefusedError | BusyError)
        is_temporary = isinstance(cause, TransientError | UnreadableError)
        # If a refused value turns up in Stash later, somebody else has set it. A value
        # whose request may still be running is ours.
        intents = {} if is_over else {o.change.id: o.intent.effect for o in sent}
        with self.database.transaction() as session:
            records.record(
                session,
                [
                    ChangeResult(c.id, None, intents.get(c.id), str(error))
                    for c in changes
                ],
            )
        self.unapplied |= {
            c.id: _UnappliedChange(c, error, is_temporary) for c in changes
        }
        self.outage.note(cause)

    def _record(
        self, decided: list[tuple[ApprovedChange, ChangeResult | FoundChange]]
    ) -> None:
        """Record what was decided; repeat in the mirror the changes that Stash has."""
        if not decided:
            return
        done: list[tuple[ApprovedChange, ChangeResult]] = []
        with self.database.transaction() as session:
            for change, decision in decided:
                if isinstance(decision, FoundChange):
                    for request in requests_for([decision.outgoing], self.covers):
                        request.mirror(session, decision.marker_id)
                    decision = decision.outgoing.applied(decision.marker_id)
                done.append((change, decision))
            records.record_outcomes(
                session, self.plan_id, [result for _, result in done]
            )
        self._count(done)

    def _withdraw(self, unsent: list[OutgoingChange]) -> None:
        """Record that changes were not sent: what turns up in Stash is not ours."""
        with suppress(TransientError), self.database.transaction() as session:
            records.record(
                session,
                [ChangeResult(o.change.id, None, o.change.intent) for o in unsent],
            )

    def _count(self, results: Iterable[tuple[ApprovedChange, ChangeResult]]) -> None:
        for change, result in results:
            self.unapplied.pop(change.id, None)
            self.counts[str(result.state)] += 1
            if result.state == "applied":
                self.changed_scenes.add(change.scene_id)

    def _before_creating_tag(self, name: str) -> None:
        with self.database.transaction() as session:
            CREATED_TAGS.note(session, self.plan_id, name, None)

    def _after_creating_tag(self, tag: StashTag) -> None:
        with self.database.transaction() as session:
            CREATED_TAGS.note(session, self.plan_id, tag.name, tag.id)
            mirror_tag(session, tag)

    def _tag_not_created(self, name: str) -> None:
        with self.database.transaction() as session:
            CREATED_TAGS.forget(session, self.plan_id, name)

    def _note_object(self, wanted: NewObject) -> None:
        with self.database.transaction() as session:
            note_object(session, self.plan_id, wanted)

    def _after_creating_object(self, created: NewObject) -> None:
        with self.database.transaction() as session:
            note_object(session, self.plan_id, created)
            mirror_object(session, created)

    def _object_not_created(self, wanted: NewObject) -> None:
        with self.database.transaction() as session:
            forget_object(session, self.plan_id, wanted)

    def close(self) -> None:
        """Count this run for the unapplied changes."""
        with self.database.transaction() as session:
            attempts = records.count_attempts(session, list(self.unapplied))
        for change_id, unapplied in self.unapplied.items():
            runs = attempts.get(change_id, 0)
            has_failed = runs >= MAX_ATTEMPTS
            self.counts["failed" if has_failed else "to_retry"] += 1
            change = unapplied.change
            what_next = (
                f"Stash refused the change in {runs} runs; try again "
                f"with `stashhog plans apply {self.plan_id} --retry` "
                f"or reject the change with `stashhog plans reject {self.plan_id} "
                f"--change {change_id}`"
                if has_failed
                else f"run {runs} of {MAX_ATTEMPTS}; the next run tries again"
            )
            self.failures.append(
                ItemFailure(
                    item=f"scene {change.scene_id}, {change.field}",
                    reason=f"{unapplied.error} ({what_next})",
                )
            )

    def result(self) -> ApplyResult:
        """Return the result of the job."""
        return ApplyResult(
            status="completed_with_errors" if self.failures else "completed",
            plan_id=self.plan_id,
            applied=self.counts["applied"],
            already=self.counts["already"],
            conflicts=self.counts["conflict"],
            skipped=self.counts["skipped"],
            to_retry=self.counts["to_retry"],
            failed=self.counts["failed"],
            rejected=self.counts["rejected"],
            scene_ids=tuple(sorted(self.changed_scenes)),
            errors=tuple(self.failures),
        )


def _one_for_each_place(
    outgoing: Sequence[OutgoingChange],
) -> tuple[list[OutgoingChange], list[tuple[ApprovedChange, ChangeResult]]]:
    """Return the changes to send, and the conflicts of those whose place is taken.

    Several values may be proposed for a field that holds one. If more than one of them
    is approved, the first is sent: a request with two of them would record both.
    """
    taken: set[tuple[int, str, str]] = set()
    kept: list[OutgoingChange] = []
    crowded: list[tuple[ApprovedChange, ChangeResult]] = []
    for change in outgoing:
        if change.place is not None and change.place in taken:
            reason = f"Another approved change sets the field {change.change.field}"
            result = ChangeResult(change.change.id, "conflict", error=reason)
            crowded.append((change.change, result))
            continue
        if change.place is not None:
            taken.add(change.place)
        kept.append(change)
    return kept, crowded
