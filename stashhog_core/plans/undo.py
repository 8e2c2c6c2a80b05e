"""The job `undo_plan`: take back what was applied, three-way and set-wise.

Everything here may be sent twice without harm, so a run that is killed needs no record
of what it was about to do: the next one finds part of it done already. As in applying,
only a readable yes counts as a yes; after anything else Stash is read. What it has not
taken back stays applied, to be undone by the next try.
"""

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

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
from stashhog_core.plans import undo_records as records
from stashhog_core.plans.effects import SCENE_GONE, Answers
from stashhog_core.plans.grouping import Group, group_edits
from stashhog_core.plans.lock import plan_lock
from stashhog_core.plans.mirror_update import (
    mirror_group,
    mirror_texts,
    unmirror_markers,
    unmirror_tag,
)
from stashhog_core.plans.queries import read_plan
from stashhog_core.plans.reversal import ALREADY, Applied, Reversal, judge
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, UndoResult
from stashhog_core.stash.client import SceneEditor
from stashhog_core.stash.payloads import StashScene, StashTag, TagUse

logger = logging.getLogger(__name__)

SCENES_PER_PAGE = 500
"""Scenes read and changed at a time."""

PAUSES_SECONDS = (1.0, 5.0)
"""Pauses before a run tries again what a busy Stash or a lost answer has hindered."""

Undoing = tuple[Applied, Reversal]


class UndoStore(SceneEditor, Protocol):
    """The part of Stash that undoing needs."""

    def destroy_markers(self, ids: Sequence[int]) -> None:
        """Delete markers."""

    def find_tag(self, name: str) -> StashTag | None:
        """Return the tag of this name or alias."""

    def tag_use(self, tag_id: int) -> TagUse | None:
        """Return how much a tag is used; None: there is no such tag.

        Raises:
            JobError: The server does not say.
        """

    def destroy_tag(self, tag_id: int) -> None:
        """Delete a tag."""


@dataclass(frozen=True)
class _Request:
    """One request that undoes changes: sets (`group`), texts of a scene, or markers."""

    work: list[Undoing]
    group: Group | None = None

    @property
    def _marker_ids(self) -> list[int]:
        return [r.marker_id for _, r in self.work if r.marker_id is not None]

    def send(self, stash: UndoStore) -> None:
        """Send it."""
        if self.group is not None:
            stash.bulk_update_scenes(
                self.group.scene_ids,
                add_tag_ids=self.group.ids("add_tag"),
                remove_tag_ids=self.group.ids("remove_tag"),
                add_performer_ids=self.group.ids("add_performer"),
                remove_performer_ids=self.group.ids("remove_performer"),
            )
        elif self._marker_ids:
            stash.destroy_markers(self._marker_ids)
        else:
            fields = {k: v for _, r in self.work for k, v in r.fields.items()}
            stash.update_scene(self.work[0][0].scene_id, fields)

    def mirror(self, session: Session) -> None:
        """Repeat in the mirror what it did."""
        if self.group is not None:
            mirror_group(session, self.group)
        elif self._marker_ids:
            unmirror_markers(session, self._marker_ids)
        else:
            for change, reversal in self.work:
                _mirror(session, change.scene_id, reversal)

    def parts(self) -> list[list[Undoing]]:
        """Return the work value by value; nothing if it has only one."""
        if self.group is None:
            parts = [[undoing] for undoing in self.work]
        else:
            parts = [
                [undoing for undoing in self.work if undoing[1].edit == edit]
                for edit in sorted(self.group.edits)
            ]
        return parts if len(parts) > 1 else []


def _mirror(session: Session, scene_id: int, reversal: Reversal) -> None:
    """Repeat in the mirror that one change was taken back."""
    if reversal.edit is not None:
        mirror_group(session, Group(frozenset([reversal.edit]), (scene_id,)))
    if reversal.fields:
        local = {
            name: value if name in ("studio_id", "date") else value or ""
            for name, value in reversal.fields.items()
        }
        mirror_texts(session, scene_id, local)
    if reversal.marker_id is not None:
        unmirror_markers(session, [reversal.marker_id])


def undo(
    stash: UndoStore,
    database: Database,
    params: UndoParams,
    progress: Progress,
    *,
    pauses_seconds: Sequence[float] = PAUSES_SECONDS,
) -> UndoResult:
    """Take applied changes back, the last one first.

    What somebody changed since is a conflict and left alone. Tags that were created
    for these changes are dropped once nothing uses them and nobody added to them.

    Args:
        stash: The server.
        database: The plans, and the mirror that follows what is changed.
        params: Which changes.
        progress: Reports scenes; a stop leaves the rest applied.
        pauses_seconds: Before each further try of what was hindered for now.

    Raises:
        ConfigurationError: Stash does not let this client in any more.
        JobError: Nothing says which changes, or there is no such plan or change.
        TransientError: Stash or the database is down, or another run works on one of
            the plans; the rest stays applied.
        JobCancelled: A stop was asked for.
    """
    if not params.model_dump(
        include={"plan_id", "scene_id", "change_ids", "detector"}, exclude_none=True
    ):
        raise JobError(
            "Nothing says what to undo",
            remedy="name plan_id, scene_id, change_ids or detector",
        )
    run = _Undo(stash, database, params)
    with ExitStack() as locks:
        with database.transaction() as session:
            if params.plan_id is not None:
                # A wrong id would look like a plan with nothing left to undo.
                read_plan(session, params.plan_id)
            records.require_changes(session, params)
            plan_ids = records.plan_ids_of(session, params)
        for plan_id in plan_ids:
            locks.enter_context(plan_lock(database, plan_id))
        with database.transaction() as session:
            scene_ids = records.scene_ids_of(session, params)
        done = 0
        for ids in batched(scene_ids, SCENES_PER_PAGE):
            progress.items(done, len(scene_ids), "Undone scenes")
            run.undo_page(ids)
            done += len(ids)
        for pause_seconds in pauses_seconds:
            if not (hindered := run.hindered):
                break
            progress.sleep(pause_seconds)
            scenes = sorted(set(hindered.values()))
            for ids in batched(scenes, SCENES_PER_PAGE):
                run.undo_page(ids, hindered)
        # A run that died before this step left its tags to the next one.
        run.drop_tags(plan_ids if params.plan_id is None else [params.plan_id])
        progress.update(1.0, f"Undone changes: {run.counts['undone']}")
    return run.result()


@dataclass
class _Undo:
    stash: UndoStore
    database: Database
    params: UndoParams
    counts: Counter[str] = field(default_factory=Counter)
    scene_ids: set[int] = field(default_factory=set)
    dropped: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    failed: dict[int, tuple[Applied, Exception]] = field(default_factory=dict)
    """Change id → the change that stays applied, and why."""
    failures: list[ItemFailure] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)

    def undo_page(
        self, scene_ids: list[int], only: Collection[int] | None = None
    ) -> None:
        """Undo the changes of some scenes; with `only`, these changes."""
        with self.database.transaction() as session:
            changes = records.applied_changes(session, self.params, scene_ids)
            if only is not None:
                changes = [change for change in changes if change.id in only]
            held = records.held_by_others(session, changes)
        found, _ = self.stash.scenes(scene_ids)
        live = {scene.id: scene for scene in found}
        work = self._judged(changes, live, held)
        waiting = deque(self._requests(work))
        while waiting:
            waiting.extendleft(reversed(self._send(waiting.popleft())))

    def _judged(
        self,
        changes: list[Applied],
        live: Mapping[int, StashScene],
        held: Collection[int] = (),
        *,
        sent: bool = False,
    ) -> list[Undoing]:
        """Record what is settled by what Stash has; return what is to be undone.

        With `sent`, a request has gone out for them: what it has brought about is ours.
        """
        work: list[Undoing] = []
        done: list[Undoing] = []
        conflicts: list[tuple[Applied, str]] = []
        for change in changes:
            scene = live.get(change.scene_id)
            if scene is None:
                self.counts["skipped"] += 1
                conflicts.append((change, SCENE_GONE))
                continue
            reversal = ALREADY if change.id in held else judge(change, scene)
            if reversal.verdict == "undo":
                work.append((change, reversal))
            elif reversal.verdict == "already":
                done.append((change, reversal))
            else:
                self.counts["conflicts"] += 1
                conflicts.append((change, reversal.reason or ""))
        with self.database.transaction() as session:
            records.record_reasons(session, [(c.id, reason) for c, reason in conflicts])
            for change, reversal in done:
                _mirror(session, change.scene_id, reversal)
            self._record(session, [change for change, _ in done])
        for change, _ in conflicts:
            self.failed.pop(change.id, None)
        self._count([change for change, _ in done], "undone" if sent else "already")
        return work

    def _requests(self, work: list[Undoing]) -> Iterator[_Request]:
        """Yield the fewest requests that undo these changes."""
        for group in group_edits((c.scene_id, r.edit) for c, r in work if r.edit):
            scenes = set(group.scene_ids)
            yield _Request(
                [
                    u
                    for u in work
                    if u[0].scene_id in scenes and u[1].edit in group.edits
                ],
                group=group,
            )
        by_scene: dict[int, list[Undoing]] = defaultdict(list)
        for undoing in work:
            if undoing[1].fields:
                by_scene[undoing[0].scene_id].append(undoing)
        for of_scene in by_scene.values():
            yield _Request(of_scene)
        if markers := [u for u in work if u[1].marker_id is not None]:
            yield _Request(markers)

    def _send(self, request: _Request) -> list[_Request]:
        """Send a request; return what is to be sent instead, if it was refused."""
        changes = [change for change, _ in request.work]
        try:
            request.send(self.stash)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, Stash is read
            return self._after(request, error)
        self.answers.note(None)
        with self.database.transaction() as session:
            request.mirror(session)
            self._record(session, changes)
        self._count(changes, "undone")
        return []

    def _after(self, request: _Request, error: Exception) -> list[_Request]:
        """Read what has come of a request that Stash did not say yes to."""
        logger.info("Reading from Stash what became of a request: %s", error)
        changes = [change for change, _ in request.work]
        found, _ = self.stash.scenes(list({c.scene_id: None for c in changes}))
        left = self._judged(changes, {scene.id: scene for scene in found}, sent=True)
        if isinstance(error, RefusedError):
            # One value or marker makes Stash refuse them all.
            if len(left) < len(changes):
                return list(self._requests(left))
            if parts := request.parts():
                return [r for part in parts for r in self._requests(part)]
        with self.database.transaction() as session:
            records.record_reasons(session, [(c.id, str(error)) for c, _ in left])
        self.failed |= {change.id: (change, error) for change, _ in left}
        self.answers.note(error if left else None)
        return []

    def drop_tags(self, plan_ids: list[int]) -> None:
        """Delete the tags that these plans created and nothing uses any more."""
        with self.database.transaction() as session:
            created = records.created_tags(session, plan_ids)
        for name, tag_id in created:
            if tag_id is None:
                tag = self.stash.find_tag(name)
                tag_id = tag.id if tag else None
            try:
                use = self.stash.tag_use(tag_id) if tag_id is not None else None
                if use is None:
                    continue
                if use.name != name:
                    # It became somebody's own.
                    self.kept[name] = f"renamed to {use.name}"
                    continue
                if use.additions:
                    self.kept[name] = use.in_words
                    continue
                self._destroy_tag(use.id)
            except JobError as error:
                self.failures.append(ItemFailure(item=f"tag {name}", reason=str(error)))
                continue
            with self.database.transaction() as session:
                unmirror_tag(session, use.id)
            self.dropped.append(name)

    def _destroy_tag(self, tag_id: int) -> None:
        """Delete a tag.

        Raises:
            JobError: Stash still has it.
        """
        try:
            self.stash.destroy_tag(tag_id)
        except (JobError, TransientError) as error:
            if self.stash.tag_use(tag_id) is not None:
                raise JobError(str(error)) from error

    def _record(self, session: Any, changes: list[Applied]) -> None:
        ids = [change.id for change in changes]
        records.record_undone(session, ids, remember=self.params.remember)

    def _count(self, changes: list[Applied], outcome: str) -> None:
        self.counts[outcome] += len(changes)
        for change in changes:
            self.failed.pop(change.id, None)
        if outcome == "undone":
            self.scene_ids.update(change.scene_id for change in changes)

    @property
    def hindered(self) -> dict[int, int]:
        """Changes that this very run may try again, each with its scene."""
        return {
            change.id: change.scene_id
            for change, error in self.failed.values()
            if isinstance(error, TransientError | UnreadableError)
        }

    def result(self) -> UndoResult:
        """Return what the caller is told."""
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
            scene_ids=tuple(sorted(self.scene_ids)),
            errors=tuple(failures),
        )
