"""What Stash could not make of which content."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    kinds = postgresql.ARRAY(sa.Text())
    none = sa.text("'{}'::text[]")
    op.create_table(
        "unmakeable_media",
        sa.Column("content", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stash_version", sa.Text(), server_default="", nullable=False),
        sa.Column("asked", kinds, server_default=none, nullable=False),
        sa.Column("missing", kinds, server_default=none, nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "given_up", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "noted_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("content", name="pk_unmakeable_media"),
    )


def downgrade() -> None:
    op.drop_table("unmakeable_media")
