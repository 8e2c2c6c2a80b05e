"""The job `verify_mirror`: verification of the mirror by comparing it with Stash."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.kept_glance import forget_glance
from stashhog_core.db.locks import job_lock
from stashhog_core.db.manifest import forget_hashes, forget_listing
from stashhog_core.db.models import (
    Marker,
    MirrorCheck,
    Scene,
)
from stashhog_core.db.session import Database
from stashhog_core.params import VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, VerifyMirrorResult
from stashhog_core.stash.client import StashClient
from stashhog_core.sync import rows
from stashhog_core.sync.entities import KINDS
from stashhog_core.sync.job import JOB
from stashhog_core.sync.mirror import (
    differing_fields,
    grouped,
    scene_differences,
)

log = logging.getLogger(__name__)

_PAGE_SIZE = 500
_LISTED = 100
_SHOWN_CHARACTERS = 80
_WAIT_SECONDS = 600.0

Difference = tuple[str, str, Any, Any]
"""What (such as `scene 7`), field, Stash's value, the mirror's."""


def verify_mirror(
    stash: StashClient,
    database: Database,
    params: VerifyMirrorParams,
    progress: Progress,
    *,
    run_id: str | None = None,
) -> VerifyMirrorResult:
    """Compare scenes drawn by lot, and all counts and entities, with Stash.

    Waits while a sync is under way. A scene, tag, performer or studio that differs is
    stored anew by the next sync, whatever its time of change or its hash says; after a
    difference in the counts alone, that compares all rows. Local edits count as right.

    Raises:
        TransientError: Stash or the database is away, or a sync does not end.
        JobError: Stash refuses to answer.
        JobCancelled: A stop was asked for.
    """
    with job_lock(
        database, JOB, wait_seconds=_WAIT_SECONDS, checkpoint=progress.checkpoint
    ):
        return _verify(stash, database, params, progress, run_id)


def last_verification(session: Session) -> MirrorCheck | None:
    """Return the newest comparison that found no difference; None: there is none."""
    return session.scalar(
        select(MirrorCheck)
        .where(MirrorCheck.proved)
        .order_by(MirrorCheck.id.desc())
        .limit(1)
    )


def _verify(
    stash: StashClient,
    database: Database,
    params: VerifyMirrorParams,
    progress: Progress,
    run_id: str | None,
) -> VerifyMirrorResult:
    progress.update(0, "Counting in Stash")
    listings = {name: kind.fetch(stash) for name, kind in KINDS.items()}
    counts = {
        "scenes": stash.count_scenes(),
        "markers": sum(1 for _ in stash.marker_stamps()),
        **{f"{kind}s": len(listing) for kind, listing in listings.items()},
    }
    with database.transaction() as session:
        mirrored = _local_counts(session)
        wrong = list(_entity_differences(session, listings))
        for kind in listings:
            forget_hashes(session, {id_ for k, id_, *_ in wrong if k == kind}, kind)
        ids = _draw(session, params.scenes)
    differences: list[Difference] = [
        (f"{kind} {id_}", *rest) for kind, id_, *rest in wrong
    ]
    differences += [
        (name, "count", number, mirrored[name])
        for name, number in counts.items()
        if number != mirrored[name]
    ]

    different: set[int] = set()
    awaiting: set[int] = set()
    done = 0
    for page in batched(ids, _PAGE_SIZE):
        progress.items(done, len(ids), "Compared scenes")
        done += len(page)
        scenes, absent = stash.scenes(page)
        with database.transaction() as session:
            found = list(scene_differences(session, scenes))
            found += [(id_, "scene", None, "it") for id_ in absent]
            different.update(id_ for id_, *_ in found)
            forget_hashes(session, {id_ for id_, *_ in found})
        awaiting.update(absent)
        awaiting.update(id_ for id_, f, *_ in found if f == "stash_updated_text")
        differences += [(f"scene {id_}", *rest) for id_, *rest in found]

    verified = not differences
    with database.transaction() as session:
        if not verified:
            # What differs may be a row that no lot has drawn.
            forget_listing(session)
            forget_glance(session)
        session.add(
            MirrorCheck(
                run_id=run_id,
                proved=verified,
                scenes_checked=len(ids),
                scenes_different=len(different),
                facts={"stash": counts, "mirror": mirrored},
            )
        )
        session.flush()
        newest = last_verification(session)
        last = newest.checked_at if newest else None
    progress.update(1.0, f"{len(differences)} differences")
    rate = len(different) / len(ids) if ids else 0.0
    log.info(
        "Verified %d scenes and all counts: %d differences, drift rate %.4f",
        len(ids),
        len(differences),
        rate,
    )
    return VerifyMirrorResult(
        status="completed" if verified else "completed_with_errors",
        scenes_checked=len(ids),
        scenes_different=len(different),
        awaiting_sync=len(awaiting & different),
        differences=len(differences),
        drift_rate=rate,
        counts=counts,
        mirror_counts=mirrored,
        last_proved=last,
        errors=tuple(map(_in_words, differences[:_LISTED])),
    )


def _draw(session: Session, number: int) -> list[int]:
    query = (
        select(Scene.id)
        .where(Scene.missing_since.is_(None))
        .order_by(func.random())
        .limit(number)
    )
    return sorted(session.scalars(query))


def _local_counts(session: Session) -> dict[str, int]:
    """Count what is mirrored and not known to be gone."""
    models: dict[str, Any] = {f"{name}s": kind.model for name, kind in KINDS.items()}
    models["scenes"] = Scene
    counts = {
        name: session.scalar(
            select(func.count()).select_from(model).where(model.missing_since.is_(None))
        )
        or 0
        for name, model in models.items()
    }
    here = select(Scene.id).where(Scene.missing_since.is_(None))
    markers = select(func.count()).where(Marker.scene_id.in_(here))
    return {**counts, "markers": session.scalar(markers) or 0}


def _entity_differences(
    session: Session, listings: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[str, int, str, Any, Any]]:
    """Yield kind, id, field, Stash's value and the mirror's for all that differs."""
    for name, kind in KINDS.items():
        mirrored = {row[0]: row for row in _select(session, kind.model, kind.columns)}
        links = kind.links
        tagged = grouped(_select(session, links.model, links.columns), 0)
        for entity in listings[name]:
            if (row := mirrored.get(entity.id)) is None:
                yield name, entity.id, name, entity.name, None
            else:
                yield from (
                    (name, entity.id, *found)
                    for found in differing_fields(
                        kind.columns, kind.row_of(entity), row
                    )
                )
            theirs = set(links.rows_of(entity))
            mine = tagged.get(entity.id, set())
            if theirs != mine:
                yield name, entity.id, links.name, theirs - mine, mine - theirs


def _select(session: Session, model: Any, columns: Sequence[str]) -> list[rows.Row]:
    query = select(*(getattr(model, name) for name in columns))
    return [tuple(row) for row in session.execute(query)]


def _in_words(difference: Difference) -> ItemFailure:
    what, field, theirs, mine = difference
    shown = [
        str(sorted(v) if isinstance(v, set) else v)[:_SHOWN_CHARACTERS]
        for v in (theirs, mine)
    ]
    return ItemFailure(
        item=what, reason=f"{field}: Stash has {shown[0]}, the mirror {shown[1]}"
    )
