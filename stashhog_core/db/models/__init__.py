"""The tables, by subject."""

from stashhog_core.db.models.analysis import (
    AnalysisPlan,
    DetectorMark,
    PlanChange,
    ReviewMemory,
    TaggerResult,
)
from stashhog_core.db.models.columns import Base
from stashhog_core.db.models.downloads import DownloadItem
from stashhog_core.db.models.jobs import (
    JobLock,
    JobReport,
    MediaCheck,
    StashJob,
    SyncIssue,
    SyncRun,
    UnmakeableMedia,
)
from stashhog_core.db.models.library import PENDING_STATES, LibraryFile
from stashhog_core.db.models.mirror import (
    Manifest,
    Marker,
    MarkerTag,
    Performer,
    PerformerTag,
    Scene,
    SceneFile,
    SceneFingerprint,
    ScenePerformer,
    SceneTag,
    Studio,
    StudioTag,
    Tag,
    TagParent,
)
from stashhog_core.db.models.sync import LocalEdit, MirrorCheck

__all__ = [
    "AnalysisPlan",
    "DetectorMark",
    "PlanChange",
    "ReviewMemory",
    "TaggerResult",
    "Base",
    "DownloadItem",
    "JobLock",
    "JobReport",
    "MediaCheck",
    "StashJob",
    "SyncIssue",
    "SyncRun",
    "UnmakeableMedia",
    "PENDING_STATES",
    "LibraryFile",
    "Manifest",
    "Marker",
    "MarkerTag",
    "Performer",
    "PerformerTag",
    "Scene",
    "SceneFile",
    "SceneFingerprint",
    "ScenePerformer",
    "SceneTag",
    "Studio",
    "StudioTag",
    "Tag",
    "TagParent",
    "LocalEdit",
    "MirrorCheck",
]
