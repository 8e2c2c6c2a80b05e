"""Changes that Stash refuses: how often, and plans that wait for a person.

Earlier versions closed a plan although changes of it had failed, and kept nothing of
what had been sent for these. Whether Stash carried one of them out, and whether
somebody has taken it away since, cannot be known: so nothing tries them again by
itself. Their plans are open again, and show them as needing a decision.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column(
        "plan_change",
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
    )
    op.execute(
        "UPDATE analysis_plan SET state = 'reviewing' WHERE state = 'applied' AND "
        "EXISTS (SELECT FROM plan_change WHERE plan_id = analysis_plan.id "
        "AND state = 'failed')"
    )


def downgrade() -> None:
    op.drop_column("plan_change", "attempts")
