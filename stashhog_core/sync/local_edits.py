"""Fields of scenes edited here: they win over Stash until pushed or discarded."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import delete, func, literal, null, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from stashhog_core.db.manifest import forget_hashes
from stashhog_core.db.merge import replace_children
from stashhog_core.db.models import (
    LocalEdit,
    Performer,
    Scene,
    ScenePerformer,
    SceneTag,
    Studio,
    Tag,
)
from stashhog_core.db.scenes import lock_scenes
from stashhog_core.errors import JobError
from stashhog_core.params import Id
from stashhog_core.stash import payloads
from stashhog_core.stash.payloads import Ref
from stashhog_core.sync.rows import plain_text

log = logging.getLogger(__name__)

Conflicts = Literal["remote_wins", "local_wins", "ask"]
"""Who wins where a field was changed both here and in Stash."""

_LINKS: Mapping[str, tuple[Any, str, Any]] = {
    "tag_ids": (SceneTag, "tag_id", Tag),
    "performer_ids": (ScenePerformer, "performer_id", Performer),
}


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text cannot hold the character 0")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("half of a character is no text") from error
    return text


def _real_date(text: str) -> str:
    """Accept a year, a month or a day, as Stash does."""
    # Python alone would also take 20210531 and 2021-W05.
    try:
        if not re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", text, re.ASCII):
            raise ValueError
        date.fromisoformat(text + "-01-01"[len(text) - 4 :])
    except ValueError:
        raise ValueError(
            "write a year, a month or a day that exists, such as 2021-05-31"
        ) from None
    return text


Line = Annotated[str, AfterValidator(_storable)]
Date = Annotated[str, AfterValidator(_real_date)]


class SceneEdit(BaseModel):
    """New values of a scene's fields; what is not set stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Line = ""
    code: Line = ""
    details: Line = ""
    director: Line = ""
    date: Date | None = None
    rating100: Annotated[int, Field(ge=1, le=100)] | None = None
    organized: bool = False
    urls: tuple[Line, ...] = ()
    studio_id: Id | None = None
    tag_ids: tuple[Id, ...] = ()
    performer_ids: tuple[Id, ...] = ()

    def values(self) -> dict[str, Any]:
        """Return the fields that are set, as they are stored."""
        values = self.model_dump(mode="json", exclude_unset=True)
        return {
            name: sorted(set(value)) if name in _LINKS else value
            for name, value in values.items()
        }


@dataclass(frozen=True)
class FieldEdit:
    """A field edited here. With `conflict`, Stash has changed it too, to `theirs`."""

    scene_id: int
    field: str
    base: Any
    value: Any
    conflict: bool = False
    theirs: Any = None

    @property
    def before(self) -> tuple[Any, ...]:
        """What Stash has of the field as long as the edit is not in Stash as a whole.

        Members of a set are added by one request and removed by the next: between
        them Stash has both, and that is no change of anybody else's.
        """
        if self.field not in _LINKS:
            return (self.base,)
        return self.base, sorted({*self.base, *self.value})


def edit_scene(session: Session, scene_id: int, edit: SceneEdit) -> None:
    """Change fields of a mirrored scene; Stash does not know until they are pushed.

    Args:
        session: Open session; the caller commits.
        scene_id: The scene.
        edit: Its new values.

    Raises:
        JobError: The scene, or a tag, performer or studio named, is not mirrored.
    """
    lock_scenes(session, [scene_id])
    scene = session.get(Scene, scene_id)
    if scene is None:
        raise JobError(
            f"Scene {scene_id} is not in the mirror", remedy="run a sync first"
        )
    values = edit.values()
    _require_known(session, values)
    known = {edit.field: edit for edit in edits_of(session, [scene_id])[scene_id]}
    for field, value in values.items():
        earlier = known.get(field)
        base = earlier.base if earlier else _mirrored(session, scene, field)
        _forget(session, scene_id, [field])
        if earlier and earlier.conflict:
            # Who edits a field in conflict has seen both: theirs is what it replaces.
            base = earlier.theirs
        if value != base:
            session.add(
                LocalEdit(
                    scene_id=scene_id,
                    field=field,
                    base=_json(base),
                    value=_json(value),
                    theirs=null(),
                )
            )
    session.flush()
    _write(session, scene_id, values)


def discard_edits(
    session: Session, scene_id: int, fields: Collection[str] | None = None
) -> list[str]:
    """Give up local edits of a scene: the fields are again as Stash has them.

    Args:
        session: Open session; the caller commits.
        scene_id: The scene.
        fields: Which of its fields; None: all.

    Returns:
        The fields that had been edited.
    """
    lock_scenes(session, [scene_id])
    given_up = {
        edit.field: _living(
            session, edit.field, edit.theirs if edit.conflict else edit.base
        )
        for edit in edits_of(session, [scene_id])[scene_id]
        if fields is None or edit.field in fields
    }
    _forget(session, scene_id, given_up)
    _write(session, scene_id, given_up)
    # What Stash has may have changed meanwhile: the next sync looks for itself.
    forget_hashes(session, [scene_id])
    return sorted(given_up)


def keep_local(session: Session, scene_id: int, field: str) -> None:
    """Decide a conflict for the local value; it may be pushed from now on.

    Raises:
        JobError: There is no such conflict.
    """
    lock_scenes(session, [scene_id])
    row = session.get(LocalEdit, (scene_id, field))
    if row is None or row.conflict_since is None:
        raise JobError(
            f"The field {field} of scene {scene_id} is not in conflict",
            remedy="`stashhog edits list --conflicts` lists the conflicts",
        )
    row.base = row.theirs if row.theirs is not None else null()
    row.theirs = null()
    row.conflict_since = None


def list_edits(session: Session, *, conflicts_only: bool = False) -> list[FieldEdit]:
    """Return all edits not yet pushed, by scene and field."""
    query = select(LocalEdit).order_by(LocalEdit.scene_id, LocalEdit.field)
    if conflicts_only:
        query = query.where(LocalEdit.conflict_since.is_not(None))
    return [_edit(row) for row in session.scalars(query)]


def count_conflicts(session: Session) -> int:
    """Return how many fields wait for a decision."""
    query = select(func.count()).where(LocalEdit.conflict_since.is_not(None))
    return session.scalar(query) or 0


class _Edits(dict[int, list[FieldEdit]]):
    def __missing__(self, _: int) -> list[FieldEdit]:
        return []


def edits_of(session: Session, scene_ids: Sequence[int]) -> dict[int, list[FieldEdit]]:
    """Return the edits of these scenes; a scene without any has an empty list."""
    query = select(LocalEdit).where(LocalEdit.scene_id == func.any(list(scene_ids)))
    found = _Edits()
    for row in session.scalars(query):
        found.setdefault(row.scene_id, []).append(_edit(row))
    return found


def with_edits(
    scene: payloads.StashScene, edits: Iterable[FieldEdit]
) -> payloads.StashScene:
    """Return the scene as Stash has it, but for the fields edited here."""
    changes: dict[str, Any] = {}
    for edit in edits:
        if edit.field == "studio_id":
            changes["studio"] = None if edit.value is None else Ref(id=edit.value)
        elif edit.field in _LINKS:
            refs = tuple(Ref(id=id_) for id_ in edit.value)
            changes[edit.field.removesuffix("_ids") + "s"] = refs
        else:
            is_list = isinstance(edit.value, list)
            changes[edit.field] = tuple(edit.value) if is_list else edit.value
    return msgspec.structs.replace(scene, **changes) if changes else scene


def decide_edits(
    session: Session, scenes: Sequence[payloads.StashScene], conflicts: Conflicts
) -> list[payloads.StashScene]:
    """Compare fetched scenes with their local edits; return them as to be stored.

    The caller holds the scenes. What an edit names and Stash has no more is taken out
    of it. An edit that Stash has meanwhile is done. Where Stash still has what the
    edit was based on, the edit wins. Where both were changed, the strategy decides; to
    ask means that the local value stays, and the field is listed as a conflict.
    """
    known = edits_of(session, [scene.id for scene in scenes])
    if not known:
        return list(scenes)
    decided: list[payloads.StashScene] = []
    for scene in scenes:
        standing = [
            edit
            for edit in _of_living(session, known[scene.id])
            if _stands(session, edit, stash_value(scene, edit.field), conflicts)
        ]
        decided.append(with_edits(scene, standing))
    return decided


def stash_value(scene: payloads.StashScene, field: str) -> Any:
    """Return Stash's value of a field, as edits store it."""
    if field == "studio_id":
        return scene.studio.id if scene.studio else None
    if field in _LINKS:
        refs: Iterable[Ref] = getattr(scene, field.removesuffix("_ids") + "s")
        return sorted({ref.id for ref in refs})
    value = getattr(scene, field)
    if field in {"date", "rating100", "organized"}:
        return value
    return list(map(plain_text, value)) if field == "urls" else plain_text(value)


def note_conflict(session: Session, edit: FieldEdit, theirs: Any) -> None:
    """Keep the local value, and list the field for a person to decide."""
    session.execute(
        _row_of(update(LocalEdit), edit).values(
            theirs=_json(theirs),
            conflict_since=func.coalesce(LocalEdit.conflict_since, func.now()),
        )
    )


def forget_edit(session: Session, edit: FieldEdit) -> None:
    """Take an edit as done: Stash has its value.

    If it was changed meanwhile, the newer value is based on what Stash has now.
    """
    same = LocalEdit.value == literal(edit.value, JSONB)
    if edit.value is None:
        same = LocalEdit.value.is_(None)
    session.execute(_row_of(delete(LocalEdit), edit).where(same))
    rebase_edit(session, edit, edit.value)


def rebase_edit(session: Session, edit: FieldEdit, theirs: Any) -> None:
    """Let the local value win over what Stash has now."""
    session.execute(
        _row_of(update(LocalEdit), edit).values(
            base=_json(theirs), theirs=null(), conflict_since=None
        )
    )


def _stands(
    session: Session, edit: FieldEdit, theirs: Any, conflicts: Conflicts
) -> bool:
    """Tell whether the local value goes on to win; note what became of the edit."""
    if theirs == edit.value:
        forget_edit(session, edit)
        return False
    if theirs in edit.before:
        if edit.conflict:
            rebase_edit(session, edit, theirs)
        return True
    if conflicts == "remote_wins":
        _forget(session, edit.scene_id, [edit.field])
        return False
    if conflicts == "local_wins":
        rebase_edit(session, edit, theirs)
    else:
        note_conflict(session, edit, theirs)
    return True


def _of_living(session: Session, edits: Iterable[FieldEdit]) -> Iterable[FieldEdit]:
    """Yield edits without the tags, performers and studios that are gone."""
    for edit in edits:
        value = _living(session, edit.field, edit.value)
        base = _living(session, edit.field, edit.base)
        if (value, base) == (edit.value, edit.base):
            yield edit
            continue
        log.warning(
            "Stash has removed a tag, performer or studio from "
            "the edit of %s of scene %d",
            edit.field,
            edit.scene_id,
        )
        if edit.field == "studio_id" and value is None and edit.value is not None:
            _forget(session, edit.scene_id, [edit.field])
            continue
        session.execute(
            _row_of(update(LocalEdit), edit).values(
                value=_json(value), base=_json(base)
            )
        )
        yield replace(edit, value=value, base=base)


def _living(session: Session, field: str, value: Any) -> Any:
    """Return the value of a field without ids that have no row any more."""
    if not value or field not in {"studio_id", *_LINKS}:
        return value
    model = Studio if field == "studio_id" else _LINKS[field][2]
    ids = [value] if field == "studio_id" else value
    query = select(model.id).where(model.id == func.any(list(ids)))
    living = sorted(session.scalars(query))
    return next(iter(living), None) if field == "studio_id" else living


def _require_known(session: Session, values: Mapping[str, Any]) -> None:
    named = [(values.get(field, ()), model) for field, (_, _, model) in _LINKS.items()]
    named.append(([id_] if (id_ := values.get("studio_id")) else [], Studio))
    for ids, model in named:
        if not ids:
            continue
        known = session.scalars(select(model.id).where(model.id == func.any(list(ids))))
        if lacking := sorted(set(ids).difference(known)):
            raise JobError(
                f"The mirror has no {model.__tablename__} {lacking[0]}",
                remedy="run a sync first",
            )


def _mirrored(session: Session, scene: Scene, field: str) -> Any:
    if field not in _LINKS:
        return getattr(scene, field)
    model, column, _ = _LINKS[field]
    query = select(getattr(model, column)).where(model.scene_id == scene.id)
    return sorted(session.scalars(query))


def _write(session: Session, scene_id: int, values: Mapping[str, Any]) -> None:
    """Give the mirrored scene these values."""
    columns = {name: value for name, value in values.items() if name not in _LINKS}
    if columns:
        session.execute(update(Scene).where(Scene.id == scene_id).values(**columns))
    for name in values.keys() & _LINKS.keys():
        model, column, _ = _LINKS[name]
        links = [(scene_id, id_) for id_ in values[name]]
        replace_children(
            session, model, "scene_id", [scene_id], ("scene_id", column), links
        )


def _forget(session: Session, scene_id: int, fields: Collection[str]) -> None:
    session.execute(
        delete(LocalEdit).where(
            LocalEdit.scene_id == scene_id, LocalEdit.field.in_(fields)
        )
    )


def _row_of(statement: Any, edit: FieldEdit) -> Any:
    return statement.where(
        LocalEdit.scene_id == edit.scene_id, LocalEdit.field == edit.field
    )


def _json(value: Any) -> Any:
    # SQL's NULL, not JSON's: both would read as None, but differ in comparisons.
    return null() if value is None else value


def _edit(row: LocalEdit) -> FieldEdit:
    return FieldEdit(
        row.scene_id,
        row.field,
        row.base,
        row.value,
        row.conflict_since is not None,
        row.theirs,
    )
