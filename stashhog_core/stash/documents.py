"""The GraphQL documents sent to Stash: by hand, and only with fields that are used.

Each asks for one thing and calls it `answer`; lists in it are called `rows`. So one
envelope fits all, and every operation states only the type of its answer.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from stashhog_core.stash.payloads import (
    GraphQLError,
    Job,
    MarkerStamp,
    Payload,
    Performer,
    Ref,
    Scene,
    SceneFileStamp,
    SceneMedia,
    ScenePaths,
    SceneRelations,
    SceneStamp,
    Studio,
    Tag,
    TagUse,
)

T = TypeVar("T")


class Answer(Payload, Generic[T], frozen=True, kw_only=True):
    """The one thing that was asked for; None where Stash answers null."""

    answer: T | None = None


class Envelope(Payload, Generic[T], frozen=True, kw_only=True):
    """What comes back on the wire."""

    data: Answer[T] | None = None
    errors: tuple[GraphQLError, ...] | None = None


class Rows(Payload, Generic[T], frozen=True, kw_only=True):
    """A list, inside the object Stash wraps it in."""

    rows: tuple[T, ...]


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


@dataclass(frozen=True)
class Operation(Generic[T]):
    """A document, the type of its answer, and whether it may be sent twice."""

    name: str
    text: str
    shape: type[T]
    reads: bool = True
    decoder: "msgspec.json.Decoder[Envelope[T]]" = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Ids are strings on the wire: hence not strict. mypy takes no computed type.
        envelope = Envelope[self.shape]  # type: ignore[name-defined]
        decoder = msgspec.json.Decoder(envelope, strict=False)
        object.__setattr__(self, "decoder", decoder)


TAG_FIELDS = (
    "id name sort_name description aliases favorite ignore_auto_tag parents{id}"
)
PERFORMER_FIELDS = (
    "id name disambiguation alias_list gender birthdate country urls details "
    "rating100 favorite ignore_auto_tag stash_ids{endpoint stash_id}"
)
STUDIO_FIELDS = (
    "id name aliases parent_studio{id} urls details rating100 favorite "
    "ignore_auto_tag stash_ids{endpoint stash_id}"
)
MARKER_FIELDS = "id title seconds end_seconds primary_tag{id} tags{id} updated_at"
SCENE_FIELDS = (
    "id title code details director urls date rating100 organized play_count "
    "o_counter interactive interactive_speed created_at updated_at studio{id} "
    "performers{id} tags{id} groups{group{id} scene_index} galleries{id} "
    "stash_ids{endpoint stash_id} captions{language_code caption_type} "
    "files{id path size mod_time duration format width height frame_rate bit_rate "
    "video_codec audio_codec fingerprints{type value}} "
    f"scene_markers{{{MARKER_FIELDS}}}"
)
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
    "StopJob", "mutation StopJob($id:ID!){answer:stopJob(job_id:$id)}", bool, False
)

JOBS_SUBSCRIBE = "subscription JobsSubscribe{answer:jobsSubscribe{type job{id}}}"

# --- reading -------------------------------------------------------------------------


def _scene_page(name: str, fields: str) -> str:
    # Without a sort there is no order at all; with one, ids make a key to go on from.
    return (
        f"query {name}($after:Int!,$size:Int!){{answer:findScenes("
        'filter:{per_page:$size,sort:"id",direction:ASC},'
        "scene_filter:{id:{value:$after,modifier:GREATER_THAN}})"
        f"{{rows:scenes{{{fields}}}}}}}"
    )


def _scenes_by_id(name: str, fields: str) -> str:
    return (
        f"query {name}($ids:[ID!]!){{answer:findScenes(ids:$ids)"
        f"{{rows:scenes{{{fields}}}}}}}"
    )


def _everything(name: str, field_name: str, rows: str, fields: str) -> str:
    return (
        f'query {name}{{answer:{field_name}(filter:{{per_page:-1,sort:"id",'
        f"direction:ASC}}){{rows:{rows}{{{fields}}}}}}}"
    )


SCENE_STAMPS = Operation(
    "SceneStamps", _scene_page("SceneStamps", "id updated_at"), Rows[SceneStamp]
)
SCENE_RELATIONS = Operation(
    "SceneRelations",
    _scene_page(
        "SceneRelations",
        "id files{id} tags{id} performers{id} studio{id} scene_markers{id}",
    ),
    Rows[SceneRelations],
)
SCENE_PAGE = Operation("ScenePage", _scene_page("ScenePage", SCENE_FIELDS), Rows[Scene])
SCENES = Operation("Scenes", _scenes_by_id("Scenes", SCENE_FIELDS), Rows[Scene])
SCENE_IDS = Operation(
    "SceneIds",
    "query SceneIds($low:Int!,$high:Int!){answer:findScenes("
    'filter:{per_page:-1,sort:"id",direction:ASC},'
    "scene_filter:{id:{value:$low,value2:$high,modifier:BETWEEN}}){rows:scenes{id}}}",
    Rows[Ref],
)
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
SCENE_FILE_STAMPS = Operation(
    "SceneFileStamps",
    "query SceneFileStamps($since:String!){answer:findScenes("
    'filter:{per_page:-1,sort:"id",direction:ASC},scene_filter:{files_filter:'
    "{updated_at:{value:$since,modifier:GREATER_THAN}}})"
    "{rows:scenes{id files{id path size mod_time}}}}",
    Rows[SceneFileStamp],
)
MARKER_STAMPS = Operation(
    "MarkerStamps",
    _everything(
        "MarkerStamps", "findSceneMarkers", "scene_markers", "id updated_at scene{id}"
    ),
    Rows[MarkerStamp],
)
TAGS = Operation("Tags", _everything("Tags", "findTags", "tags", TAG_FIELDS), Rows[Tag])
PERFORMERS = Operation(
    "Performers",
    _everything("Performers", "findPerformers", "performers", PERFORMER_FIELDS),
    Rows[Performer],
)
STUDIOS = Operation(
    "Studios",
    _everything("Studios", "findStudios", "studios", STUDIO_FIELDS),
    Rows[Studio],
)
FIND_TAG = Operation(
    "FindTag",
    "query FindTag($name:String!){answer:findTags(filter:{per_page:-1},tag_filter:"
    "{name:{value:$name,modifier:EQUALS},OR:{aliases:{value:$name,modifier:EQUALS}}})"
    f"{{rows:tags{{{TAG_FIELDS}}}}}}}",
    Rows[Tag],
)

TAG_USE = Operation(
    "TagUse",
    "query TagUse($id:ID!){answer:findTag(id:$id){id name description aliases favorite "
    "scene_count scene_marker_count image_count gallery_count performer_count "
    "studio_count group_count parent_count child_count}}",
    TagUse,
)

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
    Tag,
    reads=False,
)
CREATE_PERFORMER = Operation(
    "CreatePerformer",
    "mutation CreatePerformer($input:PerformerCreateInput!)"
    f"{{answer:performerCreate(input:$input){{{PERFORMER_FIELDS}}}}}",
    Performer,
    reads=False,
)
CREATE_STUDIO = Operation(
    "CreateStudio",
    "mutation CreateStudio($input:StudioCreateInput!)"
    f"{{answer:studioCreate(input:$input){{{STUDIO_FIELDS}}}}}",
    Studio,
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
