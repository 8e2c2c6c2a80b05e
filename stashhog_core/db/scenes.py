"""Scenes of the mirror: lists for people, and holding their rows."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    cast,
    func,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import InstrumentedAttribute, Session

from stashhog_core.db.models import (
    JobReport,
    Marker,
    MarkerTag,
    Performer,
    Scene,
    SceneFile,
    SceneFingerprint,
    ScenePerformer,
    SceneTag,
    Studio,
    Tag,
)
from stashhog_core.db.reading import THESE, any_of, read_these

_READ_TOGETHER = 1000
"""Scenes whose names are looked up at once."""


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
) -> Iterator[SceneSummary]:
    """Yield the scenes that match, newest first.

    They are read as they are asked for, so that memory stays flat however many there
    are; the session must stay open meanwhile.

    Args:
        session: Open session; nothing is written.
        which: What they must match, all of it.
        limit: At most so many; None: all.
    """
    query = (
        select(
            Scene.id,
            Scene.title,
            Studio.name,
            Scene.generated,
            Scene.video_analyzed,
            Scene.analyzed,
            Scene.created_at,
        )
        .outerjoin(Studio, Studio.id == Scene.studio_id)
        .where(*_conditions(which))
        .order_by(Scene.created_at.desc(), Scene.id.desc())
        .limit(limit)
        .execution_options(yield_per=_READ_TOGETHER)
    )
    for page in session.execute(query).partitions():
        ids = [id_ for id_, *_ in page]
        names = scene_names(session, ids)
        for id_, title, studio, generated, video_analyzed, analyzed, created in page:
            yield SceneSummary(
                id_,
                title,
                names[id_].path,
                studio,
                list(names[id_].performers),
                list(names[id_].tags),
                generated,
                video_analyzed,
                analyzed,
                created,
            )


@dataclass(frozen=True)
class SceneNames:
    """What belongs to a scene by name. `path` is Stash's; None: there is no file."""

    path: str | None
    performers: Sequence[str] = ()
    tags: Sequence[str] = ()

    @property
    def file_name(self) -> str:
        """The name of the primary file; empty: there is none."""
        return PurePath(self.path or "").name


def scene_names(session: Session, scene_ids: Sequence[int]) -> dict[int, SceneNames]:
    """Return path, performers and tags of each of these scenes."""
    performers = dict(read_these(session, _PERFORMERS, scene_ids))
    tags = dict(read_these(session, _TAGS, scene_ids))
    paths = dict(read_these(session, _PRIMARY_PATHS, scene_ids))
    return {
        id_: SceneNames(paths.get(id_), performers.get(id_, ()), tags.get(id_, ()))
        for id_ in scene_ids
    }


def primary_path(session: Session, scene_id: int) -> str | None:
    """Return the primary file of a scene, as Stash names it; None: there is none."""
    paths = dict(read_these(session, _PRIMARY_PATHS, [scene_id]))
    return paths.get(scene_id)


def scene_titles(session: Session, scene_ids: Sequence[int]) -> dict[int, str]:
    """Return the titles of these scenes by id; the file's name where there is none."""
    if not scene_ids:
        return {}
    path = (
        select(SceneFile.path)
        .where(SceneFile.scene_id == Scene.id)
        .order_by(SceneFile.position)
        .limit(1)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Scene.id, Scene.title, path).where(Scene.id == any_of(scene_ids))
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
        conditions.append(Scene.generated == which.generated)
    if which.video_analyzed is not None:
        conditions.append(Scene.video_analyzed == which.video_analyzed)
    if which.tag is not None:
        tagged = (
            select(SceneTag.scene_id)
            .join(Tag, Tag.id == SceneTag.tag_id)
            .where(is_called(Tag, which.tag))
        )
        conditions.append(Scene.id.in_(tagged))
    if which.performer is not None:
        performed = (
            select(ScenePerformer.scene_id)
            .join(Performer, Performer.id == ScenePerformer.performer_id)
            .where(is_called(Performer, which.performer))
        )
        conditions.append(Scene.id.in_(performed))
    if which.studio is not None:
        studios = select(Studio.id).where(is_called(Studio, which.studio))
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


def _impacted_by(run_id: str) -> ScalarSelect[int]:
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
        .scalar_subquery()
    )


def is_called(
    model: type[Tag] | type[Performer] | type[Studio], name: str
) -> ColumnElement[bool]:
    """Match the name or an alias, without regard to case."""
    wanted = func.lower(name)
    alias = func.unnest(model.aliases).column_valued("alias")
    return or_(
        func.lower(model.name) == wanted,
        select(alias).where(func.lower(alias) == wanted).exists(),
    )


def _named(
    link: type[ScenePerformer] | type[SceneTag],
    related: type[Performer] | type[Tag],
    key: InstrumentedAttribute[int],
) -> Select[tuple[int, Sequence[str]]]:
    """Return a query of scene and names of its related rows, sorted, for `THESE`."""
    names = func.array_agg(aggregate_order_by(related.name, func.lower(related.name)))
    return (
        select(link.scene_id, names)
        .join(related, related.id == key)
        .where(link.scene_id == THESE)
        .group_by(link.scene_id)
    )


_PERFORMERS = _named(ScenePerformer, Performer, ScenePerformer.performer_id)
_TAGS = _named(SceneTag, Tag, SceneTag.tag_id)
_PRIMARY_PATHS = (
    select(SceneFile.scene_id, SceneFile.path)
    .where(SceneFile.scene_id == THESE)
    # The primary file comes last, and stays.
    .order_by(SceneFile.position.desc())
)
_LOCK = (
    select(Scene.id, Scene.stash_created_at)
    .where(Scene.id == THESE)
    .order_by(Scene.id)
    .with_for_update(key_share=True)
)


def scenes_of_entities(session: Session, kind: str, ids: Collection[int]) -> set[int]:
    """Return the mirrored scenes that have any of these entities."""
    if not ids:
        return set()
    wanted = any_of(ids)
    if kind == "performer":
        queries = [
            select(ScenePerformer.scene_id).where(ScenePerformer.performer_id == wanted)
        ]
    elif kind == "studio":
        queries = [select(Scene.id).where(Scene.studio_id == wanted)]
    else:
        queries = [
            select(SceneTag.scene_id).where(SceneTag.tag_id == wanted),
            select(Marker.scene_id).where(Marker.primary_tag_id == wanted),
            select(Marker.scene_id)
            .join(MarkerTag, MarkerTag.marker_id == Marker.id)
            .where(MarkerTag.tag_id == wanted),
        ]
    return {scene_id for query in queries for scene_id in session.scalars(query)}


def lock_scenes(
    session: Session, scene_ids: Collection[int]
) -> dict[int, datetime | None]:
    """Keep others from touching these scenes.

    Returns:
        Those that are mirrored, with the time when Stash created them.

    Whoever touches more than the scenes holds them before all else that is theirs,
    such as edits and markers: else two would wait for each other.
    """
    return dict(read_these(session, _LOCK, scene_ids))


def primary_oshash() -> ScalarSelect[str]:
    """Return the oshash of the primary file of the `Scene` of the query around it."""
    of_file = and_(
        SceneFingerprint.scene_id == SceneFile.scene_id,
        SceneFingerprint.file_id == SceneFile.file_id,
        SceneFingerprint.kind == "oshash",
    )
    return (
        select(SceneFingerprint.value)
        .join(SceneFile, of_file)
        .where(SceneFile.scene_id == Scene.id, SceneFile.position == 0)
        .correlate(Scene)
        .scalar_subquery()
    )
