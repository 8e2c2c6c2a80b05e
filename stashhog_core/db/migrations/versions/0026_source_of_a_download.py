"""What a file of a download was when it was placed: no clock has to tell."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

_COLUMNS = ("inode", "mtime_ns", "changed_ns")


def upgrade() -> None:
    # Files that were placed before keep none: times say whether they have changed.
    for name in _COLUMNS:
        op.add_column("download_item", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_column("download_item", name)
