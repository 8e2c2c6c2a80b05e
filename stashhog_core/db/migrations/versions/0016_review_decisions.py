"""Decisions of reviewers, and what each changed, so that one can be taken back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "review_decision",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column(
            "plan_id",
            sa.BigInteger(),
            sa.ForeignKey("analysis_plan.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("plan_before", sa.Text(), nullable=False),
        sa.Column("plan_after", sa.Text(), nullable=False),
        sa.Column(
            "decided_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
        ),
        sa.Column("taken_back_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "reviewed_change",
        sa.Column(
            "decision_id",
            sa.BigInteger(),
            sa.ForeignKey("review_decision.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column(
            "change_id",
            sa.BigInteger(),
            sa.ForeignKey("plan_change.id", ondelete="CASCADE"),
            primary_key=True,
            index=True,
        ),
        sa.Column("before", postgresql.JSONB(), nullable=False),
        sa.Column("after", postgresql.JSONB(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("reviewed_change")
    op.drop_table("review_decision")
