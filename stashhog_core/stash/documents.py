"""The GraphQL documents sent to Stash: by hand, and only with fields that are used.

Each asks for one thing and calls it `answer`; lists in it are called `rows`. So one
envelope fits all, and every operation states only the type of its answer. Those that
ask for several things at once are marked as `whole`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import msgspec

from stashhog_core.stash.box_payloads import RemoteScene, RemoteSceneWithCover
from stashhog_core.stash.payloads import (
    Folder,
    GraphQLError,
    Job,
    KnownObject,
    LocatedScene,
    LogEntry,
    MarkerStamp,
    NamedObject,
    Payload,
    Ref,
    SceneBoxIds,
    SceneFiles,
    SceneMedia,
    ScenePaths,
    SceneStamp,
    StashFile,
    StashPerformer,
    StashScene,
    StashStudio,
    StashTag,
    TagChildren,
    TypeFields,
    selection,
    younger_fields,
)

T = TypeVar("T")


_YOUNGER = re.compile("«(?P<name>[^=]*)=(?P<what>[^»]*)»")


def plain(text: str, unknown: Collection[str] = ()) -> str:
    """Return a document, or a part of one, without what a server does not know.

    Args:
        text: The document, made with `selection`.
        unknown: Fields, as `Type.field`, of those that older servers lack.
    """

    def kept(found: re.Match[str]) -> str:
        return "" if found["name"] in unknown else found["what"]

    return _YOUNGER.sub(kept, text)


class Answer(Payload, Generic[T], frozen=True, kw_only=True):
    """The one thing that was asked for; None where Stash answers null."""

    answer: T | None = None


class Envelope(Payload, Generic[T], frozen=True, kw_only=True):
    """What comes back on the wire."""

    data: T | None = None
    errors: tuple[GraphQLError, ...] | None = None


class Rows(Payload, Generic[T], frozen=True, kw_only=True):
    """A list, inside the object Stash wraps it in."""

    rows: tuple[T, ...]


class LibraryAnswer(Payload, frozen=True, kw_only=True):
    """The light listings, of scenes and markers the first page."""

    scenes: Rows[SceneStamp]
    markers: Rows[MarkerStamp]
    tags: Rows[StashTag]
    performers: Rows[StashPerformer]
    studios: Rows[StashStudio]
    files: Rows[SceneFiles]
    folders: Rows[Folder] | None = None


class ChangesAnswer(LibraryAnswer, frozen=True, kw_only=True):
    """The light listings of changed rows, of scenes and markers the first page."""

    children: Rows[TagChildren]
    changed_files: Rows[Ref]


class Newest(Payload, frozen=True, kw_only=True):
    """How many rows there are, and the one that was changed last."""

    count: int
    rows: tuple[SceneStamp, ...]


class NewestScene(Payload, frozen=True, kw_only=True):
    """How many scenes, the one that was changed last, and the one created last."""

    scene: Newest
    scene_id: Rows[Ref]


class GlanceAnswer(Payload, frozen=True, kw_only=True):
    """Of each kind: how many, the one that was changed last, the one created last."""

    scene: Newest
    scene_id: Rows[Ref]
    marker: Newest
    marker_id: Rows[Ref]
    tag: Newest
    tag_id: Rows[Ref]
    performer: Newest
    performer_id: Rows[Ref]
    studio: Newest
    studio_id: Rows[Ref]
    file: Newest | None = None
    file_id: Rows[Ref] | None = None
    logs: tuple[LogEntry, ...]


class Count(Payload, frozen=True, kw_only=True):
    """How many there are."""

    count: int


class Version(Payload, frozen=True, kw_only=True):
    """Stash's version; null in builds of its developers."""

    version: str | None = None


class SystemStatus(Payload, frozen=True, kw_only=True):
    """Whether Stash is set up: OK, SETUP or NEEDS_MIGRATION."""

    status: str


class Programs(Payload, frozen=True, kw_only=True, rename="camel"):
    """The programs that Stash reads videos with; null or empty: it has not found it."""

    ffmpeg_path: str | None = None
    ffprobe_path: str | None = None


class ScanFolder(Payload, frozen=True, kw_only=True, rename="camel"):
    """A folder of Stash's library, and whether its videos are left out."""

    path: str
    exclude_video: bool = False


class ScanRules(Payload, frozen=True, kw_only=True, rename="camel"):
    """Which files a scan takes as videos, as far as Stash was asked for it.

    Attributes:
        stashes: The folders of Stash's library, which are scanned.
        video_extensions: Without dots; letter case does not matter.
        excludes: Regular expressions (of Go) for paths that are left out.
    """

    stashes: tuple[ScanFolder, ...]
    video_extensions: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


class ScanConfiguration(Payload, frozen=True, kw_only=True):
    """The part of Stash's configuration that scans follow."""

    general: ScanRules


class Box(Payload, frozen=True, kw_only=True):
    """A stash-box that Stash knows, without its key."""

    endpoint: str


class Boxes(Payload, frozen=True, kw_only=True, rename="camel"):
    """The stash-boxes in Stash's order."""

    stash_boxes: tuple[Box, ...]


class BoxConfiguration(Payload, frozen=True, kw_only=True):
    """The part of Stash's configuration with the stash-boxes."""

    general: Boxes


@dataclass(frozen=True)
class Operation(Generic[T]):
    """A document, the type of its answer, and whether it may be sent twice.

    With `whole`, the answer is all the data that comes back. One that `stops` a job is
    no write: whoever leaves may send it.
    """

    name: str
    text: str
    shape: type[T]
    reads: bool = True
    whole: bool = False
    stops: bool = False
    _decoder: "msgspec.json.Decoder[Envelope[Any]]" = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # mypy takes no computed types.
        data: Any = self.shape if self.whole else Answer[self.shape]  # type: ignore[name-defined]
        # Ids are strings on the wire: hence not strict.
        decoder = msgspec.json.Decoder(Envelope[data], strict=False)
        object.__setattr__(self, "_decoder", decoder)

    def text_without(self, unknown: Collection[str] = ()) -> str:
        """Return the document as it is sent: see `plain`."""
        return plain(self.text, unknown)

    def decode(self, body: bytes) -> Envelope[Any]:
        """Return what came back.

        Raises:
            msgspec.DecodeError: It is no JSON, or has another form.
        """
        return self._decoder.decode(body)

    def answer_of(self, data: Any) -> T | None:
        """Return the answer that the data of an envelope holds."""
        answer: T | None = data if self.whole else data.answer
        return answer


TAG_FIELDS = selection(StashTag)
SCENE_FIELDS = selection(StashScene)
YOUNGER_FIELDS = younger_fields(
    StashScene, StashTag, StashPerformer, StashStudio, SceneBoxIds, RemoteScene
)
"""What older servers do not know, as `Type.field` → the first version that does."""
YOUNGER_QUERIES = {"Query.findFiles": "0.30", "Query.findFolders": "0.29"}
"""In the same way, what older servers cannot be asked."""
WITHOUT_QUERY = {
    "Query.findFiles": "each check for changes lists the whole library",
    "Query.findFolders": "only a deep sync finds renamed folders",
}
"""What it means that a server lacks one of these."""
MEDIA_FIELDS = (
    "id paths{screenshot preview webp sprite vtt} files{fingerprints{type value}} "
    "scene_markers{id seconds stream preview screenshot}"
)
JOB_FIELDS = "id status description subTasks progress addTime error"


def _query(name: str, asked: str, shape: type[T], variables: str = "") -> Operation[T]:
    """Return the operation that reads what is `asked`."""
    given = f"({variables})" if variables else ""
    return Operation(name, f"query {name}{given}{{answer:{asked}}}", shape)


def _mutation(
    name: str, asked: str, shape: type[T], variables: str = "", *, stops: bool = False
) -> Operation[T]:
    """Return the operation that has done what is `asked`."""
    given = f"({variables})" if variables else ""
    text = f"mutation {name}{given}{{answer:{asked}}}"
    return Operation(name, text, shape, reads=False, stops=stops)


# --- the server and its jobs ---------------------------------------------------------

VERSION = _query("Version", "version{version}", Version)
SYSTEM_STATUS = _query("SystemStatus", "systemStatus{status}", SystemStatus)
LIBRARY_ROOTS = _query(
    "LibraryRoots", "configuration{general{stashes{path}}}", ScanConfiguration
)
PROGRAMS = _query("Programs", "systemStatus{ffmpegPath ffprobePath}", Programs)
RECENT_LOG = _query("RecentLog", "logs{time level message}", tuple[LogEntry, ...])
SCAN_RULES = _query(
    "ScanRules",
    "configuration{general{stashes{path excludeVideo} videoExtensions excludes}}",
    ScanConfiguration,
)
STASH_BOXES = _query(
    "StashBoxes", "configuration{general{stashBoxes{endpoint}}}", BoxConfiguration
)


def _scrape(name: str, row: type[T]) -> Operation[tuple[tuple[T, ...], ...]]:
    asked = (
        "scrapeMultiScenes(source:{stash_box_endpoint:$endpoint},"
        f"input:{{scene_ids:$ids}}){{{selection(row)}}}"  # type: ignore[arg-type]
    )
    shape = tuple[tuple[row, ...], ...]  # type: ignore[valid-type]
    return _query(name, asked, shape, "$endpoint:String!,$ids:[ID!]!")


SCRAPE_SCENES = _scrape("ScrapeScenes", RemoteScene)
SCRAPE_COVERS = _scrape("ScrapeCovers", RemoteSceneWithCover)
FIND_JOB = _query(
    "FindJob", f"findJob(input:{{id:$id}}){{{JOB_FIELDS}}}", Job, "$id:ID!"
)
JOB_QUEUE = _query("JobQueue", f"jobQueue{{{JOB_FIELDS}}}", tuple[Job, ...])
JobKind = Literal["scan", "generate", "auto_tag", "identify", "clean", "optimise"]
"""A kind of jobs that a Stash server does."""


def _start(name: str) -> Operation[int]:
    return _mutation(
        f"Start{name}",
        f"metadata{name}(input:$input)",
        int,
        f"$input:{name}MetadataInput!",
    )


START: dict[JobKind, Operation[int]] = {
    "scan": _start("Scan"),
    "generate": _start("Generate"),
    "auto_tag": _start("AutoTag"),
    "identify": _start("Identify"),
    "clean": _start("Clean"),
    "optimise": _mutation("StartOptimise", "optimiseDatabase", int),
}
EVERYTHING_IF_EMPTY: dict[JobKind, tuple[str, ...]] = {
    "scan": ("paths",),
    "generate": ("sceneIDs", "markerIDs"),
    "auto_tag": ("paths",),
    "identify": ("sceneIDs", "paths"),
    "clean": ("paths",),
}
"""The lists of which one must be given: without any, Stash takes its whole library."""
BACK_UP = _mutation("BackUp", "backupDatabase(input:{})", str)
STOP_JOB = _mutation("StopJob", "stopJob(job_id:$id)", bool, "$id:ID!", stops=True)

JOBS_SUBSCRIBE = "subscription JobsSubscribe{answer:jobsSubscribe{type job{id}}}"

# --- reading -------------------------------------------------------------------------

# Without a sort there is no order at all; with one, ids make a key to go on from.
_ALL_BY_ID = 'filter:{per_page:-1,sort:"id",direction:ASC}'
_BETWEEN = "id:{value:$low,value2:$high,modifier:BETWEEN}"


def _page_of_scenes(fields: str, scene_filter: str = "") -> str:
    return (
        'findScenes(filter:{per_page:$size,sort:"id",direction:ASC},'
        f"scene_filter:{{{scene_filter}id:{{value:$after,modifier:GREATER_THAN}}}})"
        f"{{rows:scenes{{{fields}}}}}"
    )


def _all_scenes(scene_filter: str, fields: str) -> str:
    return (
        f"findScenes({_ALL_BY_ID},scene_filter:{{{scene_filter}}})"
        f"{{rows:scenes{{{fields}}}}}"
    )


def _all(entities: str, fields: str, row_filter: str = "") -> str:
    """Return what lists tags, performers, studios or files by rising id."""
    chosen = f",{entities[:-1]}_filter:{{{row_filter}}}" if row_filter else ""
    find = f"find{entities.capitalize()}({_ALL_BY_ID}{chosen})"
    return f"{find}{{rows:{entities}{{{fields}}}}}"


def _scene_page(name: str, fields: str, row: type[T]) -> Operation[Rows[T]]:
    asked = _page_of_scenes(fields)
    return _query(name, asked, Rows[row], "$after:Int!,$size:Int!")  # type: ignore[valid-type]


def _scenes_by_id(name: str, fields: str, row: type[T]) -> Operation[Rows[T]]:
    asked = f"findScenes(ids:$ids){{rows:scenes{{{fields}}}}}"
    return _query(name, asked, Rows[row], "$ids:[ID!]!")  # type: ignore[valid-type]


def _scenes_between(
    name: str, fields: str, row: type[T], scene_filter: str = ""
) -> Operation[Rows[T]]:
    asked = _all_scenes(scene_filter + _BETWEEN, fields)
    return _query(name, asked, Rows[row], "$low:Int!,$high:Int!")  # type: ignore[valid-type]


# The same scenes each time, from all over the library.
SOME_FILES = _query(
    "SomeFiles",
    'findScenes(filter:{per_page:$size,sort:"random_20"})'
    f"{{rows:scenes{{{selection(LocatedScene)}}}}}",
    Rows[LocatedScene],
    "$size:Int!",
)
_CHANGED_FILES = _all_scenes(
    "files_filter:{updated_at:{value:$since,modifier:GREATER_THAN}}",
    f"id files{{{selection(StashFile)}}}",
)
_CHANGED = "updated_at:{value:$since,modifier:GREATER_THAN}"


def _page_of_markers(marker_filter: str = "") -> str:
    # They know no "greater than" of their id, so their pages go by number.
    chosen = f",scene_marker_filter:{{{marker_filter}}}" if marker_filter else ""
    return (
        'findSceneMarkers(filter:{page:$page,per_page:$size,sort:"id",direction:ASC}'
        f"{chosen}){{rows:scene_markers{{id updated_at scene{{id}}}}}}"
    )


_MARKERS = _page_of_markers()
_ALL_TAGS = _all("tags", TAG_FIELDS)
_ALL_PERFORMERS = _all("performers", selection(StashPerformer))
_ALL_STUDIOS = _all("studios", selection(StashStudio))

_ALL_FOLDERS = (
    "«Query.findFolders=folders:findFolders(filter:{per_page:-1}){rows:folders{path}}»"
)

LIBRARY = Operation(
    "Library",
    "query Library($after:Int!,$page:Int!,$size:Int!,$since:String!){"
    f"scenes:{_page_of_scenes('id updated_at')} markers:{_MARKERS} "
    f"tags:{_ALL_TAGS} performers:{_ALL_PERFORMERS} studios:{_ALL_STUDIOS} "
    f"files:{_CHANGED_FILES} {_ALL_FOLDERS}}}",
    LibraryAnswer,
    whole=True,
)
CHANGES = Operation(
    "Changes",
    "query Changes($after:Int!,$page:Int!,$size:Int!,$since:String!){"
    f"scenes:{_page_of_scenes('id updated_at', f'{_CHANGED},')} "
    f"markers:{_page_of_markers(_CHANGED)} "
    f"tags:{_all('tags', TAG_FIELDS, _CHANGED)} "
    f"performers:{_all('performers', selection(StashPerformer), _CHANGED)} "
    f"studios:{_all('studios', selection(StashStudio), _CHANGED)} "
    f"files:{_CHANGED_FILES} "
    f"children:{_all('tags', 'id children{id}', _CHANGED)} "
    f"changed_files:{_all('files', 'id', _CHANGED)}}}",
    ChangesAnswer,
    whole=True,
)
CHANGED_SCENES = _query(
    "ChangedScenes",
    _page_of_scenes("id updated_at", f"{_CHANGED},"),
    Rows[SceneStamp],
    "$after:Int!,$size:Int!,$since:String!",
)
CHANGED_MARKERS = _query(
    "ChangedMarkers",
    _page_of_markers(_CHANGED),
    Rows[MarkerStamp],
    "$page:Int!,$size:Int!,$since:String!",
)


def _newest(find: str, rows: str) -> str:
    return (
        f'{find}(filter:{{per_page:1,sort:"updated_at",direction:DESC}})'
        f"{{count rows:{rows}{{id updated_at}}}}"
    )


def _last(find: str, rows: str) -> str:
    return (
        f'{find}(filter:{{per_page:1,sort:"id",direction:DESC}}){{rows:{rows}{{id}}}}'
    )


GLANCE_KINDS = {
    "scene": ("findScenes", "scenes"),
    "marker": ("findSceneMarkers", "scene_markers"),
    "tag": ("findTags", "tags"),
    "performer": ("findPerformers", "performers"),
    "studio": ("findStudios", "studios"),
    "file": ("findFiles", "files"),
}
"""Kind → how Stash finds its rows, and what Stash calls them in the answer."""


def _glance_of(kind: str) -> str:
    names = GLANCE_KINDS[kind]
    asked = f"{kind}:{_newest(*names)} {kind}_id:{_last(*names)}"
    field = f"Query.{names[0]}"
    return f"«{field}={asked}»" if field in YOUNGER_QUERIES else asked


GLANCE = Operation(
    "Glance",
    f"query Glance{{{' '.join(map(_glance_of, GLANCE_KINDS))} "
    "logs{time level message}}",
    GlanceAnswer,
    whole=True,
)
NEWEST_SCENE = Operation(
    "NewestScene",
    f"query NewestScene{{{_glance_of('scene')}}}",
    NewestScene,
    whole=True,
)
SCENE_STAMPS = _scene_page("SceneStamps", "id updated_at", SceneStamp)
SCENES = _scenes_by_id("Scenes", SCENE_FIELDS, StashScene)
SCENES_BETWEEN = _scenes_between("ScenesBetween", SCENE_FIELDS, StashScene)
SCENE_IDS = _scenes_between("SceneIds", "id", Ref)
LACKING_PHASH = _scenes_between("LackingPhash", "id", Ref, 'is_missing:"phash",')
SCENE_MEDIA = _scenes_by_id("SceneMedia", MEDIA_FIELDS, SceneMedia)
SCENE_MEDIA_PAGE = _scene_page("SceneMediaPage", MEDIA_FIELDS, SceneMedia)
SCENES_AT = _query(
    "ScenesAt",
    _all_scenes("path:{value:$path,modifier:EQUALS}", "id files{path}"),
    Rows[ScenePaths],
    "$path:String!",
)
SCENE_COUNT = _query("SceneCount", "findScenes(filter:{per_page:0}){count}", Count)
MARKER_STAMPS = _query(
    "MarkerStamps", _MARKERS, Rows[MarkerStamp], "$page:Int!,$size:Int!"
)
FILE_PATHS = _query(
    "FilePaths",
    'findFiles(filter:{page:$page,per_page:$size,sort:"id",direction:ASC})'
    "{rows:files{path}}",
    Rows[Folder],
    "$page:Int!,$size:Int!",
)
FOLDER_PATHS = _query(
    "FolderPaths", "findFolders(filter:{per_page:-1}){rows:folders{path}}", Rows[Folder]
)
FILE_COUNT = _query("FileCount", "findFiles(filter:{per_page:0}){count}", Count)
TAGS = _query("Tags", _ALL_TAGS, Rows[StashTag])
PERFORMERS = _query("Performers", _ALL_PERFORMERS, Rows[StashPerformer])
STUDIOS = _query("Studios", _ALL_STUDIOS, Rows[StashStudio])
FIND_TAG = _query(
    "FindTag",
    "findTags(filter:{per_page:-1},tag_filter:"
    "{name:{value:$name,modifier:EQUALS},OR:{aliases:{value:$name,modifier:EQUALS}}})"
    f"{{rows:tags{{{TAG_FIELDS}}}}}",
    Rows[StashTag],
    "$name:String!",
)
NamedKind = Literal["tag", "performer", "studio"]
"""What scenes refer to by its name."""


def find_objects(kind: NamedKind) -> Operation[Rows[NamedObject]]:
    """Return the question for what has an id at a stash-box, a name, or an alias."""
    names = (
        "{stash_id_endpoint:{endpoint:$endpoint,stash_id:$stash_id,modifier:EQUALS},"
        "OR:{name:{value:$name,modifier:EQUALS},"
        "OR:{aliases:{value:$name,modifier:EQUALS}}}}"
    )
    fields = selection(NamedObject)
    if kind == "performer":
        fields = fields.replace("aliases", "aliases:alias_list")
    return _query(
        f"Find{kind.capitalize()}s",
        f"find{kind.capitalize()}s(filter:{{per_page:-1}},{kind}_filter:{names})"
        f"{{rows:{kind}s{{{fields}}}}}",
        Rows[NamedObject],
        "$endpoint:String!,$stash_id:String!,$name:String!",
    )


def list_objects(kind: NamedKind) -> Operation[Rows[KnownObject]]:
    """Return the question for the names of all tags, performers or studios."""
    fields = selection(KnownObject)
    if kind == "performer":
        fields = fields.replace("aliases", "aliases:alias_list")
    return _query(
        f"List{kind.capitalize()}s",
        f"find{kind.capitalize()}s(filter:{{per_page:-1}}){{rows:{kind}s{{{fields}}}}}",
        Rows[KnownObject],
    )


def create_object(kind: NamedKind) -> Operation[Ref]:
    """Return what creates a tag, performer or studio."""
    type_name = kind.capitalize()
    return _mutation(
        f"Create{type_name}",
        f"{kind}Create(input:$input){{id}}",
        Ref,
        f"$input:{type_name}CreateInput!",
    )


def destroy_object(kind: NamedKind) -> Operation[bool]:
    """Return what deletes a tag, performer or studio."""
    type_name = kind.capitalize()
    asked = f"{kind}Destroy(input:{{id:$id}})"
    return _mutation(f"Destroy{type_name}", asked, bool, "$id:ID!")


TYPE_FIELDS = _query(
    "TypeFields",
    "__type(name:$name){fields{name type{kind ofType{kind ofType{kind "
    "ofType{kind}}}}}}",
    TypeFields,
    "$name:String!",
)


def object_use(kind: NamedKind, fields: TypeFields) -> Operation[dict[str, Any]]:
    """Return the question for every field that this Stash has for a kind of objects."""
    type_name = kind.capitalize()
    names = " ".join(field.selection for field in fields.fields)
    asked = f"find{type_name}(id:$id){{{names}}}"
    return _query(f"{type_name}Use", asked, dict[str, Any], "$id:ID!")


# --- writing -------------------------------------------------------------------------

SCENE_BOX_IDS = _query(
    "SceneBoxIds",
    f"findScene(id:$id){{{selection(SceneBoxIds)}}}",
    SceneBoxIds,
    "$id:ID!",
)
BULK_UPDATE_SCENES = _mutation(
    "BulkUpdateScenes",
    "bulkSceneUpdate(input:$input){id}",
    tuple[Ref, ...],
    "$input:BulkSceneUpdateInput!",
)
UPDATE_SCENE = _mutation(
    "UpdateScene", "sceneUpdate(input:$input){id}", Ref, "$input:SceneUpdateInput!"
)
CREATE_TAG = _mutation(
    "CreateTag",
    f"tagCreate(input:$input){{{TAG_FIELDS}}}",
    StashTag,
    "$input:TagCreateInput!",
)
CREATE_MARKER = _mutation(
    "CreateMarker",
    "sceneMarkerCreate(input:$input){id}",
    Ref,
    "$input:SceneMarkerCreateInput!",
)
DESTROY_MARKERS = _mutation(
    "DestroyMarkers", "sceneMarkersDestroy(ids:$ids)", bool, "$ids:[ID!]!"
)
