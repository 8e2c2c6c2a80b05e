"""When Stash created the tag, performer or studio of a change: ids are given again.

A trigger takes the time from the mirror when a value is proposed or replaced, whoever
writes it. A row of the mirror that has another name may be another one by now.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

_NOTE = """
CREATE FUNCTION note_object() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    value jsonb := coalesce(NEW.proposed->'tag', NEW.proposed);
    wanted bigint := (value->>'id')::bigint;
BEGIN
    NEW.object_created_at := NULL;
    IF wanted IS NULL THEN
        RETURN NEW;
    ELSIF NEW.field = 'performers' THEN
        SELECT stash_created_at INTO NEW.object_created_at FROM performer
        WHERE id = wanted AND name = value->>'name';
    ELSIF NEW.field = 'studio' THEN
        SELECT stash_created_at INTO NEW.object_created_at FROM studio
        WHERE id = wanted AND name = value->>'name';
    ELSE
        SELECT stash_created_at INTO NEW.object_created_at FROM tag
        WHERE id = wanted AND name = value->>'name';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGERS = {
    "insert": "",
    "update": "OLD.proposed IS DISTINCT FROM NEW.proposed AND",
}


def upgrade() -> None:
    # Changes that were proposed before keep none: their names decide.
    op.add_column(
        "plan_change",
        sa.Column("object_created_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.execute(_NOTE)
    for event, condition in _TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER note_object_{event} BEFORE {event} ON plan_change "
            f"FOR EACH ROW WHEN ({condition} NEW.field IN "
            "('tags', 'performers', 'studio', 'markers')) "
            "EXECUTE FUNCTION note_object()"
        )


def downgrade() -> None:
    for event in _TRIGGERS:
        op.execute(f"DROP TRIGGER note_object_{event} ON plan_change")
    op.execute("DROP FUNCTION note_object()")
    op.drop_column("plan_change", "object_created_at")
