"""What was last fetched of each scene, proofs of the mirror, and local edits."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("manifest", sa.Column("content", sa.BigInteger(), nullable=True))
    op.create_table(
        "mirror_check",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column(
            "checked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("proved", sa.Boolean(), nullable=False),
        sa.Column("scenes_checked", sa.BigInteger(), nullable=False),
        sa.Column("scenes_different", sa.BigInteger(), nullable=False),
        sa.Column(
            "facts",
            postgresql.JSONB(),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mirror_check"),
    )
    op.create_table(
        "local_edit",
        sa.Column("scene_id", sa.BigInteger(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("base", postgresql.JSONB(), nullable=True),
        sa.Column("value", postgresql.JSONB(), nullable=True),
        sa.Column("theirs", postgresql.JSONB(), nullable=True),
        sa.Column(
            "edited_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("conflict_since", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["scene_id"],
            ["scene.id"],
            name="fk_local_edit_scene_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("scene_id", "field", name="pk_local_edit"),
    )
