"""When Stash created the scene of a rejection, once the mirror has lost the scene."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column(
        "review_memory",
        sa.Column("scene_created_at", sa.DateTime(timezone=True), nullable=True),
    )


def downgrade() -> None:
    op.drop_column("review_memory", "scene_created_at")
