"""The glance at Stash's library that shows whether anything has changed since."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "kept_glance",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_kept_glance"),
    )
    op.create_index(
        "ix_scene_to_fetch",
        "scene",
        ["id"],
        postgresql_where=sa.text("content IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_scene_to_fetch", table_name="scene")
    op.drop_table("kept_glance")
