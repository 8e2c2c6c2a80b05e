"""The tokens of those who hold the lock of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "job_lock",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_lock")),
    )


def downgrade() -> None:
    op.drop_table("job_lock")
