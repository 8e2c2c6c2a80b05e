"""Repeating in the mirror what was changed in Stash, until the next sync sees it.

A sync may store something newer between the change and its repetition here, and may
see Stash again before anybody changes it back. So whatever is repeated is fetched by
the next sync, whatever its time of change says. Scenes are touched before their tags
and markers, as by a sync: else the two would wait for each other.
"""

from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.manifest import forget_hashes
from stashhog_core.db.models import Marker, Scene, SceneTag, Tag
from stashhog_core.plans.grouping import Group
from stashhog_core.stash.payloads import StashTag


def mirror_tag(session: Session, tag: StashTag) -> None:
    """Add a tag that was created."""
    session.execute(
        insert(Tag).values(id=tag.id, name=tag.name).on_conflict_do_nothing()
    )
    forget_hashes(session, [tag.id], "tag")


def mirror_group(session: Session, group: Group) -> None:
    """Repeat what a bulk update did. Rows that the mirror lacks are left to sync."""
    ids = list(group.scene_ids)
    forget_hashes(session, ids)
    for kind, added, removed in (
        ("tag", group.ids("add_tag"), group.ids("remove_tag")),
        ("performer", group.ids("add_performer"), group.ids("remove_performer")),
    ):
        # `kind` is one of the two words above, never data.
        if added:
            session.execute(
                text(
                    f"INSERT INTO scene_{kind} (scene_id, {kind}_id) "  # noqa: S608
                    f"SELECT scene.id, {kind}.id FROM scene CROSS JOIN {kind} "
                    f"WHERE scene.id = ANY(:scenes) AND {kind}.id = ANY(:members) "
                    "ON CONFLICT DO NOTHING"
                ),
                {"scenes": ids, "members": added},
            )
        if removed:
            session.execute(
                text(
                    f"DELETE FROM scene_{kind} "  # noqa: S608
                    f"WHERE scene_id = ANY(:scenes) AND {kind}_id = ANY(:members)"
                ),
                {"scenes": ids, "members": removed},
            )
    if group.studio_id is not None:
        session.execute(
            text(
                "UPDATE scene SET studio_id = studio.id FROM studio "
                "WHERE studio.id = :studio AND scene.id = ANY(:scenes)"
            ),
            {"scenes": ids, "studio": group.studio_id},
        )


def mirror_texts(session: Session, scene_id: int, fields: dict[str, Any]) -> None:
    """Repeat what an update of a scene's texts did."""
    session.execute(update(Scene).where(Scene.id == scene_id).values(**fields))
    forget_hashes(session, [scene_id])


def mirror_marker(
    session: Session,
    marker_id: int,
    scene_id: int,
    proposed: dict[str, Any],
    tag_id: int,
) -> None:
    """Add a marker that was created; its scene lacks that marker's media."""
    session.execute(update(Scene).where(Scene.id == scene_id).values(generated=False))
    forget_hashes(session, [scene_id])
    session.execute(
        text(
            "INSERT INTO marker (id, scene_id, title, seconds, end_seconds, "
            "primary_tag_id) SELECT :id, scene.id, :title, :seconds, :end_seconds, "
            "(SELECT id FROM tag WHERE id = :tag) FROM scene WHERE scene.id = :scene "
            "ON CONFLICT DO NOTHING"
        ),
        {
            "id": marker_id,
            "scene": scene_id,
            "title": proposed["title"],
            "seconds": proposed["seconds"],
            "end_seconds": proposed["end_seconds"],
            "tag": tag_id,
        },
    )


def unmirror_markers(session: Session, marker_ids: list[int]) -> None:
    """Take away markers that were deleted."""
    gone = Marker.id.in_(marker_ids)
    marked = session.scalars(select(Marker.scene_id).where(gone))
    forget_hashes(session, set(marked))
    session.execute(delete(Marker).where(gone))


def unmirror_tag(session: Session, tag_id: int) -> None:
    """Take away a tag that was deleted."""
    tagged = select(SceneTag.scene_id).where(SceneTag.tag_id == tag_id)
    forget_hashes(session, set(session.scalars(tagged)))
    session.execute(delete(Tag).where(Tag.id == tag_id))
    forget_hashes(session, [tag_id], "tag")
