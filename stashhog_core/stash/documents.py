"""The GraphQL documents sent to Stash: by hand, and only with fields that are used.

Each asks for one thing and calls it `answer`; lists in it are called `rows`. So one
envelope fits all, and every operation states only the type of its answer. Those that
ask for several things at once are marked as `whole`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from stashhog_core.stash.payloads import (
    GraphQLError,
    Job,
    LogEntry,
    MarkerStamp,
    Payload,
    Ref,
    SceneFiles,
    SceneMedia,
    ScenePaths,
    SceneStamp,
    StashFile,
    StashPerformer,
    StashScene,
    StashStudio,
    StashTag,
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


class NewestScenes(Payload, frozen=True, kw_only=True):
    """How many scenes there are, and those that were changed last."""

    count: int
    rows: tuple[SceneStamp, ...]


class Count(Payload, frozen=True, kw_only=True):
    """How many there are."""

    count: int


class Version(Payload, frozen=True, kw_only=True):
    """Stash's version; null in builds of its developers."""

    version: str | None = None


class SystemStatus(Payload, frozen=True, kw_only=True):
    """Whether Stash is set up: OK, SETUP or NEEDS_MIGRATION."""

    status: str


class Folder(Payload, frozen=True, kw_only=True):
    """A folder of Stash's library."""

    path: str


class General(Payload, frozen=True, kw_only=True):
    """The general part of Stash's configuration."""

    stashes: tuple[Folder, ...]


class Configuration(Payload, frozen=True, kw_only=True):
    """Stash's configuration."""

    general: General


class ScanFolder(Payload, frozen=True, kw_only=True, rename="camel"):
    """A folder of Stash's library, and whether its videos are left out."""

    path: str
    exclude_video: bool = False


class ScanRules(Payload, frozen=True, kw_only=True, rename="camel"):
    """Which files a scan takes as videos.

    Attributes:
        stashes: The folders that are scanned.
        video_extensions: Without dots; letter case does not matter.
        excludes: Regular expressions (of Go) for paths that are left out.
    """

    stashes: tuple[ScanFolder, ...]
    video_extensions: tuple[str, ...]
    excludes: tuple[str, ...] = ()


class ScanConfiguration(Payload, frozen=True, kw_only=True):
    """The part of Stash's configuration that scans follow."""

    general: ScanRules


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
PERFORMER_FIELDS = selection(StashPerformer)
STUDIO_FIELDS = selection(StashStudio)
SCENE_FIELDS = selection(StashScene)
YOUNGER_FIELDS = younger_fields(StashScene, StashTag, StashPerformer, StashStudio)
"""What older servers do not know, as `Type.field` → the first version that does."""
MEDIA_FIELDS = (
    "id paths{screenshot preview webp sprite vtt} files{fingerprints{type value}} "
    "scene_markers{id seconds stream preview screenshot}"
)
JOB_FIELDS = "id status description subTasks progress addTime error"

# --- the server and its jobs ---------------------------------------------------------

VERSION = Operation("Version", "query Version{answer:version{version}}", Version)
SYSTEM_STATUS = Operation(
    "SystemStatus", "query SystemStatus{answer:systemStatus{status}}", SystemStatus
)
LIBRARY_ROOTS = Operation(
    "LibraryRoots",
    "query LibraryRoots{answer:configuration{general{stashes{path}}}}",
    Configuration,
)
RECENT_LOG = Operation(
    "RecentLog",
    "query RecentLog{answer:logs{time level message}}",
    tuple[LogEntry, ...],
)
SCAN_RULES = Operation(
    "ScanRules",
    "query ScanRules{answer:configuration{general{stashes{path excludeVideo} "
    "videoExtensions excludes}}}",
    ScanConfiguration,
)
FIND_JOB = Operation(
    "FindJob",
    f"query FindJob($id:ID!){{answer:findJob(input:{{id:$id}}){{{JOB_FIELDS}}}}}",
    Job,
)
JOB_QUEUE = Operation(
    "JobQueue", f"query JobQueue{{answer:jobQueue{{{JOB_FIELDS}}}}}", tuple[Job, ...]
)
START_SCAN = Operation(
    "StartScan",
    "mutation StartScan($input:ScanMetadataInput!){answer:metadataScan(input:$input)}",
    int,
    reads=False,
)
START_GENERATE = Operation(
    "StartGenerate",
    "mutation StartGenerate($input:GenerateMetadataInput!)"
    "{answer:metadataGenerate(input:$input)}",
    int,
    reads=False,
)
STOP_JOB = Operation(
    "StopJob",
    "mutation StopJob($id:ID!){answer:stopJob(job_id:$id)}",
    bool,
    reads=False,
    stops=True,
)

JOBS_SUBSCRIBE = "subscription JobsSubscribe{answer:jobsSubscribe{type job{id}}}"

# --- reading -------------------------------------------------------------------------


def _page_of_scenes(fields: str) -> str:
    # Without a sort there is no order at all; with one, ids make a key to go on from.
    return (
        'findScenes(filter:{per_page:$size,sort:"id",direction:ASC},'
        "scene_filter:{id:{value:$after,modifier:GREATER_THAN}})"
        f"{{rows:scenes{{{fields}}}}}"
    )


def _scene_page(name: str, fields: str) -> str:
    return f"query {name}($after:Int!,$size:Int!){{answer:{_page_of_scenes(fields)}}}"


def _scenes_by_id(name: str, fields: str) -> str:
    return (
        f"query {name}($ids:[ID!]!){{answer:findScenes(ids:$ids)"
        f"{{rows:scenes{{{fields}}}}}}}"
    )


def _scenes_between(name: str, fields: str) -> str:
    return (
        f"query {name}($low:Int!,$high:Int!){{answer:findScenes("
        'filter:{per_page:-1,sort:"id",direction:ASC},'
        "scene_filter:{id:{value:$low,value2:$high,modifier:BETWEEN}})"
        f"{{rows:scenes{{{fields}}}}}}}"
    )


def _everything(field_name: str, rows: str, fields: str) -> str:
    return (
        f'{field_name}(filter:{{per_page:-1,sort:"id",direction:ASC}})'
        f"{{rows:{rows}{{{fields}}}}}"
    )


_CHANGED_FILES = (
    'findScenes(filter:{per_page:-1,sort:"id",direction:ASC},scene_filter:'
    "{files_filter:{updated_at:{value:$since,modifier:GREATER_THAN}}})"
    f"{{rows:scenes{{id files{{{selection(StashFile)}}}}}}}"
)
# They know no "greater than" of their id, so their pages go by number.
_MARKERS = (
    'findSceneMarkers(filter:{page:$page,per_page:$size,sort:"id",direction:ASC})'
    "{rows:scene_markers{id updated_at scene{id}}}"
)
_ALL_TAGS = _everything("findTags", "tags", TAG_FIELDS)
_ALL_PERFORMERS = _everything("findPerformers", "performers", PERFORMER_FIELDS)
_ALL_STUDIOS = _everything("findStudios", "studios", STUDIO_FIELDS)

LIBRARY = Operation(
    "Library",
    "query Library($after:Int!,$page:Int!,$size:Int!,$since:String!){"
    f"scenes:{_page_of_scenes('id updated_at')} markers:{_MARKERS} "
    f"tags:{_ALL_TAGS} performers:{_ALL_PERFORMERS} studios:{_ALL_STUDIOS} "
    f"files:{_CHANGED_FILES}}}",
    LibraryAnswer,
    whole=True,
)
NEWEST_SCENE = Operation(
    "NewestScene",
    'query NewestScene{answer:findScenes(filter:{per_page:1,sort:"updated_at",'
    "direction:DESC}){count rows:scenes{id updated_at}}}",
    NewestScenes,
)
SCENE_STAMPS = Operation(
    "SceneStamps", _scene_page("SceneStamps", "id updated_at"), Rows[SceneStamp]
)
SCENE_PAGE = Operation(
    "ScenePage", _scene_page("ScenePage", SCENE_FIELDS), Rows[StashScene]
)
SCENES = Operation("Scenes", _scenes_by_id("Scenes", SCENE_FIELDS), Rows[StashScene])
SCENES_BETWEEN = Operation(
    "ScenesBetween", _scenes_between("ScenesBetween", SCENE_FIELDS), Rows[StashScene]
)
SCENE_IDS = Operation("SceneIds", _scenes_between("SceneIds", "id"), Rows[Ref])
SCENE_MEDIA = Operation(
    "SceneMedia", _scenes_by_id("SceneMedia", MEDIA_FIELDS), Rows[SceneMedia]
)
SCENE_MEDIA_PAGE = Operation(
    "SceneMediaPage", _scene_page("SceneMediaPage", MEDIA_FIELDS), Rows[SceneMedia]
)
SCENES_AT = Operation(
    "ScenesAt",
    "query ScenesAt($path:String!){answer:findScenes(filter:{per_page:-1,"
    'sort:"id",direction:ASC},scene_filter:{path:{value:$path,modifier:EQUALS}})'
    "{rows:scenes{id files{path}}}}",
    Rows[ScenePaths],
)
SCENE_COUNT = Operation(
    "SceneCount",
    "query SceneCount{answer:findScenes(filter:{per_page:0}){count}}",
    Count,
)
LACKING_PHASH = Operation(
    "LackingPhash",
    "query LackingPhash($low:Int!,$high:Int!){answer:findScenes("
    'filter:{per_page:-1,sort:"id",direction:ASC},scene_filter:{is_missing:"phash",'
    "id:{value:$low,value2:$high,modifier:BETWEEN}}){rows:scenes{id}}}",
    Rows[Ref],
)
MARKER_STAMPS = Operation(
    "MarkerStamps",
    f"query MarkerStamps($page:Int!,$size:Int!){{answer:{_MARKERS}}}",
    Rows[MarkerStamp],
)
TAGS = Operation("Tags", f"query Tags{{answer:{_ALL_TAGS}}}", Rows[StashTag])
PERFORMERS = Operation(
    "Performers", f"query Performers{{answer:{_ALL_PERFORMERS}}}", Rows[StashPerformer]
)
STUDIOS = Operation(
    "Studios", f"query Studios{{answer:{_ALL_STUDIOS}}}", Rows[StashStudio]
)
FIND_TAG = Operation(
    "FindTag",
    "query FindTag($name:String!){answer:findTags(filter:{per_page:-1},tag_filter:"
    "{name:{value:$name,modifier:EQUALS},OR:{aliases:{value:$name,modifier:EQUALS}}})"
    f"{{rows:tags{{{TAG_FIELDS}}}}}}}",
    Rows[StashTag],
)

TAG_TYPE = Operation(
    "TagType",
    'query TagType{answer:__type(name:"Tag"){fields{name type{kind ofType{kind '
    "ofType{kind ofType{kind}}}}}}}",
    TypeFields,
)


def tag_use(fields: TypeFields) -> Operation[dict[str, Any]]:
    """Return the question for every field that this Stash has for a tag."""
    names = " ".join(field.selection for field in fields.fields)
    text = f"query TagUse($id:ID!){{answer:findTag(id:$id){{{names}}}}}"
    return Operation("TagUse", text, dict[str, Any])


# --- writing -------------------------------------------------------------------------

BULK_UPDATE_SCENES = Operation(
    "BulkUpdateScenes",
    "mutation BulkUpdateScenes($input:BulkSceneUpdateInput!)"
    "{answer:bulkSceneUpdate(input:$input){id}}",
    tuple[Ref, ...],
    reads=False,
)
UPDATE_SCENE = Operation(
    "UpdateScene",
    "mutation UpdateScene($input:SceneUpdateInput!)"
    "{answer:sceneUpdate(input:$input){id}}",
    Ref,
    reads=False,
)
CREATE_TAG = Operation(
    "CreateTag",
    "mutation CreateTag($input:TagCreateInput!)"
    f"{{answer:tagCreate(input:$input){{{TAG_FIELDS}}}}}",
    StashTag,
    reads=False,
)
CREATE_PERFORMER = Operation(
    "CreatePerformer",
    "mutation CreatePerformer($input:PerformerCreateInput!)"
    f"{{answer:performerCreate(input:$input){{{PERFORMER_FIELDS}}}}}",
    StashPerformer,
    reads=False,
)
CREATE_STUDIO = Operation(
    "CreateStudio",
    "mutation CreateStudio($input:StudioCreateInput!)"
    f"{{answer:studioCreate(input:$input){{{STUDIO_FIELDS}}}}}",
    StashStudio,
    reads=False,
)
CREATE_MARKER = Operation(
    "CreateMarker",
    "mutation CreateMarker($input:SceneMarkerCreateInput!)"
    "{answer:sceneMarkerCreate(input:$input){id}}",
    Ref,
    reads=False,
)
DESTROY_MARKERS = Operation(
    "DestroyMarkers",
    "mutation DestroyMarkers($ids:[ID!]!){answer:sceneMarkersDestroy(ids:$ids)}",
    bool,
    reads=False,
)
DESTROY_TAG = Operation(
    "DestroyTag",
    "mutation DestroyTag($id:ID!){answer:tagDestroy(input:{id:$id})}",
    bool,
    reads=False,
)
