"""Bringing local edits of scenes to Stash."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from stashhog_core.db.locks import job_lock
from stashhog_core.db.scenes import lock_scenes
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.local_edits import (
    FieldEdit,
    forget_edit,
    list_edits,
    note_conflict,
    stash_value,
)

log = logging.getLogger(__name__)

JOB = "push_edits"


@dataclass(frozen=True)
class Pushed:
    """What became of the edits, counted in fields."""

    pushed: int = 0
    already: int = 0
    conflicts: int = 0
    failures: tuple[ItemFailure, ...] = ()


def push_edits(
    stash: StashClient,
    database: Database,
    progress: Progress,
    scene_ids: Sequence[int] | None = None,
) -> Pushed:
    """Bring edits to Stash where it still has what they were based on.

    Killed at any point and run again, it ends the same: an edit whose value Stash has
    already is done. A field that Stash has changed becomes a conflict; fields that
    are in conflict are left alone.

    Args:
        stash: The Stash server.
        database: The mirror.
        progress: Receives the scenes done so far.
        scene_ids: Only these scenes; None: all.

    Raises:
        TransientError: Stash or the database is away; what was pushed is noted.
        JobCancelled: A stop was asked for.
    """
    with job_lock(database, JOB):
        with database.transaction() as session:
            edits = [
                edit
                for edit in list_edits(session)
                if not edit.conflict
                and (scene_ids is None or edit.scene_id in scene_ids)
            ]
        done = Pushed()
        by_scene = [
            (scene_id, list(group))
            for scene_id, group in groupby(edits, key=lambda edit: edit.scene_id)
        ]
        for number, (scene_id, group) in enumerate(by_scene):
            progress.items(number, len(by_scene), "Pushed scenes")
            try:
                done = _push_scene(stash, database, scene_id, group, done)
            except JobError as error:
                failure = ItemFailure(item=f"scene {scene_id}", reason=str(error))
                done = replace(done, failures=(*done.failures, failure))
        return done


def _push_scene(
    stash: StashClient,
    database: Database,
    scene_id: int,
    edits: Sequence[FieldEdit],
    done: Pushed,
) -> Pushed:
    with database.transaction() as session:
        created_at = lock_scenes(session, [scene_id]).get(scene_id)
    scenes, _ = stash.scenes([scene_id])
    if not scenes or not scenes[0].was_created_at(created_at):
        raise JobError(
            "Stash no longer has this scene", remedy="run `stashhog run sync`"
        )
    live = {edit.field: stash_value(scenes[0], edit.field) for edit in edits}
    changed = [e for e in edits if live[e.field] not in (*e.before, e.value)]
    already = [e for e in edits if live[e.field] == e.value]
    wanted = [e for e in edits if live[e.field] in e.before and e not in already]
    _send(stash, scene_id, wanted, live)
    with database.transaction() as session:
        lock_scenes(session, [scene_id])
        for edit in changed:
            note_conflict(session, edit, live[edit.field])
        for edit in (*wanted, *already):
            forget_edit(session, edit)
    log.info("Pushed %d edited fields of scene %d", len(wanted), scene_id)
    return replace(
        done,
        pushed=done.pushed + len(wanted),
        already=done.already + len(already),
        conflicts=done.conflicts + len(changed),
    )


def _send(
    stash: StashClient,
    scene_id: int,
    edits: Sequence[FieldEdit],
    live: Mapping[str, Any],
) -> None:
    fields: dict[str, Any] = {}
    links: dict[str, Any] = {}
    for edit in edits:
        if edit.field in {"tag_ids", "performer_ids"}:
            mine, theirs = set(edit.value), set(live[edit.field])
            links[f"add_{edit.field}"] = sorted(mine - theirs)
            links[f"remove_{edit.field}"] = sorted(theirs - mine)
        elif edit.field == "studio_id" and edit.value is not None:
            fields[edit.field] = str(edit.value)
        else:
            fields[edit.field] = edit.value
    if fields:
        stash.update_scene(scene_id, fields)
    if links:
        stash.bulk_update_scenes([scene_id], **links)
