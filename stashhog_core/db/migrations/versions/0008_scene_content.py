"""The hash of what was last fetched of a scene, in the scene's own row."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("scene", sa.Column("content", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE scene SET content = manifest.content FROM manifest "
        "WHERE manifest.entity = 'scene' AND manifest.id = scene.id"
    )
    op.execute("DELETE FROM manifest WHERE entity = 'scene'")
    op.drop_column("manifest", "content")
