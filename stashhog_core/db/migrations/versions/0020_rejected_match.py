"""Scenes of stash-boxes that were rejected for files whose scenes are gone."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "rejected_match",
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("value_key", sa.Text(), nullable=False),
        sa.Column(
            "rejected_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("content_hash", "value_key", name="pk_rejected_match"),
    )


def downgrade() -> None:
    op.drop_table("rejected_match")
