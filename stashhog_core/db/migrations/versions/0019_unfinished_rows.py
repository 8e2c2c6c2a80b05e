"""Indexes of the few rows that each run of the workflow asks for."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_index(
        "ix_plan_change_unfinished",
        "plan_change",
        ["plan_id"],
        postgresql_where=sa.text("state IN ('approved', 'failed')"),
    )
    op.create_index("ix_analysis_plan_run_id", "analysis_plan", ["run_id"])
    op.create_index(
        "ix_stash_job_open",
        "stash_job",
        ["id"],
        postgresql_where=sa.text("state = 'open'"),
    )


def downgrade() -> None:
    op.drop_index("ix_stash_job_open", table_name="stash_job")
    op.drop_index("ix_analysis_plan_run_id", table_name="analysis_plan")
    op.drop_index("ix_plan_change_unfinished", table_name="plan_change")
