"""The job `undo_plan`: undo applied changes, three-way and set-wise.

Every request here may be sent twice without harm, so a killed run needs no record of
what it was about to do: the next run finds part of the work done. As in applying, only
a readable success counts; after any other response Stash is read. A change that is not
undone stays applied, and the next run tries again.
"""

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.session import Database
from stashhog_core.errors import (
    ConfigurationError,
    JobError,
    RefusedError,
    TransientError,
    UnreadableError,
)
from stashhog_core.params import UndoParams
from stashhog_core.plans import records
from stashhog_core.plans.apply import PAUSES_SECONDS, SCENES_PER_BATCH
from stashhog_core.plans.covers import LiveCovers
from stashhog_core.plans.new_objects import (
    KINDS,
    created_objects,
    ours_in_stash,
    unmirror_object,
)
from stashhog_core.plans.plans import plan_lock, read_plan
from stashhog_core.plans.proposals import (
    BoxIdValue,
    MarkerValue,
    NamedValue,
    TextValue,
    name_key,
)
from stashhog_core.plans.requests import (
    EditGroup,
    OutageCounter,
    group_edits,
    mirror_group,
    mirror_item,
    mirror_texts,
    send_group,
    unmirror_markers,
)
from stashhog_core.plans.tags import CREATED_TAGS, KnownObjects
from stashhog_core.plans.three_way import (
    OBJECT_GONE,
    SCENE_GONE,
    AppliedChange,
    MemberEdit,
    UndoDecision,
    decide_undo,
    object_of,
    scene_of,
)
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, UndoResult
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import NamedKind
from stashhog_core.stash.payloads import StashScene
from stashhog_core.stash.times import is_moment

logger = logging.getLogger(__name__)

_DELETED = "deleted"

UndoItem = tuple[AppliedChange, UndoDecision]


@dataclass(frozen=True)
class UndoRequest:
    """One request that undoes changes.

    It is a bulk update, sets fields or the cover of a scene, or removes markers, URLs
    of a scene, or an id at a stash-box.
    """

    work: list[UndoItem]
    group: EditGroup | None = None
    covers: LiveCovers | None = None

    @property
    def _marker_ids(self) -> list[int]:
        return [d.marker_id for _, d in self.work if d.marker_id is not None]

    @property
    def _removed(self) -> list[TextValue | BoxIdValue]:
        return [d.removed for _, d in self.work if d.removed is not None]

    def send(self, stash: StashClient) -> None:
        """Send the request."""
        scene_id = self.work[0][0].scene_id
        earlier = self.work[0][1].cover
        if self.group is not None:
            send_group(stash, self.group)
        elif earlier is not None and self.covers is not None:
            self.covers.set(scene_id, earlier)
        elif self._removed:
            urls = [v.text for v in self._removed if isinstance(v, TextValue)]
            if urls:
                stash.change_urls(scene_id, "REMOVE", urls)
            for value in self._removed:
                if isinstance(value, BoxIdValue):
                    stash.set_box_id(scene_id, value.endpoint, None)
        elif self._marker_ids:
            stash.destroy_markers(self._marker_ids)
        else:
            fields = {k: v for _, d in self.work for k, v in d.fields.items()}
            stash.update_scene(scene_id, fields)

    def mirror(self, session: Session) -> None:
        """Repeat the request in the mirror."""
        if self.group is not None:
            mirror_group(session, self.group)
        elif self._marker_ids:
            unmirror_markers(session, self._marker_ids)
        else:
            for change, decision in self.work:
                _mirror(session, change.scene_id, decision)

    def parts(self) -> list[list[UndoItem]]:
        """Return the work value by value; nothing if the request has only one."""
        if self.group is None:
            parts = [[item] for item in self.work]
        else:
            parts = [
                [item for item in self.work if item[1].edit == edit]
                for edit in sorted(self.group.edits)
            ]
        return parts if len(parts) > 1 else []


def _mirror(session: Session, scene_id: int, decision: UndoDecision) -> None:
    """Repeat in the mirror that one change was undone."""
    if decision.edit is not None:
        mirror_group(session, EditGroup(frozenset([decision.edit]), (scene_id,)))
    if decision.fields:
        local = {
            name: value if name in ("studio_id", "date") else value or ""
            for name, value in decision.fields.items()
        }
        mirror_texts(session, scene_id, local)
    if decision.marker_id is not None:
        unmirror_markers(session, [decision.marker_id])
    if decision.removed is not None:
        mirror_item(session, scene_id, decision.removed, is_there=False)


def undo(
    stash: StashClient,
    database: Database,
    params: UndoParams,
    progress: Progress,
    *,
    pauses_seconds: Sequence[float] = PAUSES_SECONDS,
) -> UndoResult:
    """Undo applied changes, the newest first.

    A value that somebody changed since is a conflict and stays. Tags that were created
    for these changes, by whichever plan, are deleted if nothing uses them and nobody
    has edited them.

    Args:
        stash: The server.
        database: The plans, and the mirror, which repeats the changes.
        params: The changes to undo.
        progress: Reports scenes; a stop leaves the remaining changes applied.
        pauses_seconds: Pause before each retry of changes that failed for the moment.

    Raises:
        ConfigurationError: Stash no longer accepts the API key.
        JobError: No changes are selected, or there is no such plan or change.
        TransientError: Stash or the database is down, or another run works on one of
            the plans; the remaining changes stay applied.
        JobCancelled: A stop was asked for.
    """
    if not params.model_dump(
        include={"plan_id", "scene_id", "change_ids", "detector"}, exclude_none=True
    ):
        raise JobError(
            "No changes to undo are selected",
            remedy="give plan_id, scene_id, change_ids or detector",
        )
    with ExitStack() as locks:
        with database.transaction() as session:
            if params.plan_id is not None:
                # A wrong id would look like a plan without changes to undo.
                read_plan(session, params.plan_id)
            records.require_changes(session, params)
            plan_ids = records.plan_ids_of(session, params)
        if params.plan_id is not None:
            # Also without such changes: a run that has just begun to apply the plan may
            # have created tags, and a run that died may have left some.
            plan_ids = [params.plan_id]
        for plan_id in plan_ids:
            locks.enter_context(plan_lock(database, plan_id))
        run = _Undo(stash, database, params, plan_ids)
        with database.transaction() as session:
            scene_ids = records.scene_ids_of(session, params, plan_ids)
        done = 0
        for ids in batched(scene_ids, SCENES_PER_BATCH):
            progress.items(done, len(scene_ids), "Undone scenes")
            run.undo_batch(ids)
            done += len(ids)
        for pause_seconds in pauses_seconds:
            if not (retried := run.retried):
                break
            progress.sleep(pause_seconds)
            for ids in batched(sorted(set(retried.values())), SCENES_PER_BATCH):
                run.undo_batch(ids, retried)
        run.hold_creators(locks)
        run.drop_tags()
        run.drop_objects()
        progress.update(1.0, f"Undone changes: {run.counts['undone']}")
    return run.result()


class _Taken:
    """The tags, performers and studios that an undo has taken from scenes."""

    def __init__(self) -> None:
        self._ids: set[tuple[str, int]] = set()
        self._names: set[tuple[str, str]] = set()

    def add(self, change: AppliedChange) -> None:
        """Note what the change gave to a scene, or to a marker."""
        value = change.proposed
        if isinstance(value, MarkerValue):
            value = value.tag
        if not isinstance(value, NamedValue):
            return
        self._names.add((KINDS.get(change.field, "tag"), value.key))
        if (named := object_of(change)) is not None:
            self._ids.add(named)

    def has(self, kind: str, name: str, id_: int | None) -> bool:
        """Tell whether something that a plan created was taken.

        `id_` is None if the plan did not live to record it.
        """
        if id_ is None:
            return (kind, name_key(name)) in self._names
        return (kind, id_) in self._ids


@dataclass
class _Undo:
    stash: StashClient
    database: Database
    params: UndoParams
    plan_ids: list[int]
    """The plans that this run undoes and holds: others may be applied meanwhile."""
    creators: set[int] = field(default_factory=set)
    """Further plans that this run holds."""
    taken: _Taken = field(default_factory=_Taken)
    counts: Counter[str] = field(default_factory=Counter)
    scene_ids: set[int] = field(default_factory=set)
    dropped: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    created: dict[str, str] = field(default_factory=dict)
    failed: dict[int, tuple[AppliedChange, Exception]] = field(default_factory=dict)
    """Change id → a change that stays applied, and why."""
    failures: list[ItemFailure] = field(default_factory=list)
    outage: OutageCounter = field(default_factory=OutageCounter)
    created_at: dict[tuple[str, int], datetime] = field(default_factory=dict)
    """When Stash created what the changes have added: kind and id → time."""

    def __post_init__(self) -> None:
        self.covers = LiveCovers(self.stash, self.database)
        self.known = KnownObjects(self.stash)

    def undo_batch(
        self, scene_ids: list[int], only: Collection[int] | None = None
    ) -> None:
        """Undo the changes of some scenes; with `only`, the changes with these ids."""
        with self.database.transaction() as session:
            changes = records.applied_changes(
                session, self.params, self.plan_ids, scene_ids
            )
            if only is not None:
                changes = [change for change in changes if change.id in only]
            kept = records.applied_by_others(session, changes)
        found, _ = self.stash.scenes(scene_ids)
        work = self._decide(changes, {scene.id: scene for scene in found}, kept)
        waiting = deque(self._requests(work))
        while waiting:
            waiting.extendleft(reversed(self._send(waiting.popleft())))

    def _decide(
        self,
        changes: list[AppliedChange],
        live: Mapping[int, StashScene],
        kept: Collection[int] = (),
        *,
        sent: bool = False,
    ) -> list[UndoItem]:
        """Record changes that need no request; return the other changes.

        Args:
            changes: The changes.
            live: Scene id → scene, as Stash has it.
            kept: Ids of changes whose value stays for another change.
            sent: Whether a request for them was sent: then this run has undone what
                Stash no longer has.
        """
        work: list[UndoItem] = []
        done: list[UndoItem] = []
        conflicts: list[tuple[AppliedChange, str]] = []
        for change in changes:
            named = object_of(change)
            if named is not None and change.recorded and change.object_created_at:
                self.created_at[named] = change.object_created_at
            scene = scene_of(change, live.get(change.scene_id))
            if scene is None:
                self.counts["skipped"] += 1
                conflicts.append((change, SCENE_GONE))
                continue
            decision = (
                UndoDecision("already")
                if change.id in kept
                else decide_undo(change, scene, self.covers)
            )
            if decision.kind == "undo" and self._is_of_another(change):
                decision = UndoDecision("conflict", OBJECT_GONE)
            if decision.kind == "undo":
                work.append((change, decision))
            elif decision.kind == "already":
                done.append((change, decision))
            else:
                self.counts["conflicts"] += 1
                conflicts.append((change, decision.reason or ""))
        with self.database.transaction() as session:
            records.record_reasons(session, [(c.id, reason) for c, reason in conflicts])
            for change, decision in done:
                _mirror(session, change.scene_id, decision)
            self._record(session, [change for change, _ in done])
        for change, _ in conflicts:
            self.failed.pop(change.id, None)
        self._count([change for change, _ in done], "undone" if sent else "already")
        return work

    def _is_of_another(self, change: AppliedChange) -> bool:
        """Tell whether the id that applying has added or removed is another one's now.

        A Stash that was restored from a backup gives ids again.
        """
        named = object_of(change)
        # What a killed run has found by its name may not be what was proposed.
        if named is None or change.object_created_at is None or not change.recorded:
            return False
        return self.known.is_another(*named, change.object_created_at)

    def _requests(self, work: list[UndoItem]) -> Iterator[UndoRequest]:
        """Yield the fewest requests that undo these changes."""
        # Two names of one tag are two changes and one edit.
        same: dict[tuple[int, MemberEdit], list[UndoItem]] = defaultdict(list)
        for change, decision in work:
            if decision.edit is not None:
                same[change.scene_id, decision.edit].append((change, decision))
        for group in group_edits(same):
            yield UndoRequest(
                [i for s in group.scene_ids for e in group.edits for i in same[s, e]],
                group=group,
            )
        by_scene: dict[int, list[UndoItem]] = defaultdict(list)
        for change, decision in work:
            if decision.fields:
                by_scene[change.scene_id].append((change, decision))
        for of_scene in by_scene.values():
            yield UndoRequest(of_scene)
        urls: dict[int, list[UndoItem]] = defaultdict(list)
        for change, decision in work:
            if isinstance(decision.removed, TextValue):
                urls[change.scene_id].append((change, decision))
            elif decision.removed is not None:
                yield UndoRequest([(change, decision)])
        for of_scene in urls.values():
            yield UndoRequest(of_scene)
        for change, decision in work:
            if decision.cover is not None:
                yield UndoRequest([(change, decision)], covers=self.covers)
        if markers := [item for item in work if item[1].marker_id is not None]:
            yield UndoRequest(markers)

    def _send(self, request: UndoRequest) -> list[UndoRequest]:
        """Send a request; return the requests to send instead if Stash refused it."""
        changes = [change for change, _ in request.work]
        try:
            request.send(self.stash)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - after any error, Stash is read
            return self._read_outcome(request, error)
        self.outage.note(None)
        with self.database.transaction() as session:
            request.mirror(session)
            self._record(session, changes)
        self._count(changes, "undone")
        return []

    def _read_outcome(
        self, request: UndoRequest, error: Exception
    ) -> list[UndoRequest]:
        """Find out from Stash what a request without a readable success has undone.

        Returns:
            The requests to send instead.
        """
        logger.info("Reading the outcome of a request from Stash after: %s", error)
        changes = [change for change, _ in request.work]
        found, _ = self.stash.scenes(list({c.scene_id: None for c in changes}))
        left = self._decide(changes, {scene.id: scene for scene in found}, sent=True)
        if isinstance(error, RefusedError):
            # Stash refuses the whole request for one bad value or marker.
            if len(left) < len(changes):
                return list(self._requests(left))
            if parts := request.parts():
                return [r for part in parts for r in self._requests(part)]
        with self.database.transaction() as session:
            records.record_reasons(session, [(c.id, str(error)) for c, _ in left])
        self.failed |= {change.id: (change, error) for change, _ in left}
        self.outage.note(error if left else None)
        return []

    def hold_creators(self, locks: ExitStack) -> None:
        """Hold the other plans that created what this run has taken from scenes.

        What a plan created outlives its undo while another plan uses it: the undo of
        the last use deletes it. A plan that another run works on may need it yet.
        """
        with self.database.transaction() as session:
            creators = {
                plan_id
                for plan_id, name, tag_id in CREATED_TAGS.of_all(session)
                if self.taken.has("tag", name, tag_id)
            }
            creators |= {
                plan_id
                for plan_id, made in created_objects(session)
                if self.taken.has(made.kind, made.name, made.id)
            }
        for plan_id in sorted(creators.difference(self.plan_ids)):
            with suppress(TransientError):
                locks.enter_context(plan_lock(self.database, plan_id))
                self.creators.add(plan_id)

    def _is_to_drop(self, plan_id: int, kind: str, name: str, id_: int | None) -> bool:
        return plan_id in self.plan_ids or (
            plan_id in self.creators and self.taken.has(kind, name, id_)
        )

    def drop_tags(self) -> None:
        """Delete the tags that these plans created and nothing uses any more."""
        with self.database.transaction() as session:
            created = {
                name: tag_id
                for plan_id, name, tag_id in CREATED_TAGS.of_all(session)
                if self._is_to_drop(plan_id, "tag", name, tag_id)
            }
        for name, tag_id in sorted(created.items()):
            outcome = self._drop("tag", name, tag_id, partial(self._tag_id, name))
            if outcome == _DELETED:
                self.dropped.append(name)
            elif outcome:
                self.kept[name] = outcome

    def drop_objects(self) -> None:
        """Delete what these plans created for stash-boxes and nothing uses any more."""
        with self.database.transaction() as session:
            created = {
                made.key: made
                for plan_id, made in created_objects(session)
                if self._is_to_drop(plan_id, made.kind, made.name, made.id)
            }
        for key, made in sorted(created.items()):
            find = partial(ours_in_stash, self.stash, made)
            outcome = self._drop(made.kind, made.name, made.id, find, made.given)
            if outcome:
                self.created[key] = outcome

    def _tag_id(self, name: str) -> int | None:
        tag = self.stash.find_tag(name)
        return tag.id if tag else None

    def _drop(
        self,
        kind: NamedKind,
        name: str,
        id_: int | None,
        find: Callable[[], int | None],
        given: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Delete something that a plan created, unless it is used or renamed.

        Args:
            kind: What it is.
            name: The name that it was created with.
            id_: Its id; None: the run died before it could record the id.
            find: Returns the id that it has in Stash then.
            given: Field → value that it was created with, beside its name.

        Returns:
            `_DELETED`, or why it is kept; None: it is not there, or Stash failed.
        """
        try:
            id_ = find() if id_ is None else id_
            use = None if id_ is None else self.stash.object_use(kind, id_, given)
            if use is None:
                return None
            if use.name != name:
                # Somebody has made it their own.
                return f"renamed to {use.name}"
            since = self.created_at.get((kind, use.id))
            if not is_moment(use.created_at, since):
                return "created anew by somebody"
            if use.additions:
                return use.in_words
            self._destroy(kind, use.id)
        except JobError as error:
            failure = ItemFailure(item=f"{kind} {name}", reason=str(error))
            self.failures.append(failure)
            return None
        with self.database.transaction() as session:
            unmirror_object(session, kind, use.id)
        return _DELETED

    def _destroy(self, kind: NamedKind, id_: int) -> None:
        """Delete a tag, performer or studio.

        Raises:
            JobError: Stash still has it.
        """
        try:
            self.stash.destroy_object(kind, id_)
        except (JobError, TransientError) as error:
            if self.stash.object_use(kind, id_) is not None:
                raise JobError(str(error)) from error

    def _record(self, session: Session, changes: list[AppliedChange]) -> None:
        ids = [change.id for change in changes]
        records.record_undone(session, ids, remember=self.params.remember)

    def _count(self, changes: list[AppliedChange], outcome: str) -> None:
        self.counts[outcome] += len(changes)
        for change in changes:
            self.failed.pop(change.id, None)
            self.taken.add(change)
        if outcome == "undone":
            self.scene_ids.update(change.scene_id for change in changes)

    @property
    def retried(self) -> dict[int, int]:
        """Changes that this run may try again: change id → scene id."""
        return {
            change.id: change.scene_id
            for change, error in self.failed.values()
            if isinstance(error, TransientError | UnreadableError)
        }

    def result(self) -> UndoResult:
        """Return the result of the job."""
        failures = [
            ItemFailure(item=f"scene {c.scene_id}, {c.field}", reason=str(error))
            for c, error in self.failed.values()
        ] + self.failures
        return UndoResult(
            status="completed_with_errors" if failures else "completed",
            undone=self.counts["undone"],
            already=self.counts["already"],
            conflicts=self.counts["conflicts"],
            skipped=self.counts["skipped"],
            failed=len(self.failed),
            tags_dropped=tuple(self.dropped),
            tags_kept=self.kept,
            created=self.created,
            scene_ids=tuple(sorted(self.scene_ids)),
            errors=tuple(failures),
        )
