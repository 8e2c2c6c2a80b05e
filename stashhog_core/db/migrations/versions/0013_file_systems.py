"""Files are known by their file system, not by the number of its device.

Files that were remembered as unreadable, or have no size of the picture, are read once
more: some were healthy, and had been blamed for what happened to their reader.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("library_file", sa.Column("file_system", sa.Text()))
    # Good for the first scan: a file that is where it was proves its device then.
    op.execute("UPDATE library_file SET file_system = 'device:' || device")
    op.alter_column("library_file", "file_system", nullable=False)
    op.drop_column("library_file", "device")
    op.add_column(
        "library_file", sa.Column("unreachable_since", sa.DateTime(timezone=True))
    )
    op.execute("TRUNCATE library_listing")
    op.drop_column("library_listing", "device")
    op.add_column(
        "library_listing", sa.Column("file_system", sa.Text(), nullable=False)
    )
    op.execute(
        "UPDATE library_file SET state = 'changed' WHERE state = 'unreadable' "
        "OR state = 'ok' AND coalesce(width, 0) = 0"
    )
    for column, decoder, codec in (
        ("video_codec", "libdav1d", "av1"),
        ("video_codec", "libaom-av1", "av1"),
        ("video_codec", "libvpx-vp9", "vp9"),
        ("video_codec", "libvpx", "vp8"),
        ("audio_codec", "mp3float", "mp3"),
        ("audio_codec", "dca", "dts"),
        ("audio_codec", "libopus", "opus"),
    ):
        files = sa.table("library_file", sa.column(column))
        op.execute(
            files.update().where(files.c[column] == decoder).values({column: codec})
        )
