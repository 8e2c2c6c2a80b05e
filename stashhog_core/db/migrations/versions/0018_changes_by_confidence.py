"""The changes of a plan by confidence, so that a long plan opens as fast as a short."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_index(
        "ix_plan_change_confidence", "plan_change", ["plan_id", "confidence", "id"]
    )


def downgrade() -> None:
    op.drop_index("ix_plan_change_confidence", table_name="plan_change")
