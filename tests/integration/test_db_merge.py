"""Set-wise writes on real PostgreSQL."""

from datetime import datetime, timedelta, timezone

from sqlalchemy import func, select

from stashhog_core.db.merge import (
    merge_rows,
    replace_children,
    update_rows,
)
from stashhog_core.db.models import Scene, SceneTag, Tag
from stashhog_core.db.session import Database


def test_merge_touches_only_what_differs(database: Database) -> None:
    """New rows are created, changed ones updated, equal ones left alone."""
    columns = ["id", "title", "urls", "stash_ids"]
    first = [(1, "a", ["u"], [{"x": 1}]), (2, "b", [], []), (3, "c", [], [])]
    second = [(1, "a", ["u"], [{"x": 1}]), (2, "B", [], []), (4, "d", [], [])]

    with database.transaction() as session:
        created = merge_rows(session, Scene, columns, first)
    with database.transaction() as session:
        merged = merge_rows(session, Scene, columns, second)
        titles = dict(session.execute(select(Scene.id, Scene.title)).all())

    assert sorted(created) == [1, 2, 3]
    assert sorted(merged) == [2, 4]
    assert titles == {1: "a", 2: "B", 3: "c", 4: "d"}


def test_merge_leaves_other_columns(database: Database) -> None:
    """Columns that are not written keep their value: local knowledge survives."""
    with database.transaction() as session:
        session.add(Scene(id=1, title="a", generated=True))
    with database.transaction() as session:
        merge_rows(session, Scene, ["id", "title"], [(1, "b")])
        scene = session.get_one(Scene, 1)

        assert (scene.title, scene.generated) == ("b", True)


def test_replace_children_is_exact(database: Database) -> None:
    """Children of the named parents become exactly the given ones; others stay."""
    with database.transaction() as session:
        merge_rows(session, Scene, ["id"], [(1,), (2,), (3,)])
        merge_rows(session, Tag, ["id", "name"], [(7, "x"), (8, "y")])
        rows = [(1, 7), (1, 8), (2, 7), (3, 7)]
        replace_children(
            session, SceneTag, "scene_id", [1, 2, 3], ["scene_id", "tag_id"], rows
        )
    with database.transaction() as session:
        changed = replace_children(
            session, SceneTag, "scene_id", [1, 2], ["scene_id", "tag_id"], [(1, 8)]
        )
        left = session.execute(select(SceneTag.scene_id, SceneTag.tag_id))

        assert sorted(changed) == [1, 2]
        assert sorted(left) == [(1, 8), (3, 7)]


def test_update_writes_values_of_any_type(database: Database) -> None:
    """Texts, lists, JSON, times and nothing come back as they were given."""
    columns = ["id", "title", "urls", "stash_ids", "rating100", "stash_updated_at"]
    moment = datetime(1999, 12, 31, 23, 59, 59, 123456, timezone(timedelta(hours=5)))
    nasty = 'tab\t back\\slash "quoted" \\N {a,b} \u2028 \U0001f600'
    rows = [
        (1, nasty, [nasty, "", "NULL"], [{"endpoint": nasty}], 7, moment),
        (2, "", [], [], None, None),
    ]
    with database.transaction() as session:
        merge_rows(session, Scene, ["id", "code"], [(1, "a"), (2, "b"), (3, "c")])
    with database.transaction() as session:
        update_rows(session, Scene, columns, rows, stamped="synced_at")
        found = session.execute(
            select(*(getattr(Scene, name) for name in columns)).order_by(Scene.id)
        )
        assert [tuple(row) for row in found][:2] == rows
        assert session.scalars(select(Scene.code).order_by(Scene.id)).all() == [*"abc"]
        now = select(Scene.id).where(Scene.synced_at == func.now())
        assert sorted(session.scalars(now)) == [1, 2]
