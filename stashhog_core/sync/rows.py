"""Stash's payloads as rows of the mirror's tables. Pure: no I/O in here."""

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from stashhog_core.db.columns import Base
from stashhog_core.db.models import (
    Marker,
    Performer,
    Scene,
    SceneFile,
    SceneFingerprint,
    Studio,
    Tag,
)
from stashhog_core.stash.payloads import (
    Ref,
    SceneFiles,
    StashBoxId,
    StashPerformer,
    StashScene,
    StashStudio,
    StashTag,
)
from stashhog_core.stash.times import parse_stash_time
from stashhog_core.sync.compare import FileRows

Row = tuple[Any, ...]

# Stash compares text in its own zone, up to 14 hours from UTC; clocks may differ, too.
_ZONE_MARGIN = timedelta(hours=26)


def _columns(model: type[Base], *, local: Collection[str] = ()) -> tuple[str, ...]:
    """Return the columns of a table in their order, without those only we know."""
    names = (column.name for column in model.__table__.columns)
    return tuple(name for name in names if name not in local)


# The functions below make rows of these columns, so in the order of the tables.
TAG_COLUMNS = _columns(Tag)
PERFORMER_COLUMNS = _columns(Performer)
STUDIO_COLUMNS = _columns(Studio)
SCENE_COLUMNS = _columns(
    Scene,
    local={
        "content",
        "generated",
        "video_analyzed",
        "analyzed",
        "created_at",
        "synced_at",
    },
)
FILE_COLUMNS = _columns(SceneFile)
FINGERPRINT_COLUMNS = _columns(SceneFingerprint)
MARKER_COLUMNS = _columns(Marker)
MARKER_TIMES = 2
"""The last so many columns of a marker say nothing of what it marks."""


def tag_row(tag: StashTag) -> Row:
    """Return the row of a tag, without its parents."""
    return (
        tag.id,
        plain_text(tag.name),
        plain_text(tag.sort_name),
        plain_text(tag.description),
        _texts(tag.aliases),
        tag.favorite,
        tag.ignore_auto_tag,
        _stash_ids(tag.stash_ids),
        parse_stash_time(tag.created_at),
        parse_stash_time(tag.updated_at),
        None,
    )


def performer_row(performer: StashPerformer) -> Row:
    """Return the row of a performer."""
    return (
        performer.id,
        plain_text(performer.name),
        plain_text(performer.disambiguation),
        _texts(performer.alias_list),
        performer.gender,
        performer.birthdate,
        performer.death_date,
        plain_text(performer.ethnicity),
        plain_text(performer.country),
        plain_text(performer.eye_color),
        plain_text(performer.hair_color),
        performer.height_cm,
        performer.weight,
        plain_text(performer.measurements),
        plain_text(performer.fake_tits),
        performer.penis_length,
        performer.circumcised,
        plain_text(performer.career_length),
        plain_text(performer.tattoos),
        plain_text(performer.piercings),
        _texts(performer.urls),
        plain_text(performer.details),
        performer.rating100,
        performer.favorite,
        performer.ignore_auto_tag,
        _stash_ids(performer.stash_ids),
        _plain_json(performer.custom_fields),
        parse_stash_time(performer.created_at),
        parse_stash_time(performer.updated_at),
        None,
    )


def studio_row(studio: StashStudio) -> Row:
    """Return the row of a studio."""
    return (
        studio.id,
        plain_text(studio.name),
        _texts(studio.aliases),
        studio.parent_studio.id if studio.parent_studio else None,
        _texts(studio.urls),
        plain_text(studio.details),
        studio.rating100,
        studio.favorite,
        studio.ignore_auto_tag,
        _stash_ids(studio.stash_ids),
        parse_stash_time(studio.created_at),
        parse_stash_time(studio.updated_at),
        None,
    )


def scene_row(scene: StashScene) -> Row:
    """Return the row of a scene, without anything that has a table of its own."""
    return (
        scene.id,
        plain_text(scene.title),
        plain_text(scene.code),
        plain_text(scene.details),
        plain_text(scene.director),
        _texts(scene.urls),
        scene.date,
        scene.rating100,
        scene.organized,
        scene.play_count or 0,
        scene.o_counter or 0,
        parse_stash_time(scene.last_played_at or ""),
        scene.resume_time or 0.0,
        scene.play_duration or 0.0,
        scene.interactive,
        scene.interactive_speed,
        scene.studio.id if scene.studio else None,
        [
            {
                "id": place.group.id,
                "name": plain_text(place.group.name),
                "scene_index": place.scene_index,
            }
            for place in scene.groups
        ],
        [
            {"id": gallery.id, "name": plain_text(gallery.name)}
            for gallery in scene.galleries
        ],
        _stash_ids(scene.stash_ids),
        [
            {"language_code": c.language_code, "caption_type": c.caption_type}
            for c in scene.captions or ()
        ],
        parse_stash_time(scene.created_at),
        parse_stash_time(scene.updated_at),
        scene.updated_at,
        None,
    )


def file_rows(scene: StashScene | SceneFiles) -> list[Row]:
    """Return the rows of the scene's files, the primary one at position 0."""
    files = {file.id: file for file in scene.files}
    return [
        (
            scene.id,
            file.id,
            position,
            plain_text(file.path),
            file.size,
            parse_stash_time(file.mod_time),
            plain_text(file.format),
            file.duration,
            file.width,
            file.height,
            file.frame_rate,
            file.bit_rate,
            plain_text(file.video_codec),
            plain_text(file.audio_codec),
            parse_stash_time(file.created_at),
            parse_stash_time(file.updated_at),
        )
        for position, file in enumerate(files.values())
    ]


def fingerprint_rows(scene: StashScene) -> list[Row]:
    """Return the hashes of the scene's files, one of a kind for each file."""
    values = {
        (scene.id, file.id, fingerprint.type): plain_text(fingerprint.value)
        for file in scene.files
        for fingerprint in file.fingerprints
    }
    return [(*key, value) for key, value in values.items()]


def marker_rows(scene: StashScene) -> list[Row]:
    """Return the rows of the scene's markers."""
    return [
        (
            marker.id,
            scene.id,
            plain_text(marker.title),
            marker.seconds,
            marker.end_seconds,
            marker.primary_tag.id,
            parse_stash_time(marker.created_at),
            marker.updated_at,
        )
        for marker in scene.scene_markers
    ]


def marker_tag_rows(scene: StashScene) -> list[Row]:
    """Return the additional tags of the scene's markers, each with the scene."""
    return [
        (marker.id, tag_id, scene.id)
        for marker in scene.scene_markers
        for tag_id in _ids(marker.tags)
    ]


def tag_link_rows(owner: StashScene | StashPerformer | StashStudio) -> list[Row]:
    """Return the tags of a scene, performer or studio."""
    return [(owner.id, tag_id) for tag_id in _ids(owner.tags)]


def performer_link_rows(scene: StashScene) -> list[Row]:
    """Return the scene's performers."""
    return [(scene.id, performer_id) for performer_id in _ids(scene.performers)]


def tag_parent_rows(tag: StashTag) -> list[Row]:
    """Return the tags that `tag` lies under."""
    return [(tag.id, parent_id) for parent_id in _ids(tag.parents)]


def referenced_ids(scenes: Collection[StashScene]) -> Mapping[str, set[int]]:
    """Return the ids of tags, performers and studios that the scenes name."""
    markers = [marker for scene in scenes for marker in scene.scene_markers]
    tags = {tag.id for scene in scenes for tag in scene.tags}
    tags.update(marker.primary_tag.id for marker in markers)
    tags.update(tag.id for marker in markers for tag in marker.tags)
    performers = {who.id for scene in scenes for who in scene.performers}
    studios = {scene.studio.id for scene in scenes if scene.studio}
    return {"tag": tags, "performer": performers, "studio": studios}


def primary_oshash(scene: StashScene) -> str | None:
    """Return the oshash of the primary file; None if there is none."""
    if not scene.files:
        return None
    # As in `fingerprint_rows`: should there be two, the last one counts.
    values = {found.type: found.value for found in scene.files[0].fingerprints}
    return values.get("oshash")


def file_facts(scene: SceneFiles) -> FileRows:
    """Return what shows that a file of a scene is another, or was scanned anew."""
    return frozenset(without_position(row) for row in file_rows(scene))


def without_position(row: Row) -> Row:
    """Return the row of a file without its place among the scene's files."""
    return row[:2] + row[3:]


def plain_text(value: str | None) -> str:
    """Return a text as it is mirrored."""
    # PostgreSQL's text cannot hold a NUL; SQLite's, and so Stash's, can.
    return (value or "").replace("\0", "")


def _plain_json(value: Any) -> Any:
    """Return a value of JSON as it is mirrored: PostgreSQL's holds no NUL either."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, list):
        return [_plain_json(item) for item in value]
    if isinstance(value, dict):
        return {plain_text(key): _plain_json(item) for key, item in value.items()}
    return value


def _texts(values: Iterable[str] | None) -> list[str]:
    return [plain_text(value) for value in values or ()]


def _ids(refs: Iterable[Ref]) -> list[int]:
    return list(dict.fromkeys([ref.id for ref in refs]))


def _stash_ids(ids: Iterable[StashBoxId]) -> list[dict[str, str]]:
    return [{"endpoint": box.endpoint, "stash_id": box.stash_id} for box in ids]


def text_surely_before(moment: datetime) -> str:
    """Return a text below any that Stash writes at `moment` or later, in any zone."""
    return (moment.astimezone(UTC) - _ZONE_MARGIN).strftime("%Y-%m-%dT%H:%M:%S")


@contextmanager
def collector_paused() -> Iterator[None]:
    """Have Python not look for cycles: rows by the ten thousand hold none.

    It would look all the same, and take a third of the time that storing them does.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
