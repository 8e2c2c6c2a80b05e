"""The job `apply_plan`: bring approved changes to Stash, three-way and set-wise.

Before Stash is asked for anything, what is about to be done is recorded with each
change; right after each answer, that it was done. So a run that is killed between them
knows its own work again: each change is applied once, and can be undone.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from stashhog_core.analysis import change_records as records
from stashhog_core.analysis.change_records import Record
from stashhog_core.analysis.grouping import Edit, Group, group_edits
from stashhog_core.analysis.live_tags import LiveTags, TagStore
from stashhog_core.analysis.mirror_update import (
    mirror_group,
    mirror_marker,
    mirror_tag,
    mirror_texts,
)
from stashhog_core.analysis.plan_lock import plan_lock
from stashhog_core.analysis.settling import SCENE_GONE, Task, settle
from stashhog_core.analysis.three_way import TEXT_FIELDS, Change
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import ApplyPlanParams
from stashhog_core.progress import Progress
from stashhog_core.results import ApplyResult, ItemFailure
from stashhog_core.stash.payloads import Tag
from stashhog_core.stash.scene_editor import SceneEditor

SCENES_PER_PAGE = 500
"""Scenes read and changed at a time."""


class SceneStore(TagStore, SceneEditor, Protocol):
    """The part of Stash that holds scenes and tags."""

    def create_marker(
        self,
        *,
        scene_id: int,
        title: str,
        seconds: float,
        primary_tag_id: int,
        tag_ids: Sequence[int] = (),
        end_seconds: float | None = None,
    ) -> int:
        """Create a marker and return its id."""


def apply_plan(
    stash: SceneStore,
    database: Database,
    params: ApplyPlanParams,
    progress: Progress,
    *,
    create_missing_tags: bool,
) -> ApplyResult:
    """Apply the approved changes of a plan; run again, it goes on where it was.

    Live equals base: applied. Live equals the proposal: already. Anything else is a
    conflict, recorded and left alone. Unknown people are never created.

    Args:
        stash: The server.
        database: The plan, and the mirror that follows what is changed.
        params: Which plan, which of its changes.
        progress: Reports scenes; a stop leaves the rest approved.
        create_missing_tags: Whether tags that Stash lacks may be created.

    Raises:
        JobError: There is no such plan, or it was cancelled.
        TransientError: Stash or the database is down, or another run works on the plan;
            the rest stays approved.
        JobCancelled: A stop was asked for.
    """
    plan_id = params.plan_id
    with plan_lock(database, plan_id):
        with database.transaction() as session:
            rejected = records.begin_applying(
                session, plan_id, params.change_ids, auto_approve=params.auto_approve
            )
            scene_ids = records.approved_scene_ids(session, plan_id, params.change_ids)
        run = _Apply(stash, database, plan_id, create_missing_tags)
        run.counts["rejected"] = rejected
        for start in range(0, len(scene_ids), SCENES_PER_PAGE):
            ids = scene_ids[start : start + SCENES_PER_PAGE]
            with database.transaction() as session:
                changes = records.approved_changes(
                    session, plan_id, params.change_ids, ids
                )
            run.apply(
                changes,
                progress.within(
                    start / len(scene_ids), (start + len(ids)) / len(scene_ids)
                ),
            )
        with database.transaction() as session:
            records.finish_applying(session, plan_id)
    return run.result()


@dataclass
class _Apply:
    stash: SceneStore
    database: Database
    plan_id: int
    create_missing_tags: bool
    counts: Counter[str] = field(default_factory=Counter)
    changed_scenes: set[int] = field(default_factory=set)
    failures: list[ItemFailure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tags = LiveTags(
            self.stash,
            self.create_missing_tags,
            self._before_creating_tag,
            self._after_creating_tag,
            self._tag_not_created,
        )

    def apply(self, changes: list[Change], progress: Progress) -> None:
        """Apply the changes of some scenes."""
        found, _ = self.stash.scenes(list({c.scene_id: None for c in changes}))
        live = {scene.id: scene for scene in found}
        settled: list[tuple[Change, Record]] = []
        tasks: list[Task] = []
        for change in changes:
            outcome = settle(change, live.get(change.scene_id), self.tags)
            if isinstance(outcome, Task):
                tasks.append(outcome)
            else:
                settled.append((change, outcome))
        with self.database.transaction() as session:
            records.record(session, [task.intent for task in tasks])
        self._record(settled)
        done = len(settled)
        for send, of_request in self._requests(tasks):
            progress.items(done, len(changes), "Applied changes")
            send()
            done += of_request
        progress.items(done, len(changes), "Applied changes")

    def _requests(self, tasks: list[Task]) -> Iterator[tuple[Callable[[], None], int]]:
        """Yield each request that is to be sent, and how many changes it carries."""
        # Two names of one tag are two changes and one edit.
        same: dict[tuple[int, Edit | None], list[Task]] = defaultdict(list)
        for task in tasks:
            same[task.change.scene_id, task.edit].append(task)
        for group in group_edits(
            (scene_id, edit) for scene_id, edit in same if edit is not None
        ):
            of_group = [
                task
                for scene_id in group.scene_ids
                for edit in group.edits
                for task in same[scene_id, edit]
            ]
            yield partial(self._send_group, group, of_group), len(of_group)
        by_scene: dict[int, list[Task]] = defaultdict(list)
        for task in tasks:
            if task.change.field in TEXT_FIELDS:
                by_scene[task.change.scene_id].append(task)
        for scene_id, texts in by_scene.items():
            yield partial(self._send_texts, scene_id, texts), len(texts)
        for task in tasks:
            if task.change.field == "markers":
                yield partial(self._send_marker, task), 1

    def _send_group(self, group: Group, tasks: list[Task]) -> None:
        try:
            self._bulk_update(group)
        except JobError as error:
            # One scene that vanished since it was read makes Stash refuse them all.
            _, missing = self.stash.scenes(group.scene_ids)
            if not missing:
                self._failed(tasks, error)
                return
            gone = [task for task in tasks if task.change.scene_id in missing]
            self._skipped(gone)
            left = [task for task in tasks if task.change.scene_id not in missing]
            if left:
                rest = tuple(i for i in group.scene_ids if i not in missing)
                self._send_group(Group(group.edits, rest), left)
            return
        with self.database.transaction() as session:
            mirror_group(session, group)
            records.record(session, [task.applied() for task in tasks])
        self._count((task.change, task.applied()) for task in tasks)

    def _bulk_update(self, group: Group) -> None:
        self.stash.bulk_update_scenes(
            group.scene_ids,
            add_tag_ids=group.ids("add_tag"),
            remove_tag_ids=group.ids("remove_tag"),
            add_performer_ids=group.ids("add_performer"),
            remove_performer_ids=group.ids("remove_performer"),
            studio_id=group.studio_id,
        )

    def _send_texts(self, scene_id: int, tasks: list[Task]) -> None:
        fields = {task.change.field: task.change.proposed for task in tasks}
        try:
            self.stash.update_scene(scene_id, fields)
        except JobError as error:
            self._skipped_or_failed(scene_id, tasks, error)
            return
        with self.database.transaction() as session:
            mirror_texts(session, scene_id, fields)
            records.record(session, [task.applied() for task in tasks])
        self._count((task.change, task.applied()) for task in tasks)

    def _send_marker(self, task: Task) -> None:
        change, tag_id = task.change, task.member_id
        if tag_id is None:
            raise RuntimeError("a marker was to be made without a tag")
        try:
            marker_id = self.stash.create_marker(
                scene_id=change.scene_id,
                title=change.proposed["title"],
                seconds=change.proposed["seconds"],
                primary_tag_id=tag_id,
                end_seconds=change.proposed["end_seconds"],
            )
        except JobError as error:
            self._skipped_or_failed(change.scene_id, [task], error)
            return
        done = task.applied(marker_id=marker_id)
        with self.database.transaction() as session:
            mirror_marker(session, marker_id, change.scene_id, change.proposed, tag_id)
            records.record(session, [done])
        self._count([(change, done)])

    def _skipped_or_failed(
        self, scene_id: int, tasks: list[Task], error: JobError
    ) -> None:
        _, missing = self.stash.scenes([scene_id])
        if missing:
            self._skipped(tasks)
        else:
            self._failed(tasks, error)

    def _skipped(self, tasks: list[Task]) -> None:
        self._record(
            [
                (task.change, Record(task.change.id, "skipped", error=SCENE_GONE))
                for task in tasks
            ]
        )

    def _failed(self, tasks: list[Task], error: JobError) -> None:
        self._record(
            [
                (task.change, Record(task.change.id, "failed", error=str(error)))
                for task in tasks
            ]
        )

    def _record(self, outcomes: list[tuple[Change, Record]]) -> None:
        with self.database.transaction() as session:
            records.record(session, [record for _, record in outcomes])
        self._count(outcomes)

    def _count(self, outcomes: Iterable[tuple[Change, Record]]) -> None:
        for change, outcome in outcomes:
            self.counts[str(outcome.state)] += 1
            if outcome.state == "applied":
                self.changed_scenes.add(change.scene_id)
            if outcome.state == "failed":
                item = f"scene {change.scene_id}, {change.field}"
                self.failures.append(ItemFailure(item=item, reason=outcome.error or ""))

    def _before_creating_tag(self, name: str) -> None:
        with self.database.transaction() as session:
            records.note_tag(session, self.plan_id, name, None)

    def _after_creating_tag(self, tag: Tag) -> None:
        with self.database.transaction() as session:
            records.note_tag(session, self.plan_id, tag.name, tag.id)
            mirror_tag(session, tag)

    def _tag_not_created(self, name: str) -> None:
        with self.database.transaction() as session:
            records.forget_tag(session, self.plan_id, name)

    def result(self) -> ApplyResult:
        """Return what the caller is told."""
        return ApplyResult(
            status="completed_with_errors" if self.failures else "completed",
            plan_id=self.plan_id,
            applied=self.counts["applied"],
            already=self.counts["already"],
            conflicts=self.counts["conflict"],
            skipped=self.counts["skipped"],
            failed=self.counts["failed"],
            rejected=self.counts["rejected"],
            scene_ids=tuple(sorted(self.changed_scenes)),
            errors=tuple(self.failures),
        )
