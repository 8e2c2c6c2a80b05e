"""The job `verify_mirror`: verification of the mirror by comparing it with Stash."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.kept_glance import forget_glance
from stashhog_core.db.locks import hold_off
from stashhog_core.db.manifest import forget_hashes, forget_listing
from stashhog_core.db.models import (
    Marker,
    MirrorCheck,
    Scene,
    SyncRun,
)
from stashhog_core.db.reading import any_of
from stashhog_core.db.session import Database
from stashhog_core.params import VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, VerifyMirrorResult
from stashhog_core.stash.client import StashClient
from stashhog_core.sync import rows
from stashhog_core.sync.deep import (
    ComparedPage,
    SceneComparison,
    count_mirrored,
    wait_for_sync,
)
from stashhog_core.sync.entities import KINDS
from stashhog_core.sync.history import JOB
from stashhog_core.sync.loader import PAGE_SIZE
from stashhog_core.sync.mirror import differing_fields, grouped

log = logging.getLogger(__name__)

_LISTED = 100
_SHOWN_CHARACTERS = 80

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

    Waits while a sync is under way, and keeps others from storing only while a page of
    scenes is compared: what a sync has stored since Stash was asked is compared again.
    A scene, tag, performer or studio that differs is stored anew by the next sync,
    whatever its time of change or its hash says; after a difference in the counts
    alone, that compares all rows. Local edits count as right.

    Raises:
        TransientError: Stash or the database is away, or a sync does not end.
        JobError: Stash refuses to answer.
        JobCancelled: A stop was asked for.
    """
    return _Verification(stash, database, params, progress).run(run_id)


def last_verification(session: Session) -> MirrorCheck | None:
    """Return the newest comparison that found no difference; None: there is none."""
    return session.scalar(
        select(MirrorCheck)
        .where(MirrorCheck.proved)
        .order_by(MirrorCheck.id.desc())
        .limit(1)
    )


@dataclass
class _Found:
    """The differences: how many, and the first of them."""

    number: int = 0
    first: list[Difference] = field(default_factory=list)

    def add(self, differences: Iterable[Difference]) -> None:
        for difference in differences:
            self.number += 1
            if len(self.first) < _LISTED:
                self.first.append(difference)


class _Verification:
    """One run."""

    def __init__(
        self,
        stash: StashClient,
        database: Database,
        params: VerifyMirrorParams,
        progress: Progress,
    ) -> None:
        self._stash = stash
        self._database = database
        self._sample = params.scenes
        self._progress = progress
        self._found = _Found()
        self._checked = 0
        self._different = 0
        self._awaiting_sync = 0

    def run(self, run_id: str | None) -> VerifyMirrorResult:
        self._progress.update(0, "Counting in Stash")
        counts, mirrored = self._compare_entities()
        total = min(self._sample, mirrored["scenes"])
        scenes = SceneComparison(
            self._stash,
            self._database,
            self._progress.checkpoint,
            sample=total if total < mirrored["scenes"] else None,
        )
        for page in scenes.pages():
            self._count(page)
            done = self._checked
            self._progress.items(done, max(total, done), "Compared scenes")
        return self._result(run_id, counts, mirrored)

    def _compare_entities(self) -> tuple[dict[str, int], dict[str, int]]:
        """Compare tags, performers, studios and counts; return Stash's, the mirror's.

        If a sync has run since Stash was asked, Stash is asked again.
        """
        stash, database = self._stash, self._database
        while True:
            wait_for_sync(database, self._progress.checkpoint)
            with database.transaction() as session:
                newest = session.scalar(select(func.max(SyncRun.id)))
            listings = {name: kind.fetch(stash) for name, kind in KINDS.items()}
            counts = {
                "scenes": stash.count_scenes(),
                "markers": sum(1 for _ in stash.marker_stamps()),
                **{f"{kind}s": len(listing) for kind, listing in listings.items()},
            }
            with database.transaction() as session:
                if not hold_off(session, JOB) or newest != session.scalar(
                    select(func.max(SyncRun.id))
                ):
                    continue
                mirrored = _local_counts(session)
                for kind, listing in listings.items():
                    for part in batched(listing, PAGE_SIZE):
                        wrong = list(_entity_differences(session, kind, part))
                        forget_hashes(session, {id_ for id_, *_ in wrong}, kind)
                        self._found.add((f"{kind} {id_}", *d) for id_, *d in wrong)
            self._found.add(
                (name, "count", number, mirrored[name])
                for name, number in counts.items()
                if number != mirrored[name]
            )
            return counts, mirrored

    def _count(self, page: ComparedPage) -> None:
        different = {id_ for id_, *_ in page.differences}
        awaiting = set(page.absent)
        awaiting.update(
            id_ for id_, name, *_ in page.differences if name == "stash_updated_text"
        )
        self._checked += page.number
        self._different += len(different)
        self._awaiting_sync += len(awaiting & different)
        self._found.add((f"scene {id_}", *rest) for id_, *rest in page.differences)

    def _result(
        self, run_id: str | None, counts: dict[str, int], mirrored: dict[str, int]
    ) -> VerifyMirrorResult:
        found = self._found
        with self._database.transaction() as session:
            if found.number:
                # What differs may be a row that no lot has drawn.
                forget_listing(session)
                forget_glance(session)
            session.add(
                MirrorCheck(
                    run_id=run_id,
                    proved=not found.number,
                    scenes_checked=self._checked,
                    scenes_different=self._different,
                    facts={"stash": counts, "mirror": mirrored},
                )
            )
            newest = last_verification(session)
            last = newest.checked_at if newest else None
        self._progress.update(1.0, f"{found.number} differences")
        rate = self._different / self._checked if self._checked else 0.0
        log.info(
            "Verified %d scenes and all counts: %d differences, drift rate %.4f",
            self._checked,
            found.number,
            rate,
        )
        return VerifyMirrorResult(
            status="completed_with_errors" if found.number else "completed",
            scenes_checked=self._checked,
            scenes_different=self._different,
            awaiting_sync=self._awaiting_sync,
            differences=found.number,
            drift_rate=rate,
            counts=counts,
            mirror_counts=mirrored,
            last_proved=last,
            errors=tuple(map(_in_words, found.first)),
        )


def _local_counts(session: Session) -> dict[str, int]:
    """Count what is mirrored and not known to be gone."""
    counts = {
        f"{name}s": session.scalars(
            select(func.count())
            .select_from(kind.model)
            .where(kind.model.missing_since.is_(None))
        ).one()
        for name, kind in KINDS.items()
    }
    counts["scenes"] = count_mirrored(session)
    here = select(Scene.id).where(Scene.missing_since.is_(None))
    markers = select(func.count()).where(Marker.scene_id.in_(here))
    return {**counts, "markers": session.scalars(markers).one()}


def _entity_differences(
    session: Session, name: str, entities: Sequence[Any]
) -> Iterator[tuple[int, str, Any, Any]]:
    """Yield id, field, Stash's value and the mirror's for all that differs."""
    kind = KINDS[name]
    links = kind.links
    ids = any_of([entity.id for entity in entities])
    mirrored = {
        row[0]: row for row in _select(session, kind.model, kind.columns, "id", ids)
    }
    tagged = grouped(_select(session, links.model, links.columns, links.column, ids), 0)
    for entity in entities:
        if (row := mirrored.get(entity.id)) is None:
            yield entity.id, name, entity.name, None
        else:
            for found in differing_fields(kind.columns, kind.row_of(entity), row):
                yield entity.id, *found
        theirs = set(links.rows_of(entity))
        mine = tagged.get(entity.id, set())
        if theirs != mine:
            yield entity.id, links.name, theirs - mine, mine - theirs


def _select(
    session: Session, model: Any, columns: Sequence[str], column: str, ids: Any
) -> list[rows.Row]:
    query = select(*(getattr(model, name) for name in columns))
    found = session.execute(query.where(getattr(model, column) == ids))
    return [tuple(row) for row in found]


def _in_words(difference: Difference) -> ItemFailure:
    what, field, theirs, mine = difference
    shown = [
        str(sorted(v) if isinstance(v, set) else v)[:_SHOWN_CHARACTERS]
        for v in (theirs, mine)
    ]
    return ItemFailure(
        item=what, reason=f"{field}: Stash has {shown[0]}, the mirror {shown[1]}"
    )
