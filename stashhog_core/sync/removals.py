"""Removing what is gone from Stash: marked first, removed by a later run, limited."""

import logging
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from stashhog_core.db.kept_glance import forget_glance
from stashhog_core.db.manifest import SCENE, forget_hashes, forget_listing
from stashhog_core.db.models import Scene
from stashhog_core.db.reading import any_of
from stashhog_core.db.scenes import scenes_of_entities
from stashhog_core.errors import JobError
from stashhog_core.params import removal_limit
from stashhog_core.plans.rejections import keep_rejections
from stashhog_core.sync.entities import KINDS
from stashhog_core.sync.local_edits import edits_of

log = logging.getLogger(__name__)

SHOWS_NONE = (
    "Stash lists no scene at all. This may be an error, "
    "so no scene was removed. If Stash really has no scenes, "
    "run sync with confirm_removals=true"
)
"""Why no scene is removed when Stash lists none."""


def mark_missing(session: Session, kind: str, vanished: Collection[int]) -> None:
    """Note that these rows are gone from Stash.

    Nothing is lost by it: a row that comes back is restored with its local flags.
    """
    if vanished:
        model = _model(kind)
        session.execute(
            update(model)
            .where(model.id == any_of(vanished))
            .values(missing_since=func.now())
        )
        forget_listing(session)
        forget_glance(session)


def remove_missing(
    session: Session,
    kind: str,
    vanished: Collection[int],
    missing: Collection[int],
    *,
    confirmed: bool,
) -> tuple[int, str | None]:
    """Remove rows that an earlier run had marked as missing.

    Args:
        session: Open session; the caller commits. The listing of Stash was complete.
        kind: scene, tag, performer or studio.
        vanished: Rows that this run marked: they stay, but count for the removal
            limit, so that it warns before anything can be lost.
        missing: Rows marked by an earlier run, and still gone.
        confirmed: The user allows more removals than the removal limit does.

    Returns:
        How many rows were removed, and why the removal limit blocks more, if it does.
    """
    model = _model(kind)
    total = session.scalars(select(func.count()).select_from(model)).one()
    gone, limit = len(vanished) + len(missing), removal_limit(total)
    if not confirmed and gone > limit:
        return 0, (
            f"{gone} of {total} {kind}s are gone from Stash, more than the "
            f"removal limit of {limit}, so no row was removed. "
            "If Stash lists its whole library, run sync with confirm_removals=true"
        )
    # Tags, performers and studios come back with all they had; scenes lose what only
    # the mirror knows of them.
    if kind == SCENE and gone == total and not confirmed:
        return 0, SHOWS_NONE
    ids = list(missing)
    if kind == SCENE:
        _warn_of_lost_edits(session, ids)
        keep_rejections(session, ids)
    else:
        # Scenes that still have it here lose it: they are to be fetched again.
        forget_hashes(session, scenes_of_entities(session, kind, ids))
        forget_hashes(session, ids, kind)
    session.execute(delete(model).where(model.id == any_of(ids)))
    return len(ids), None


def forget_scenes(
    session: Session, scene_ids: Collection[int], fetched: int, *, confirmed: bool
) -> None:
    """Remove scenes whose ids Stash has given to other scenes.

    What people rejected for them is forgotten once the mirror has the scenes that have
    the ids now: it says nothing about those.

    Args:
        session: Open session; the caller commits.
        scene_ids: The scenes.
        fetched: How many scenes were fetched together, for the removal limit.
        confirmed: The user allows more removals than the removal limit does.

    Raises:
        JobError: They are too many. Perhaps this is another Stash.
    """
    if not scene_ids:
        return
    ids = sorted(scene_ids)
    if not confirmed and len(ids) > removal_limit(fetched):
        raise JobError(
            f"{len(ids)} of {fetched} scenes are not the scenes that had their ids "
            "before",
            remedy="check STASHHOG_STASH__URL; if Stash was set up anew or restored "
            "from a backup, run sync with confirm_removals=true",
        )
    log.warning(
        "%d scenes in Stash have the ids of earlier scenes, and are stored as new ones",
        len(ids),
    )
    _warn_of_lost_edits(session, ids)
    keep_rejections(session, ids)
    session.execute(delete(Scene).where(Scene.id == any_of(ids)))


def _warn_of_lost_edits(session: Session, scene_ids: Sequence[int]) -> None:
    for scene_id, edits in edits_of(session, scene_ids).items():
        log.warning(
            "Scene %d is gone from Stash. Its local edits are removed "
            "too, although they were never pushed: %s",
            scene_id,
            ", ".join(sorted(edit.field for edit in edits)),
        )


def _model(kind: str) -> Any:
    return Scene if kind == SCENE else KINDS[kind].model
