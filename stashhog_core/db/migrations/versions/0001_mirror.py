"""The mirror of Stash: scenes and all they have."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "manifest",
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entity", "id", name="pk_manifest"),
    )
    op.create_table(
        "performer",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("disambiguation", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "aliases",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("gender", sa.Text(), nullable=True),
        sa.Column("birthdate", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "urls",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("details", sa.Text(), server_default="", nullable=False),
        sa.Column("rating100", sa.Integer(), nullable=True),
        sa.Column(
            "favorite", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "ignore_auto_tag",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
        ),
        sa.Column(
            "stash_ids",
            postgresql.JSONB(),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_performer"),
    )
    op.create_table(
        "studio",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "aliases",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "urls",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("details", sa.Text(), server_default="", nullable=False),
        sa.Column("rating100", sa.Integer(), nullable=True),
        sa.Column(
            "favorite", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "ignore_auto_tag",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
        ),
        sa.Column(
            "stash_ids",
            postgresql.JSONB(),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["studio.id"],
            name="fk_studio_parent_id",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_studio"),
    )
    op.create_table(
        "tag",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("sort_name", sa.Text(), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "aliases",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column(
            "favorite", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "ignore_auto_tag",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
        ),
        sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tag"),
    )
    op.create_index("ix_tag_name_lower", "tag", [sa.text("lower(name)")])
    op.create_table(
        "scene",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("code", sa.Text(), server_default="", nullable=False),
        sa.Column("details", sa.Text(), server_default="", nullable=False),
        sa.Column("director", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "urls",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("date", sa.Text(), nullable=True),
        sa.Column("rating100", sa.Integer(), nullable=True),
        sa.Column(
            "organized", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "play_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "o_counter", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "interactive", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column("interactive_speed", sa.Integer(), nullable=True),
        sa.Column("studio_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "groups",
            postgresql.JSONB(),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "galleries",
            postgresql.JSONB(),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "stash_ids",
            postgresql.JSONB(),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "captions",
            postgresql.JSONB(),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column("stash_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stash_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stash_updated_text", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "generated", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "video_analyzed",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
        ),
        sa.Column(
            "analyzed", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "synced_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["studio_id"], ["studio.id"], name="fk_scene_studio_id", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_scene"),
    )
    op.create_index(
        "ix_scene_not_generated",
        "scene",
        ["id"],
        postgresql_where=sa.text("NOT generated"),
    )
    op.create_index(
        "ix_scene_not_video_analyzed",
        "scene",
        [sa.text("created_at DESC"), sa.text("id DESC")],
        postgresql_where=sa.text("NOT video_analyzed"),
    )
    op.create_index("ix_scene_studio_id", "scene", ["studio_id"])
    op.create_table(
        "tag_parent",
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["tag.id"],
            name="fk_tag_parent_parent_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tag_id"], ["tag.id"], name="fk_tag_parent_tag_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tag_id", "parent_id", name="pk_tag_parent"),
    )
    op.create_table(
        "marker",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("scene_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("end_seconds", sa.Double(), nullable=True),
        sa.Column("primary_tag_id", sa.BigInteger(), nullable=True),
        sa.Column("stash_updated_text", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["primary_tag_id"],
            ["tag.id"],
            name="fk_marker_primary_tag_id",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["scene_id"], ["scene.id"], name="fk_marker_scene_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_marker"),
    )
    op.create_index("ix_marker_primary_tag_id", "marker", ["primary_tag_id"])
    op.create_index("ix_marker_scene_id", "marker", ["scene_id"])
    op.create_table(
        "scene_file",
        sa.Column("scene_id", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "size_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("mod_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("format", sa.Text(), server_default="", nullable=False),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("frame_rate", sa.Double(), nullable=True),
        sa.Column("bit_rate", sa.BigInteger(), nullable=True),
        sa.Column("video_codec", sa.Text(), server_default="", nullable=False),
        sa.Column("audio_codec", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["scene_id"],
            ["scene.id"],
            name="fk_scene_file_scene_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("scene_id", "file_id", name="pk_scene_file"),
    )
    op.create_index("ix_scene_file_path", "scene_file", ["path"])
    op.create_table(
        "scene_fingerprint",
        sa.Column("scene_id", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["scene_id"],
            ["scene.id"],
            name="fk_scene_fingerprint_scene_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "scene_id", "file_id", "kind", name="pk_scene_fingerprint"
        ),
    )
    op.create_index(
        "ix_scene_fingerprint_value", "scene_fingerprint", ["kind", "value"]
    )
    op.create_table(
        "scene_performer",
        sa.Column("scene_id", sa.BigInteger(), nullable=False),
        sa.Column("performer_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["performer_id"],
            ["performer.id"],
            name="fk_scene_performer_performer_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["scene_id"],
            ["scene.id"],
            name="fk_scene_performer_scene_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("scene_id", "performer_id", name="pk_scene_performer"),
    )
    op.create_index(
        "ix_scene_performer_performer_id", "scene_performer", ["performer_id"]
    )
    op.create_table(
        "scene_tag",
        sa.Column("scene_id", sa.BigInteger(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["scene_id"], ["scene.id"], name="fk_scene_tag_scene_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tag_id"], ["tag.id"], name="fk_scene_tag_tag_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scene_id", "tag_id", name="pk_scene_tag"),
    )
    op.create_index("ix_scene_tag_tag_id", "scene_tag", ["tag_id"])
    op.create_table(
        "marker_tag",
        sa.Column("marker_id", sa.BigInteger(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["marker_id"],
            ["marker.id"],
            name="fk_marker_tag_marker_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tag_id"], ["tag.id"], name="fk_marker_tag_tag_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("marker_id", "tag_id", name="pk_marker_tag"),
    )
    op.create_index("ix_marker_tag_tag_id", "marker_tag", ["tag_id"])
