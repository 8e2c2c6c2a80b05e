"""Tags, performers and studios that Stash lacks, and that a plan creates.

A stash-box knows them: they get its id, so that each is created once and found again.
Before one is created, the plan records that it is about to be; so undo deletes what the
plan created, and nothing else.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.manifest import forget_hashes
from stashhog_core.db.models import Performer, Studio, Tag
from stashhog_core.db.scenes import scenes_of_entities
from stashhog_core.errors import (
    BusyError,
    ItemError,
    JobError,
    RefusedError,
    TransientError,
)
from stashhog_core.plans.created import Creations
from stashhog_core.plans.proposals import BoxIdValue, NamedValue, name_key
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import NamedKind
from stashhog_core.stash.payloads import NamedObject

KINDS: dict[str, NamedKind] = {
    "tags": "tag",
    "performers": "performer",
    "studio": "studio",
}
_MODELS: dict[NamedKind, type[Tag] | type[Performer] | type[Studio]] = {
    "tag": Tag,
    "performer": Performer,
    "studio": Studio,
}
_CREATED = Creations("created_objects")


@dataclass(frozen=True)
class NewObject:
    """What a plan creates.

    Attributes:
        kind: tag, performer or studio.
        name: Its name.
        endpoint: The stash-box that knows it.
        stash_id: Its id there.
        disambiguation: What distinguishes a performer from others of this name.
        id: Its id in Stash; None: it is not known yet whether it was created.
    """

    kind: NamedKind
    name: str
    endpoint: str
    stash_id: str
    disambiguation: str = ""
    id: int | None = None

    @classmethod
    def of(cls, field: str, value: NamedValue) -> "NewObject | None":
        """Return what a proposed value creates; None: the value creates nothing."""
        if value.id is not None or value.box_id is None or field not in KINDS:
            return None
        return cls(
            KINDS[field],
            value.name.strip(),
            value.box_id.endpoint,
            value.box_id.stash_id,
            value.disambiguation,
        )

    @property
    def key(self) -> str:
        """What the plan records it by."""
        return f"{self.kind} {self.name}"

    @property
    def given(self) -> dict[str, Any]:
        """Field → value that it is created with, beside its name."""
        ids = [{"endpoint": self.endpoint, "stash_id": self.stash_id}]
        more = {"disambiguation": self.disambiguation} if self.disambiguation else {}
        return {"stash_ids": ids, **more}

    def has_box_id(self, row: NamedObject) -> bool:
        """Tell whether something in Stash has the id of this at the stash-box."""
        return any(
            (box.endpoint, box.stash_id) == (self.endpoint, self.stash_id)
            for box in row.stash_ids
        )


class NewObjects:
    """Finds in Stash, or else creates, what changes need and Stash lacked.

    Args:
        stash: The server.
        before_creating: Called before something is created.
        after_creating: Called with what was created, and its id.
        not_created: Called if nothing came of it.
    """

    def __init__(
        self,
        stash: StashClient,
        before_creating: Callable[[NewObject], None],
        after_creating: Callable[[NewObject], None],
        not_created: Callable[[NewObject], None],
    ) -> None:
        self._stash = stash
        self._before_creating = before_creating
        self._after_creating = after_creating
        self._not_created = not_created
        self._ids: dict[tuple[str, str], int] = {}
        self._failed: dict[tuple[str, str], ItemError] = {}

    def forget_failures(self) -> None:
        """Let what could not be created be tried again."""
        self._failed.clear()

    def find(self, wanted: NewObject) -> int | None:
        """Return the id in Stash by now; None: Stash does not have it.

        It is found by its id at the stash-box, else by its name, else by an alias.

        Raises:
            ItemError: Several have the name, or the one that has it has another id at
                the stash-box: a person has to look.
            TransientError: Stash cannot be read.
        """
        key = (wanted.kind, name_key(wanted.name))
        if key not in self._ids:
            found = find_in_stash(self._stash, wanted)
            if found is None:
                return None
            self._ids[key] = found
        return self._ids[key]

    def ensure(self, wanted: NewObject) -> int:
        """Return the id in Stash of what is created if Stash does not have it.

        Raises:
            ItemError: As of `find`, or Stash did not create it; then the error from
                Stash is the cause.
            TransientError: Stash cannot be read.
        """
        key = (wanted.kind, name_key(wanted.name))
        found = self.find(wanted)
        if found is not None:
            return found
        if failure := self._failed.get(key):
            raise failure
        self._before_creating(wanted)
        given = {"name": wanted.name, **wanted.given}
        try:
            created = self._stash.create_object(wanted.kind, given)
        except (JobError, TransientError) as error:
            created = self._created_all_the_same(wanted, error)
        self._ids[key] = created
        self._after_creating(replace(wanted, id=created))
        return created

    def _created_all_the_same(self, wanted: NewObject, error: Exception) -> int:
        """Return the id if only the answer was lost: just before, nothing had its id.

        Raises:
            ItemError: Nothing was created, as far as Stash says.
        """
        if (ours := ours_in_stash(self._stash, wanted)) is not None:
            return ours
        if isinstance(error, RefusedError | BusyError):
            self._not_created(wanted)
        failure = ItemError(
            f"Stash did not create the {wanted.kind} {wanted.name!r}: {error}",
            remedy=f"create the {wanted.kind} in Stash, or reject the change",
        )
        self._failed[wanted.kind, name_key(wanted.name)] = failure
        raise failure from error


def ours_in_stash(stash: StashClient, wanted: NewObject) -> int | None:
    """Return the id of what has the name and the id at the stash-box of this."""
    for row in _rows(stash, wanted):
        if wanted.has_box_id(row) and row.name == wanted.name:
            return row.id
    return None


def find_in_stash(stash: StashClient, wanted: NewObject) -> int | None:
    """Return the id of what Stash has for this: see `NewObjects.find`."""
    rows = _rows(stash, wanted)
    for row in rows:
        if wanted.has_box_id(row):
            return row.id
    key = name_key(wanted.name)
    named = [row for row in rows if name_key(row.name) == key]
    named = named or [row for row in rows if key in map(name_key, row.aliases)]
    if not named:
        return None
    if len(named) > 1:
        raise ItemError(
            f"Stash has {len(named)} {wanted.kind}s called {wanted.name!r}",
            remedy="merge or rename them in Stash, or reject the change",
        )
    if any(box.endpoint == wanted.endpoint for box in named[0].stash_ids):
        raise ItemError(
            f"The {wanted.kind} {named[0].name!r} has another id at {wanted.endpoint}",
            remedy="correct the id in Stash, or reject the change",
        )
    return named[0].id


def _rows(stash: StashClient, wanted: NewObject) -> list[NamedObject]:
    found = stash.find_objects(
        wanted.kind, wanted.name, wanted.endpoint, wanted.stash_id
    )
    return sorted(found, key=lambda row: row.id)


# --- what a plan created -------------------------------------------------------------


def note_object(session: Session, plan_id: int, made: NewObject) -> None:
    """Record that a plan created something; without an id: the plan is about to."""
    _CREATED.note(session, plan_id, made.key, asdict(made))


def forget_object(session: Session, plan_id: int, wanted: NewObject) -> None:
    """Remove the record that a plan created something: nothing came of it."""
    _CREATED.forget(session, plan_id, wanted.key)


def unfinished_objects(session: Session, plan_id: int) -> list[NewObject]:
    """Return what a run began to create and did not live to record."""
    found = [NewObject(**row) for row in _CREATED.of_plan(session, plan_id).values()]
    return [made for made in found if made.id is None]


def created_objects(session: Session) -> list[tuple[int, NewObject]]:
    """Return what plans created, each with its plan.

    It has no id if the run died before it could record the creation.
    """
    return [(plan, NewObject(**row)) for plan, _, row in _CREATED.of_all(session)]


def mirror_object(session: Session, created: NewObject) -> None:
    """Add to the mirror what was created in Stash."""
    if created.id is None:
        return
    ids = asdict(BoxIdValue(created.endpoint, created.stash_id))
    values: dict[str, Any] = {"id": created.id, "name": created.name}
    values["stash_ids"] = [ids]
    if created.kind == "performer":
        values["disambiguation"] = created.disambiguation
    model = _MODELS[created.kind]
    session.execute(insert(model).values(**values).on_conflict_do_nothing())
    forget_hashes(session, [created.id], created.kind)


def unmirror_object(session: Session, kind: NamedKind, id_: int) -> None:
    """Remove a tag, performer or studio that was deleted in Stash."""
    model = _MODELS[kind]
    forget_hashes(session, scenes_of_entities(session, kind, [id_]))
    session.execute(delete(model).where(model.id == id_))
    forget_hashes(session, [id_], kind)
