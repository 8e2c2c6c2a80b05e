"""The ledger without an index that no query used, and every placed file paid for."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.drop_index("ix_download_item_target_path", table_name="download_item")


def downgrade() -> None:
    op.create_index("ix_download_item_target_path", "download_item", ["target_path"])
