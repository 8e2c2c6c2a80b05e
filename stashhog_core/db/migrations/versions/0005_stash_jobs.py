"""What server jobs were asked for and where; what the check of media found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "stash_job",
        sa.Column("server", sa.Text(), server_default="", nullable=False),
    )
    op.add_column(
        "stash_job",
        sa.Column(
            "asked",
            postgresql.JSONB(),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
    )
    op.create_table(
        "media_check",
        sa.Column("scene_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column(
            "missing",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column(
            "checked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("scene_id", name="pk_media_check"),
    )
    op.create_index(
        "ix_media_check_incomplete",
        "media_check",
        ["scene_id"],
        postgresql_where=sa.text("missing <> '{}'::text[]"),
    )
