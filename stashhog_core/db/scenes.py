"""Reading the mirror for people: scenes with the names that belong to them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    SQLColumnExpression,
    any_,
    cast,
    func,
    literal,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, array
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    JobReport,
    Performer,
    Scene,
    SceneFile,
    ScenePerformer,
    SceneTag,
    Studio,
    Tag,
)


@dataclass(frozen=True)
class SceneFilter:
    """Which scenes to list; None everywhere means all.

    Names match whole and without regard to case, an alias as well; `text` matches
    within title and path. Scenes missing in Stash are listed only when asked for.
    `impacted_by` is the id of a run: the scenes that it had media generated for.
    """

    generated: bool | None = None
    video_analyzed: bool | None = None
    tag: str | None = None
    performer: str | None = None
    studio: str | None = None
    text: str | None = None
    missing: bool = False
    impacted_by: str | None = None


@dataclass(frozen=True)
class SceneSummary:
    """A scene as the terminal shows it. `path` is Stash's; None: it has no file."""

    id: int
    title: str
    path: str | None
    studio: str | None
    performers: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    generated: bool = False
    video_analyzed: bool = False
    analyzed: bool = False
    created_at: datetime | None = None


def list_scenes(
    session: Session, which: SceneFilter = SceneFilter(), limit: int | None = 50
) -> list[SceneSummary]:
    """Return the scenes that match, newest first.

    Args:
        session: Open session; nothing is written.
        which: What they must match, all of it.
        limit: At most so many; None: all.
    """
    chosen = (
        select(Scene)
        .where(*_conditions(which))
        .order_by(Scene.created_at.desc(), Scene.id.desc())
        .limit(limit)
        .subquery()
    )
    primary_path = (
        select(SceneFile.path)
        .where(SceneFile.scene_id == chosen.c.id)
        .order_by(SceneFile.position)
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(
            chosen.c.id,
            chosen.c.title,
            primary_path,
            Studio.name,
            _names(
                select(Performer.name)
                .join(ScenePerformer, ScenePerformer.performer_id == Performer.id)
                .where(ScenePerformer.scene_id == chosen.c.id),
                Performer.name,
            ),
            _names(
                select(Tag.name)
                .join(SceneTag, SceneTag.tag_id == Tag.id)
                .where(SceneTag.scene_id == chosen.c.id),
                Tag.name,
            ),
            chosen.c.generated,
            chosen.c.video_analyzed,
            chosen.c.analyzed,
            chosen.c.created_at,
        )
        .outerjoin(Studio, Studio.id == chosen.c.studio_id)
        .order_by(chosen.c.created_at.desc(), chosen.c.id.desc())
    )
    return [SceneSummary(*row) for row in session.execute(query)]


def scene_titles(session: Session, scene_ids: Sequence[int]) -> dict[int, str]:
    """Return the titles of these scenes by id; the file's name where there is none."""
    path = (
        select(SceneFile.path)
        .where(SceneFile.scene_id == Scene.id)
        .order_by(SceneFile.position)
        .limit(1)
        .scalar_subquery()
    )
    ids = literal(list(scene_ids), ARRAY(BigInteger))
    rows = session.execute(
        select(Scene.id, Scene.title, path).where(Scene.id == any_(ids))
    )
    return {id_: title or PurePath(at or "").name for id_, title, at in rows}


def matching_scene_ids(
    session: Session, which: SceneFilter, limit: int | None = None
) -> list[int]:
    """Return the ids of the scenes that match, newest first."""
    query = (
        select(Scene.id)
        .where(*_conditions(which))
        .order_by(Scene.created_at.desc(), Scene.id.desc())
        .limit(limit)
    )
    return list(session.scalars(query))


def count_scenes(session: Session, which: SceneFilter = SceneFilter()) -> int:
    """Return how many scenes match."""
    query = select(func.count()).select_from(Scene).where(*_conditions(which))
    return session.scalar(query) or 0


def _conditions(which: SceneFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if not which.missing:
        conditions.append(Scene.missing_since.is_(None))
    if which.generated is not None:
        conditions.append(Scene.generated.is_(which.generated))
    if which.video_analyzed is not None:
        conditions.append(Scene.video_analyzed.is_(which.video_analyzed))
    if which.tag is not None:
        tagged = (
            select(SceneTag.scene_id)
            .join(Tag, Tag.id == SceneTag.tag_id)
            .where(_is_called(Tag, which.tag))
        )
        conditions.append(Scene.id.in_(tagged))
    if which.performer is not None:
        performed = (
            select(ScenePerformer.scene_id)
            .join(Performer, Performer.id == ScenePerformer.performer_id)
            .where(_is_called(Performer, which.performer))
        )
        conditions.append(Scene.id.in_(performed))
    if which.studio is not None:
        studios = select(Studio.id).where(_is_called(Studio, which.studio))
        conditions.append(Scene.studio_id.in_(studios))
    if which.impacted_by is not None:
        conditions.append(Scene.id.in_(_impacted_by(which.impacted_by)))
    if which.text is not None:
        in_path = select(SceneFile.scene_id).where(
            SceneFile.path.icontains(which.text, autoescape=True)
        )
        conditions.append(
            or_(
                Scene.title.icontains(which.text, autoescape=True),
                Scene.id.in_(in_path),
            )
        )
    return conditions


def _impacted_by(run_id: str) -> Select[tuple[int]]:
    """Return the scenes of a generate run's report, or of that step of a workflow."""
    report = JobReport.report
    updated = func.coalesce(
        report["scenes_updated"],
        report[("steps", "stash_generate", "result", "scenes_updated")],
        text("'[]'::jsonb"),
    )
    ids = func.jsonb_array_elements_text(updated).table_valued("id").render_derived()
    return (
        select(cast(ids.c.id, BigInteger))
        .select_from(JobReport)
        .join(ids, true())
        .where(JobReport.run_id == run_id)
    )


def _is_called(
    model: type[Tag] | type[Performer] | type[Studio], name: str
) -> ColumnElement[bool]:
    """Match the name or an alias, without regard to case."""
    wanted = func.lower(name)
    alias = func.unnest(model.aliases).column_valued("alias")
    return or_(
        func.lower(model.name) == wanted,
        select(alias).where(func.lower(alias) == wanted).exists(),
    )


def _names(
    query: Select[tuple[str]], name: SQLColumnExpression[str]
) -> ColumnElement[list[str]]:
    """Gather the names of a related table into one sorted array."""
    named = query.with_only_columns(
        func.coalesce(
            func.array_agg(aggregate_order_by(name, func.lower(name))),
            array([], type_=Tag.name.type),
        )
    )
    return named.scalar_subquery()
