"""How many changes of a plan have a value, kept with the changes.

The view of a plan by value reads these counts, however many changes the plan has.

Triggers keep them, so that each statement that writes changes counts them as well. A
statement adds rows and changes none: two transactions never wait for each other, and
the rows of a value add up to its count. Now and then the rows of a value are folded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

_NAME = "coalesce(proposed->>'name', proposed->>'title')"
_COLUMNS = "plan_id, field, action, group_key, name, detector, state"
_SAME = f"plan_id, field, action, group_key, coalesce({_NAME}, ''), detector, state"

_COUNT = f"""
CREATE FUNCTION count_values() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO value_count ({_COLUMNS}, changes)
        SELECT {_SAME}, count(*) FROM new_rows GROUP BY {_SAME};
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO value_count ({_COLUMNS}, changes)
        SELECT {_SAME}, sum(step) FROM (
            SELECT *, 1 AS step FROM new_rows UNION ALL SELECT *, -1 FROM old_rows
        ) AS rows GROUP BY {_SAME} HAVING sum(step) <> 0;
    ELSE
        -- With its plan, a change takes all counts along.
        INSERT INTO value_count ({_COLUMNS}, changes)
        SELECT {_SAME}, -count(*) FROM old_rows
        WHERE EXISTS (SELECT FROM analysis_plan WHERE id = plan_id) GROUP BY {_SAME};
    END IF;
    RETURN NULL;
END $$
"""  # noqa: S608

_FOLD = f"""
CREATE FUNCTION fold_value_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- What another transaction folds is left to it: nobody waits.
    WITH found AS (
        SELECT id FROM value_count WHERE plan_id = NEW.plan_id AND field = NEW.field
        AND action = NEW.action AND group_key = NEW.group_key FOR UPDATE SKIP LOCKED
    ), folded AS (
        DELETE FROM value_count USING found WHERE value_count.id = found.id
        RETURNING value_count.*
    )
    INSERT INTO value_count ({_COLUMNS}, changes)
    SELECT {_COLUMNS}, sum(changes) FROM folded
    GROUP BY {_COLUMNS} HAVING sum(changes) <> 0;
    RETURN NULL;
END $$
"""  # noqa: S608

_TRIGGERS = {
    "insert": "NEW TABLE AS new_rows",
    "update": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "OLD TABLE AS old_rows",
}


def upgrade() -> None:
    key = f"""
        CASE WHEN {_NAME} IS NULL THEN ''
        WHEN field = 'markers' THEN lower({_NAME}) ELSE value_key END
    """
    op.execute(
        "ALTER TABLE plan_change ADD COLUMN group_key text NOT NULL "
        f"GENERATED ALWAYS AS ({key}) STORED"
    )
    op.create_index(
        "ix_plan_change_value",
        "plan_change",
        [
            "plan_id",
            "field",
            "group_key",
            "action",
            "state",
            sa.text("confidence DESC"),
            "id",
        ],
    )
    op.create_table(
        "value_count",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("field", "action", "group_key", "name", "detector", "state")
        ),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["plan_id"],
            ["analysis_plan.id"],
            name="fk_value_count_plan_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_value_count"),
    )
    op.create_index(
        "ix_value_count_value",
        "value_count",
        ["plan_id", "field", "action", "group_key"],
    )
    op.execute(
        f"INSERT INTO value_count ({_COLUMNS}, changes) "  # noqa: S608
        f"SELECT {_SAME}, count(*) FROM plan_change GROUP BY {_SAME}"
    )
    op.execute(_COUNT)
    op.execute(_FOLD)
    for event, tables in _TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER count_values_{event} AFTER {event} ON plan_change "
            f"REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION count_values()"
        )
    op.execute(
        "CREATE TRIGGER fold_value_count AFTER INSERT ON value_count FOR EACH ROW "
        # By chance: every fourth row may always be of the same few values. Not for
        # what folding itself has inserted.
        "WHEN (random() < 0.25 AND pg_trigger_depth() < 2) "
        "EXECUTE FUNCTION fold_value_count()"
    )


def downgrade() -> None:
    for event in _TRIGGERS:
        op.execute(f"DROP TRIGGER count_values_{event} ON plan_change")
    op.drop_table("value_count")
    op.execute("DROP FUNCTION count_values(), fold_value_count()")
    op.drop_index("ix_plan_change_value", table_name="plan_change")
    op.drop_column("plan_change", "group_key")
