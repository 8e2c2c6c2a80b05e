"""The content of a scene's primary file, by its hash."""

from sqlalchemy import ScalarSelect, and_, select

from stashhog_core.db.models import Scene, SceneFile, SceneFingerprint


def primary_oshash() -> ScalarSelect[str]:
    """Return the oshash of the primary file of the `Scene` of the query around it."""
    of_file = and_(
        SceneFingerprint.scene_id == SceneFile.scene_id,
        SceneFingerprint.file_id == SceneFile.file_id,
        SceneFingerprint.kind == "oshash",
    )
    return (
        select(SceneFingerprint.value)
        .join(SceneFile, of_file)
        .where(SceneFile.scene_id == Scene.id, SceneFile.position == 0)
        .correlate(Scene)
        .scalar_subquery()
    )
