"""When Stash created the scene of a change: the id may be another scene's later."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    # Changes that were proposed before keep none: nothing says for which scene.
    op.add_column(
        "plan_change",
        sa.Column("scene_created_at", sa.DateTime(timezone=True), nullable=True),
    )


def downgrade() -> None:
    op.drop_column("plan_change", "scene_created_at")
