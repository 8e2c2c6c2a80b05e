"""More of what Stash has: plays, more of performers, stash-box ids of tags, times.

All rows are fetched anew once, since nothing else fills the new columns.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"

_TEXTS = (
    "ethnicity",
    "eye_color",
    "hair_color",
    "measurements",
    "fake_tits",
    "career_length",
    "tattoos",
    "piercings",
)


def upgrade() -> None:
    for table in ("tag", "performer", "studio", "scene_file"):
        for name in ("stash_created_at", "stash_updated_at"):
            op.add_column(table, sa.Column(name, sa.DateTime(timezone=True)))
    op.add_column("marker", sa.Column("stash_created_at", sa.DateTime(timezone=True)))
    op.add_column("tag", _with_default("stash_ids", postgresql.JSONB(), "'[]'::jsonb"))
    for name in _TEXTS:
        op.add_column("performer", _with_default(name, sa.Text(), "''"))
    for name in ("death_date", "circumcised"):
        op.add_column("performer", sa.Column(name, sa.Text()))
    for name in ("height_cm", "weight"):
        op.add_column("performer", sa.Column(name, sa.Integer()))
    op.add_column("performer", sa.Column("penis_length", sa.Double()))
    op.add_column(
        "performer", _with_default("custom_fields", postgresql.JSONB(), "'{}'::jsonb")
    )
    op.add_column("scene", sa.Column("last_played_at", sa.DateTime(timezone=True)))
    for name in ("resume_time_seconds", "play_duration_seconds"):
        op.add_column("scene", _with_default(name, sa.Double(), "0"))
    for owner in ("performer", "studio"):
        _create_tags_of(owner)
    op.execute("UPDATE scene SET content = NULL")
    op.execute("DELETE FROM manifest")


def _with_default(
    name: str, kind: sa.types.TypeEngine[Any], default: str
) -> sa.Column[Any]:
    return sa.Column(name, kind, server_default=sa.text(default), nullable=False)


def _create_tags_of(owner: str) -> None:
    table, column = f"{owner}_tag", f"{owner}_id"
    op.create_table(
        table,
        sa.Column(column, sa.BigInteger(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            [column], [f"{owner}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tag_id"], ["tag.id"], name=f"fk_{table}_tag_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(column, "tag_id", name=f"pk_{table}"),
    )
    op.create_index(f"ix_{table}_tag_id", table, ["tag_id"])
