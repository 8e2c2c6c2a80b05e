"""The job `undo_plan`: take back what was applied, three-way and set-wise.

Everything here may be sent twice without harm, so a run that is killed needs no record
of what it was about to do: the next one finds part of it done already.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from stashhog_core.analysis import undo_records as records
from stashhog_core.analysis.grouping import Group, group_edits
from stashhog_core.analysis.mirror_update import (
    mirror_group,
    mirror_texts,
    unmirror_markers,
    unmirror_tag,
)
from stashhog_core.analysis.plan_lock import plan_lock
from stashhog_core.analysis.plans import read_plan
from stashhog_core.analysis.reversal import ALREADY, Applied, Reversal, judge
from stashhog_core.analysis.settling import SCENE_GONE
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import UndoParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, UndoResult
from stashhog_core.stash.payloads import Tag, TagUse
from stashhog_core.stash.scene_editor import SceneEditor

SCENES_PER_PAGE = 500
"""Scenes read and changed at a time."""

Undoing = tuple[Applied, Reversal]


class UndoStore(SceneEditor, Protocol):
    """The part of Stash that undoing needs."""

    def destroy_markers(self, ids: Sequence[int]) -> None:
        """Delete markers."""

    def find_tag(self, name: str) -> Tag | None:
        """Return the tag of this name or alias."""

    def tag_use(self, tag_id: int) -> TagUse | None:
        """Return how much a tag is used; None: there is no such tag.

        Raises:
            JobError: The server does not say.
        """

    def destroy_tag(self, tag_id: int) -> None:
        """Delete a tag."""


def undo(
    stash: UndoStore, database: Database, params: UndoParams, progress: Progress
) -> UndoResult:
    """Take applied changes back, the last one first.

    What somebody changed since is a conflict and left alone. Tags that were created
    for these changes are dropped once nothing uses them and nobody added to them.

    Args:
        stash: The server.
        database: The plans, and the mirror that follows what is changed.
        params: Which changes.
        progress: Reports scenes; a stop leaves the rest applied.

    Raises:
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
        for start in range(0, len(scene_ids), SCENES_PER_PAGE):
            ids = scene_ids[start : start + SCENES_PER_PAGE]
            progress.items(start, len(scene_ids), "Undone scenes")
            run.undo_page(ids)
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
    failures: list[ItemFailure] = field(default_factory=list)

    def undo_page(self, scene_ids: list[int]) -> None:
        """Undo the changes of some scenes."""
        with self.database.transaction() as session:
            changes = records.applied_changes(session, self.params, scene_ids)
            held = records.held_by_others(session, changes)
        found, _ = self.stash.scenes(scene_ids)
        live = {scene.id: scene for scene in found}
        done: list[Applied] = []
        work: list[Undoing] = []
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
                self.counts["already"] += 1
                done.append(change)
            else:
                self.counts["conflicts"] += 1
                conflicts.append((change, reversal.reason or ""))
        with self.database.transaction() as session:
            records.record_reasons(session, [(c.id, reason) for c, reason in conflicts])
            self._record(session, done)
        self._send_sets([(c, r) for c, r in work if r.edit])
        self._send_fields([(c, r) for c, r in work if r.fields])
        self._send_markers([(c, r) for c, r in work if r.marker_id is not None])

    def _send_sets(self, work: list[Undoing]) -> None:
        for group in group_edits((c.scene_id, r.edit) for c, r in work if r.edit):
            scenes = set(group.scene_ids)
            changes = [
                c for c, r in work if c.scene_id in scenes and r.edit in group.edits
            ]
            try:
                self.stash.bulk_update_scenes(
                    group.scene_ids,
                    add_tag_ids=group.ids("add_tag"),
                    remove_tag_ids=group.ids("remove_tag"),
                    add_performer_ids=group.ids("add_performer"),
                    remove_performer_ids=group.ids("remove_performer"),
                )
            except JobError as error:
                self._failed(changes, error)
                continue
            self._undone(changes, group)

    def _undone(self, changes: list[Applied], group: Group) -> None:
        with self.database.transaction() as session:
            mirror_group(session, group)
            self._record(session, changes)
        self._count(changes)

    def _send_fields(self, work: list[Undoing]) -> None:
        by_scene: dict[int, list[Undoing]] = defaultdict(list)
        for undoing in work:
            by_scene[undoing[0].scene_id].append(undoing)
        for scene_id, of_scene in by_scene.items():
            fields = {k: v for _, r in of_scene for k, v in r.fields.items()}
            changes = [change for change, _ in of_scene]
            try:
                self.stash.update_scene(scene_id, fields)
            except JobError as error:
                self._failed(changes, error)
                continue
            local = {
                name: value if name in ("studio_id", "date") else value or ""
                for name, value in fields.items()
            }
            with self.database.transaction() as session:
                mirror_texts(session, scene_id, local)
                self._record(session, changes)
            self._count(changes)

    def _send_markers(self, work: list[Undoing]) -> None:
        if not work:
            return
        ids = [r.marker_id for _, r in work if r.marker_id is not None]
        changes = [change for change, _ in work]
        try:
            self.stash.destroy_markers(ids)
        except JobError as error:
            self._failed(changes, error)
            return
        with self.database.transaction() as session:
            unmirror_markers(session, ids)
            self._record(session, changes)
        self._count(changes)

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
                self.stash.destroy_tag(use.id)
            except JobError as error:
                self.failures.append(ItemFailure(item=f"tag {name}", reason=str(error)))
                continue
            with self.database.transaction() as session:
                unmirror_tag(session, use.id)
            self.dropped.append(name)

    def _record(self, session: Any, changes: list[Applied]) -> None:
        ids = [change.id for change in changes]
        records.record_undone(session, ids, remember=self.params.remember)

    def _count(self, changes: list[Applied]) -> None:
        self.counts["undone"] += len(changes)
        self.scene_ids.update(change.scene_id for change in changes)

    def _failed(self, changes: list[Applied], error: JobError) -> None:
        self.counts["failed"] += len(changes)
        with self.database.transaction() as session:
            records.record_reasons(session, [(c.id, str(error)) for c in changes])
        self.failures += [
            ItemFailure(item=f"scene {c.scene_id}, {c.field}", reason=str(error))
            for c in changes
        ]

    def result(self) -> UndoResult:
        """Return what the caller is told."""
        return UndoResult(
            status="completed_with_errors" if self.failures else "completed",
            undone=self.counts["undone"],
            already=self.counts["already"],
            conflicts=self.counts["conflicts"],
            skipped=self.counts["skipped"],
            failed=self.counts["failed"],
            tags_dropped=tuple(self.dropped),
            tags_kept=self.kept,
            scene_ids=tuple(sorted(self.scene_ids)),
            errors=tuple(self.failures),
        )
