"""The job `apply_plan`: bring approved changes to Stash, three-way and set-wise.

Before Stash is asked for anything, what is about to be done is recorded with each
change; right after each answer, that it was done. So a run that is killed between them
knows its own work again: each change is applied once, and can be undone.

Only a readable yes counts as a yes. After anything else (a refusal, a page of a proxy,
a lost connection) the scenes are read, and what Stash has decides: a change that has
come about is applied, any other one stays approved, for another try.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

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
from stashhog_core.plans import change_records as records
from stashhog_core.plans.apply_requests import (
    MarkerEditor,
    Request,
    parts_of,
    requests_for,
)
from stashhog_core.plans.change_records import MAX_ATTEMPTS, Record
from stashhog_core.plans.effects import (
    Answers,
    Found,
    Task,
    settle,
    settle_sent,
)
from stashhog_core.plans.live_tags import LiveTags, TagStore
from stashhog_core.plans.lock import plan_lock
from stashhog_core.plans.mirror_update import mirror_tag
from stashhog_core.plans.three_way import Change
from stashhog_core.progress import Progress
from stashhog_core.results import ApplyResult, ItemFailure
from stashhog_core.stash.payloads import StashScene, StashTag

logger = logging.getLogger(__name__)

SCENES_PER_PAGE = 500
"""Scenes read and changed at a time."""

PAUSES_SECONDS = (1.0, 5.0)
"""Pauses before a run tries again what a busy Stash or a lost answer has hindered."""


class SceneStore(TagStore, MarkerEditor, Protocol):
    """The part of Stash that holds scenes and tags."""


def apply_plan(
    stash: SceneStore,
    database: Database,
    params: ApplyPlanParams,
    progress: Progress,
    *,
    create_missing_tags: bool,
    pauses_seconds: Sequence[float] = PAUSES_SECONDS,
) -> ApplyResult:
    """Apply the approved changes of a plan; run again, it goes on where it was.

    Live equals base: applied. Live equals the proposal: already. Anything else is a
    conflict, recorded and left alone. Unknown people are never created. What Stash
    refuses stays approved for the next run; after `MAX_ATTEMPTS` runs it is failed,
    and the plan stays open until a person has decided.

    Args:
        stash: The server.
        database: The plan, and the mirror that follows what is changed.
        params: Which plan, which of its changes.
        progress: Reports scenes; a stop leaves the rest approved.
        create_missing_tags: Whether tags that Stash lacks may be created.
        pauses_seconds: Before each further try of what was hindered for now.

    Raises:
        ConfigurationError: Stash does not let this client in any more.
        JobError: There is no such plan, or it was cancelled.
        TransientError: Stash or the database is down, or another run works on the plan;
            the rest stays approved.
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
        run = _Apply(stash, database, plan_id, create_missing_tags)
        run.counts["rejected"] = rejected
        run.adopt_tags()
        run.apply_all(params.change_ids, progress)
        for pause_seconds in pauses_seconds:
            hindered = [u.change.id for u in run.unsettled.values() if u.for_now]
            if not hindered:
                break
            progress.sleep(pause_seconds)
            run.apply_all(hindered, progress.within(1.0, 1.0))
        run.close()
    return run.result()


@dataclass(frozen=True)
class _Unsettled:
    """An approved change of which nothing has come.

    Attributes:
        error: Why.
        for_now: Whether this very run may try it again.
    """

    change: Change
    error: Exception
    for_now: bool


@dataclass
class _Apply:
    stash: SceneStore
    database: Database
    plan_id: int
    create_missing_tags: bool
    counts: Counter[str] = field(default_factory=Counter)
    changed_scenes: set[int] = field(default_factory=set)
    unsettled: dict[int, _Unsettled] = field(default_factory=dict)
    """Change id → why nothing has come of it so far."""
    failures: list[ItemFailure] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)

    def __post_init__(self) -> None:
        self.tags = LiveTags(
            self.stash,
            self.create_missing_tags,
            self._before_creating_tag,
            self._after_creating_tag,
            self._tag_not_created,
        )

    def adopt_tags(self) -> None:
        """Find out what became of tags that an earlier run was about to create."""
        with self.database.transaction() as session:
            names = records.unfinished_tags(session, self.plan_id)
        for name in names:
            tag = self.stash.find_tag(name)
            if tag is not None and tag.name == name:
                self._after_creating_tag(tag)
            else:
                self._tag_not_created(name)

    def apply_all(self, change_ids: Sequence[int] | None, progress: Progress) -> None:
        """Apply approved changes of the plan, page by page; None: all of them."""
        self.tags.forget_failures()
        with self.database.transaction() as session:
            scene_ids = records.approved_scene_ids(session, self.plan_id, change_ids)
        done = 0
        for ids in batched(scene_ids, SCENES_PER_PAGE):
            start, done = done, done + len(ids)
            with self.database.transaction() as session:
                changes = records.approved_changes(
                    session, self.plan_id, change_ids, ids
                )
            self._apply(
                changes,
                progress.within(start / len(scene_ids), done / len(scene_ids)),
            )

    def _apply(self, changes: list[Change], progress: Progress) -> None:
        """Apply the changes of some scenes."""
        live = self._live(c.scene_id for c in changes)
        outcomes: list[tuple[Change, Record | Found]] = []
        tasks: list[Task] = []
        for change in changes:
            try:
                outcome = settle(change, live.get(change.scene_id), self.tags)
            except ItemError as error:
                self._unsettle([change], error, error.__cause__)
            else:
                if isinstance(outcome, Task):
                    tasks.append(outcome)
                else:
                    outcomes.append((change, outcome))
        with self.database.transaction() as session:
            begun = records.begin_sending(
                session, [(t.change, t.intent) for t in tasks]
            )
        tasks = [task for task in tasks if task.change.id in begun]
        self._settle(outcomes)
        waiting = deque(requests_for(tasks))
        done = len(changes) - len(tasks)
        try:
            while waiting:
                progress.items(done, len(changes), "Applied changes")
                parts = self._send(request := waiting.popleft())
                waiting.extendleft(reversed(parts))
                done += 0 if parts else len(request.tasks)
        except BaseException:
            self._withdraw([task for request in waiting for task in request.tasks])
            raise
        progress.items(len(changes), len(changes), "Applied changes")

    def _live(self, scene_ids: Iterable[int]) -> dict[int, StashScene]:
        found, _ = self.stash.scenes(list(dict.fromkeys(scene_ids)))
        return {scene.id: scene for scene in found}

    def _send(self, request: Request) -> list[Request]:
        """Send a request; return what is to be sent instead, if it was refused."""
        try:
            created_id = request.send(self.stash)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, Stash is read
            return self._after(request, error)
        self.answers.note(None)
        done = [task.applied(created_id) for task in request.tasks]
        with self.database.transaction() as session:
            request.mirror(session, created_id)
            records.record(session, done)
        self._count((t.change, r) for t, r in zip(request.tasks, done, strict=True))
        return []

    def _after(self, request: Request, error: Exception) -> list[Request]:
        """Read what has come of a request that Stash did not say yes to."""
        logger.info("Reading from Stash what became of a request: %s", error)
        live = self._live(task.change.scene_id for task in request.tasks)
        outcomes: list[tuple[Change, Record | Found]] = []
        left: list[Task] = []
        for task in request.tasks:
            outcome = settle_sent(task, live.get(task.change.scene_id))
            if outcome is None:
                left.append(task)
            else:
                outcomes.append((task.change, outcome))
        self._settle(outcomes)
        if isinstance(error, RefusedError):
            # One scene that has vanished, or one value, makes Stash refuse them all.
            parts = requests_for(left) if outcomes else parts_of(request)
            if parts:
                return parts
        self._unsettle([task.change for task in left], error, error, sent=left)
        return []

    def _unsettle(
        self,
        changes: list[Change],
        error: Exception,
        cause: BaseException | None,
        sent: Sequence[Task] = (),
    ) -> None:
        """Leave changes approved; note why, and whether something may yet come of them.

        Args:
            changes: Which.
            error: What hindered them, for people.
            cause: What Stash said to it; None: it was not asked.
            sent: The changes as they were sent, if they were.

        Raises:
            TransientError, UnreadableError: Nobody answers readably any more.
        """
        if not changes:
            self.answers.note(None)
            return
        is_over = isinstance(cause, RefusedError | BusyError)
        for_now = isinstance(cause, TransientError | UnreadableError)
        # What Stash has refused is not ours if it turns up there later. What it may
        # still be doing is.
        intents = {} if is_over else {task.change.id: task.intent for task in sent}
        with self.database.transaction() as session:
            records.record(
                session,
                [
                    Record(
                        c.id,
                        None,
                        getattr(intents.get(c.id), "effect", None),
                        str(error),
                    )
                    for c in changes
                ],
            )
        self.unsettled |= {c.id: _Unsettled(c, error, for_now) for c in changes}
        self.answers.note(cause)

    def _settle(self, outcomes: list[tuple[Change, Record | Found]]) -> None:
        """Record what became of changes; repeat in the mirror what was found."""
        if not outcomes:
            return
        done: list[tuple[Change, Record]] = []
        with self.database.transaction() as session:
            for change, outcome in outcomes:
                if isinstance(outcome, Found):
                    for request in requests_for([outcome.task]):
                        request.mirror(session, outcome.marker_id)
                    outcome = outcome.task.applied(outcome.marker_id)
                done.append((change, outcome))
            records.record(session, [record for _, record in done])
        self._count(done)

    def _withdraw(self, tasks: list[Task]) -> None:
        """Take back that changes are about to be sent: what turns up is not ours."""
        with suppress(TransientError), self.database.transaction() as session:
            records.record(
                session,
                [
                    Record(t.change.id, None, dict(t.change.intent or {}) or None)
                    for t in tasks
                ],
            )

    def _count(self, outcomes: Iterable[tuple[Change, Record]]) -> None:
        for change, outcome in outcomes:
            self.unsettled.pop(change.id, None)
            self.counts[str(outcome.state)] += 1
            if outcome.state == "applied":
                self.changed_scenes.add(change.scene_id)

    def _before_creating_tag(self, name: str) -> None:
        with self.database.transaction() as session:
            records.note_tag(session, self.plan_id, name, None)

    def _after_creating_tag(self, tag: StashTag) -> None:
        with self.database.transaction() as session:
            records.note_tag(session, self.plan_id, tag.name, tag.id)
            mirror_tag(session, tag)

    def _tag_not_created(self, name: str) -> None:
        with self.database.transaction() as session:
            records.forget_tag(session, self.plan_id, name)

    def close(self) -> None:
        """Count the tries of what is left; close the plan if nothing is."""
        with self.database.transaction() as session:
            attempts = records.count_attempts(session, list(self.unsettled))
            records.finish_applying(session, self.plan_id)
        for change_id, unsettled in self.unsettled.items():
            tries = attempts.get(change_id, 0)
            given_up = tries >= MAX_ATTEMPTS
            self.counts["failed" if given_up else "to_retry"] += 1
            change = unsettled.change
            what_next = (
                f"tried in {tries} runs; retry it with `stashhog plans apply "
                f"{self.plan_id} --retry` or reject it with `stashhog plans reject "
                f"{self.plan_id} --change {change_id}`"
                if given_up
                else f"the next run tries it again; run {tries} of {MAX_ATTEMPTS}"
            )
            self.failures.append(
                ItemFailure(
                    item=f"scene {change.scene_id}, {change.field}",
                    reason=f"{unsettled.error} ({what_next})",
                )
            )

    def result(self) -> ApplyResult:
        """Return what the caller is told."""
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
