"""What Stash answers, typed. Decoded straight from the wire by msgspec.

Field names are Stash's own. Ids are strings on the wire and integers here.

Stash states no order for most lists: the order of the rows of one scene depends on how
many scenes are asked for. Payloads therefore sort those lists while they are decoded,
so that two answers about the same thing are equal. URLs have an order of their own, and
the first file of a scene is the primary one; both are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec

from stashhog_core.stash.times import is_moment

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What Stash numbers its rows with; a larger number is none of its own."""

JobStatus = Literal["READY", "RUNNING", "FINISHED", "STOPPING", "CANCELLED", "FAILED"]


class Payload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all payloads.

    They refer to each other without cycles, so the collector need not look at them:
    with a page of scenes in hand it would do so all the time.
    """


def since(name: str, version: str) -> msgspec.Meta:
    """Mark a field, `Type.field` in Stash's words, that older servers do not know."""
    return msgspec.Meta(extra={"name": name, "since": version})


def selection(kind: type[Payload]) -> str:
    """Return the GraphQL selection of all fields that a payload has.

    A field that older servers do not know stands between `«Type.field=` and `»`: see
    `Operation.text_without`.
    """
    parts = []
    for field in msgspec.structs.fields(kind):
        below = _payload_in(field.type)
        part = field.encode_name + (f"{{{selection(below)}}}" if below else "")
        if younger := _youth(field.type):
            part = f"«{younger['name']}={part}»"
        parts.append(part)
    return " ".join(parts)


def younger_fields(*kinds: type[Payload]) -> dict[str, str]:
    """Return the fields that older servers do not know → the first version that does.

    Args:
        kinds: The payloads, and all that they refer to.
    """
    found: dict[str, str] = {}
    for kind in kinds:
        for field in msgspec.structs.fields(kind):
            if younger := _youth(field.type):
                found[younger["name"]] = younger["since"]
            if below := _payload_in(field.type):
                found |= younger_fields(below)
    return found


def _payload_in(hint: Any) -> type[Payload] | None:
    if isinstance(hint, type) and issubclass(hint, Payload):
        return hint
    found = (_payload_in(part) for part in get_args(hint))
    return next((kind for kind in found if kind), None)


def _youth(hint: Any) -> dict[str, Any] | None:
    marks = (part for part in get_args(hint) if isinstance(part, msgspec.Meta))
    return next((mark.extra for mark in marks if mark.extra), None)


class _Unordered:
    """Sorts those lists of a payload whose order means nothing in Stash.

    Args:
        names: The fields with the lists; at least two.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._values = attrgetter(*names)

    def sort(self, row: Payload) -> None:
        """Sort the lists of a row that is being made."""
        for name, values in zip(self._names, self._values(row), strict=True):
            if values and len(values) > 1:
                msgspec.structs.force_setattr(row, name, tuple(sorted(values)))


class Ref(Payload, frozen=True, kw_only=True, order=True):
    """A related row."""

    id: Id


class Folder(Payload, frozen=True, kw_only=True):
    """A folder of the library."""

    path: str


class Job(Payload, frozen=True, kw_only=True):
    """A job of the server. `progress` is None while Stash cannot tell."""

    id: Id
    status: JobStatus
    description: str = ""
    sub_tasks: tuple[str, ...] | None = msgspec.field(name="subTasks", default=None)
    progress: float | None = None
    add_time: str = msgspec.field(name="addTime", default="")
    error: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether it will not change any more."""
        return self.status in {"FINISHED", "CANCELLED", "FAILED"}


class SceneStamp(Payload, frozen=True, kw_only=True):
    """A row of the light manifest."""

    id: Id
    updated_at: str


class MarkerStamp(Payload, frozen=True, kw_only=True):
    """A marker in the light manifest."""

    id: Id
    updated_at: str
    scene: Ref


class TagChildren(Payload, frozen=True, kw_only=True):
    """The tags that lie under a tag."""

    id: Id
    children: tuple[Ref, ...]


class StashBoxId(Payload, frozen=True, kw_only=True, order=True):
    """An id of a scene, performer or studio on a stash-box."""

    endpoint: str
    stash_id: str


class DatedBoxId(StashBoxId, frozen=True, kw_only=True, order=True):
    """An id on a stash-box, and when Stash was given the id."""

    updated_at: Annotated[str | None, since("StashID.updated_at", "0.28")] = None

    @property
    def input(self) -> dict[str, str]:
        """What Stash is sent to keep the id as it is."""
        given = {"endpoint": self.endpoint, "stash_id": self.stash_id}
        return given | ({"updated_at": self.updated_at} if self.updated_at else {})


class SceneBoxIds(Payload, frozen=True, kw_only=True):
    """The ids of a scene on stash-boxes."""

    stash_ids: tuple[DatedBoxId, ...]


class Fingerprint(Payload, frozen=True, kw_only=True, order=True):
    """A hash of a file. A phash is unpadded hexadecimal."""

    type: str
    value: str


class StashFile(Payload, frozen=True, kw_only=True, order=True):
    """A file of a scene, without its hashes."""

    id: Id
    path: str
    size: int
    mod_time: str
    duration: float
    format: str
    width: int
    height: int
    frame_rate: float
    bit_rate: int
    video_codec: str
    audio_codec: str
    created_at: str
    updated_at: str


class VideoFile(StashFile, frozen=True, kw_only=True, order=True):
    """A file of a scene."""

    fingerprints: tuple[Fingerprint, ...]

    def __post_init__(self) -> None:
        """Give the lists an order."""
        if len(self.fingerprints) > 1:
            ordered = tuple(sorted(self.fingerprints))
            msgspec.structs.force_setattr(self, "fingerprints", ordered)


class SceneFiles(Payload, frozen=True, kw_only=True):
    """A scene and its files."""

    id: Id
    files: tuple[StashFile, ...]


class LocatedFile(Payload, frozen=True, kw_only=True):
    """Where a file lies, and its hashes."""

    path: str
    fingerprints: tuple[Fingerprint, ...]

    @property
    def oshash(self) -> str | None:
        """The file's oshash; None: Stash has not computed it."""
        values = (f.value for f in self.fingerprints if f.type == "oshash")
        return next(values, None)


class LocatedScene(Payload, frozen=True, kw_only=True):
    """The files of a scene."""

    files: tuple[LocatedFile, ...]


class StashGroup(Payload, frozen=True, kw_only=True, order=True):
    """A group of scenes, such as a film."""

    id: Id
    name: str


class GroupRef(Payload, frozen=True, kw_only=True, order=True):
    """A group a scene is in, and its place there."""

    group: StashGroup
    scene_index: int | None = None


class PathStamp(Payload, frozen=True, kw_only=True, order=True):
    """Where a file or a folder lies."""

    path: str


class Gallery(Payload, frozen=True, kw_only=True, order=True):
    """A gallery of pictures: of a folder, of an archive, or of neither."""

    id: Id
    title: str | None = None
    folder: PathStamp | None = None
    files: tuple[PathStamp, ...] = ()

    @property
    def name(self) -> str:
        """What Stash shows for it: its title, else the name of where it lies."""
        places = [self.folder, *self.files]
        path = next((place.path for place in places if place), "")
        return self.title or PurePath(path).name


class Caption(Payload, frozen=True, kw_only=True, order=True):
    """A subtitle file of a scene."""

    language_code: str
    caption_type: str


class StashMarker(Payload, frozen=True, kw_only=True, order=True):
    """A marker of a scene."""

    id: Id
    title: str
    seconds: float
    end_seconds: Annotated[float | None, since("SceneMarker.end_seconds", "0.28")] = (
        None
    )
    primary_tag: Ref
    tags: tuple[Ref, ...]
    created_at: str
    updated_at: str

    def __post_init__(self) -> None:
        """Give the lists an order."""
        if len(self.tags) > 1:
            ordered = tuple(sorted(self.tags))
            msgspec.structs.force_setattr(self, "tags", ordered)


_SCENE_LISTS = _Unordered(
    "performers",
    "tags",
    "groups",
    "galleries",
    "stash_ids",
    "captions",
    "scene_markers",
)


class StashScene(Payload, frozen=True, kw_only=True):
    """A scene with all it has. `files[0]` is the primary file; there may be none."""

    id: Id
    title: str | None
    code: str | None
    details: str | None
    director: str | None
    urls: tuple[str, ...]
    date: str | None
    rating100: int | None
    organized: bool
    play_count: int | None
    o_counter: int | None
    last_played_at: str | None
    resume_time: float | None
    play_duration: float | None
    interactive: bool
    interactive_speed: int | None
    created_at: str
    updated_at: str
    studio: Ref | None
    performers: tuple[Ref, ...]
    tags: tuple[Ref, ...]
    groups: tuple[GroupRef, ...]
    galleries: tuple[Gallery, ...]
    stash_ids: tuple[StashBoxId, ...]
    captions: tuple[Caption, ...] | None
    files: tuple[VideoFile, ...]
    scene_markers: tuple[StashMarker, ...]

    def __post_init__(self) -> None:
        """Give the lists an order; the primary file stays the first one."""
        _SCENE_LISTS.sort(self)
        if len(self.files) > 2:
            primary, *others = self.files
            files = (primary, *sorted(others))
            msgspec.structs.force_setattr(self, "files", files)

    def was_created_at(self, moment: datetime | None) -> bool:
        """Tell whether this is the scene that Stash created then; None: not known.

        A Stash that was set up anew, or whose database was restored from a backup,
        gives ids again: the same id may then be that of another scene.
        """
        return is_moment(self.created_at, moment)


class MediaPaths(Payload, frozen=True, kw_only=True):
    """Where Stash serves a scene's media, made or not, as addresses."""

    screenshot: str | None
    preview: str | None
    webp: str | None
    sprite: str | None
    vtt: str | None


class MarkerMedia(Payload, frozen=True, kw_only=True):
    """A marker and where Stash serves its media, made or not."""

    id: Id
    seconds: float
    stream: str
    preview: str
    screenshot: str


class HashedFile(Payload, frozen=True, kw_only=True):
    """A file by its hashes."""

    fingerprints: tuple[Fingerprint, ...]


class SceneMedia(Payload, frozen=True, kw_only=True):
    """A scene and the places of its media, which depend on its first file."""

    id: Id
    paths: MediaPaths
    files: tuple[HashedFile, ...] = ()
    scene_markers: tuple[MarkerMedia, ...] = ()

    @property
    def phashes(self) -> list[str]:
        """The perceptual hashes of its files, sorted."""
        hashes = [found for file in self.files for found in file.fingerprints]
        return sorted(found.value for found in hashes if found.type == "phash")


class JobEvent(Payload, frozen=True, kw_only=True):
    """News of a job, told over the websocket. REMOVE: it is over."""

    type: Literal["ADD", "UPDATE", "REMOVE"]
    job: Ref


class LogEntry(Payload, frozen=True, kw_only=True):
    """A line of Stash's log; its level is Trace, Debug, Info, Warning or Error."""

    time: str = ""
    level: str
    message: str


class ScenePaths(Payload, frozen=True, kw_only=True):
    """A scene and where its files lie."""

    id: Id
    files: tuple[PathStamp, ...]


_TAG_LISTS = _Unordered("aliases", "stash_ids", "parents")


class StashTag(Payload, frozen=True, kw_only=True):
    """A tag."""

    id: Id
    name: str
    sort_name: Annotated[str | None, since("Tag.sort_name", "0.28")] = None
    description: str | None = None
    aliases: tuple[str, ...] = ()
    favorite: bool = False
    ignore_auto_tag: bool = False
    stash_ids: Annotated[tuple[StashBoxId, ...], since("Tag.stash_ids", "0.30")] = ()
    created_at: str = ""
    updated_at: str = ""
    parents: tuple[Ref, ...] = ()

    def __post_init__(self) -> None:
        """Give the lists an order."""
        _TAG_LISTS.sort(self)


class TypeRef(Payload, frozen=True, kw_only=True):
    """A type of Stash's schema: a kind, and of a list what it is a list of."""

    kind: str
    of_type: "TypeRef | None" = msgspec.field(name="ofType", default=None)

    @property
    def is_object(self) -> bool:
        """Whether values, or those of a list, have fields of their own."""
        if self.of_type is not None:
            return self.of_type.is_object
        return self.kind in ("OBJECT", "INTERFACE", "UNION")


class TypeField(Payload, frozen=True, kw_only=True):
    """A field of a type of Stash's schema."""

    name: str
    type: TypeRef

    @property
    def selection(self) -> str:
        """What a query says to get the field."""
        if self.name == "stash_ids":
            return f"{self.name}{{endpoint stash_id}}"
        return f"{self.name}{{__typename}}" if self.type.is_object else self.name


class TypeFields(Payload, frozen=True, kw_only=True):
    """The fields of a type that this Stash has."""

    fields: tuple[TypeField, ...]


class NamedObject(Payload, frozen=True, kw_only=True):
    """A tag, performer or studio by all that it is found by."""

    id: Id
    name: str
    aliases: tuple[str, ...] = ()
    stash_ids: tuple[StashBoxId, ...] = ()


class KnownObject(Payload, frozen=True, kw_only=True):
    """A tag, performer or studio by its names, and when Stash created it."""

    id: Id
    name: str
    aliases: tuple[str, ...] = ()
    created_at: str = ""


@dataclass(frozen=True)
class ObjectUse:
    """A tag, performer or studio, and what is not as Stash makes it by its name alone.

    Attributes:
        additions: Field → value: uses, and what somebody has added.
    """

    id: Id
    name: str
    additions: Mapping[str, Any]
    created_at: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any], given: Mapping[str, Any]) -> "ObjectUse":
        """Return the use of a tag, performer or studio.

        Args:
            answer: Every field that Stash has for it, known to us or not.
            given: Field → value that it was created with, beside its name.
        """
        additions = {
            name: value
            for name, value in answer.items()
            if value and name not in _OF_EVERY_OBJECT and value != given.get(name)
        }
        # Without an image of its own, it has Stash's.
        if "default=true" in str(additions.get("image_path", "")):
            del additions["image_path"]
        created_at = str(answer.get("created_at") or "")
        return cls(int(answer["id"]), str(answer["name"]), additions, created_at)

    @property
    def in_words(self) -> str:
        """What keeps it, such as `image, scenes: 2`."""
        words = [
            f"{name.removesuffix('_count')}s: {value}"
            if name.endswith("_count")
            else name.removesuffix("_path")
            for name, value in sorted(self.additions.items())
            # Some kinds have both the scenes and their number.
            if f"{name.removesuffix('s')}_count" not in self.additions
        ]
        return ", ".join(words)


_OF_EVERY_OBJECT = frozenset({"id", "name", "created_at", "updated_at", "__typename"})


_PERFORMER_LISTS = _Unordered("alias_list", "stash_ids", "tags")


class StashPerformer(Payload, frozen=True, kw_only=True):
    """A performer."""

    id: Id
    name: str
    disambiguation: str | None = None
    alias_list: tuple[str, ...] = ()
    gender: str | None = None
    birthdate: str | None = None
    death_date: str | None = None
    ethnicity: str | None = None
    country: str | None = None
    eye_color: str | None = None
    hair_color: str | None = None
    height_cm: int | None = None
    weight: int | None = None
    measurements: str | None = None
    fake_tits: str | None = None
    penis_length: float | None = None
    circumcised: str | None = None
    career_length: str | None = None
    tattoos: str | None = None
    piercings: str | None = None
    urls: tuple[str, ...] | None = None
    details: str | None = None
    rating100: int | None = None
    favorite: bool = False
    ignore_auto_tag: bool = False
    stash_ids: tuple[StashBoxId, ...] = ()
    custom_fields: Annotated[
        dict[str, Any], since("Performer.custom_fields", "0.28")
    ] = {}
    created_at: str = ""
    updated_at: str = ""
    tags: tuple[Ref, ...] = ()

    def __post_init__(self) -> None:
        """Give the lists an order."""
        _PERFORMER_LISTS.sort(self)


_STUDIO_LISTS = _Unordered("aliases", "stash_ids", "tags")


class StashStudio(Payload, frozen=True, kw_only=True):
    """A studio."""

    id: Id
    name: str
    aliases: tuple[str, ...] = ()
    parent_studio: Ref | None = None
    urls: Annotated[tuple[str, ...] | None, since("Studio.urls", "0.30")] = None
    details: str | None = None
    rating100: int | None = None
    favorite: bool = False
    ignore_auto_tag: bool = False
    stash_ids: tuple[StashBoxId, ...] = ()
    created_at: str = ""
    updated_at: str = ""
    tags: tuple[Ref, ...] = ()

    def __post_init__(self) -> None:
        """Give the lists an order."""
        _STUDIO_LISTS.sort(self)


@dataclass(frozen=True)
class LibraryListing:
    """The light listings of a whole library.

    Attributes:
        pages: The scenes by rising id, listed as they are asked for.
        marker_pages: The markers, in the same way. One that is removed meanwhile can
            hide the first one of the next page.
        tags: All of them.
        performers: All of them.
        studios: All of them.
        files: Those of the scenes with a file that was changed lately.
        folders: The paths of all folders; None: they were not asked for, or this
            version of Stash does not list them.
    """

    pages: Iterator[Sequence[SceneStamp]]
    marker_pages: Iterator[Sequence[MarkerStamp]]
    tags: Sequence[StashTag]
    performers: Sequence[StashPerformer]
    studios: Sequence[StashStudio]
    files: Sequence[SceneFiles]
    folders: Sequence[str] | None


@dataclass(frozen=True)
class LibraryChanges(LibraryListing):
    """The light listings of what was changed since some time.

    Attributes:
        children: The tags under each of the listed tags.
        file_ids: The changed files of any kind, whatever they belong to.
    """

    children: Sequence[TagChildren]
    file_ids: Sequence[int]


class KindGlance(NamedTuple):
    """What a glance shows of one kind of rows.

    Attributes:
        total: How many there are.
        newest_text: The latest time of change, as Stash wrote it; empty: no rows.
        newest_id: The highest id; 0: no rows.
    """

    total: int
    newest_text: str
    newest_id: int


@dataclass(frozen=True)
class Glance:
    """What shows whether a library may have changed.

    Attributes:
        kinds: scene, marker, tag, performer, studio and file, as far as this Stash
            lists them.
        log_times: When the last lines of Stash's log were written, the newest first,
            as Stash wrote it.
        clock: Stash's clock when it answered, to the second; None: it does not tell.
    """

    kinds: Mapping[str, KindGlance]
    log_times: tuple[str, ...]
    clock: datetime | None


class GraphQLError(Payload, frozen=True, kw_only=True):
    """An error beside, or instead of, data."""

    message: str
    path: tuple[Any, ...] | None = None
