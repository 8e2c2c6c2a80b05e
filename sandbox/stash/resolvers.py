"""The root fields: what each query and mutation of the schema answers."""

from pathlib import Path
from typing import Any

from sandbox.stash import editing, finding, naming
from sandbox.stash.execution import Answers
from sandbox.stash.faults import Faults
from sandbox.stash.filters import Input
from sandbox.stash.finding import number
from sandbox.stash.generating import Generator
from sandbox.stash.jobs import JobQueue
from sandbox.stash.library import Library
from sandbox.stash.row_types import TAG_NAME
from sandbox.stash.rows import OneRow, Rows
from sandbox.stash.scanning import Scanner
from stashhog_core.settings import STASH_VIDEO_EXTENSIONS

VERSION = "v0.30.1-19-stand-in"
_SCHEMA = 75


class Resolvers:
    """Answers for one library with its job queue.

    Args:
        library: The rows.
        folder: The one folder that may be scanned.
        queue: The jobs.
        faults: What jobs are to do wrong.
        api_key: Key that requests must carry; empty: none.
    """

    def __init__(
        self,
        library: Library,
        folder: Path,
        queue: JobQueue,
        faults: Faults,
        api_key: str = "",
    ) -> None:
        self._api_key = api_key
        self._library = library
        self._folder = folder
        self._queue = queue
        self._generator = Generator(library, faults)
        self._scanner = Scanner(library, folder, faults, self._generator)

    @property
    def answers(self) -> Answers:
        """All root fields."""
        return Answers({**self._queries(), **self._mutations(), **self._job_fields()})

    def _queries(self) -> dict[str, Any]:
        library = self._library

        def find_named(type_name: str, filter_name: str) -> Any:
            def find(**given: Any) -> dict[str, Any]:
                row_filter = given.pop(filter_name, None)
                return finding.find_named(library, type_name, row_filter, **given)

            return find

        return {
            "version": self._version,
            "systemStatus": self._system_status,
            "configuration": self._configuration,
            "stats": self._stats,
            "logs": library.logs,
            "findFiles": lambda **given: finding.find_files(library, **given),
            "findScene": lambda id=None: OneRow("Scene", number(id or "0")),
            "findScenes": lambda **given: finding.find_scenes(library, **given),
            "findSceneMarkers": lambda **given: finding.find_markers(library, **given),
            "findTag": lambda id: OneRow("Tag", number(id)),
            "findPerformer": lambda id: OneRow("Performer", number(id)),
            "findStudio": lambda id: OneRow("Studio", number(id)),
            "findTags": find_named("Tag", "tag_filter"),
            "findPerformers": find_named("Performer", "performer_filter"),
            "findStudios": find_named("Studio", "studio_filter"),
            "allTags": lambda: Rows(
                "Tag",
                library.ids(f"SELECT id FROM tags ORDER BY {TAG_NAME} COLLATE NOCASE"),
            ),
        }

    def _mutations(self) -> dict[str, Any]:
        library = self._library
        fields: dict[str, Any] = {
            "sceneCreate": lambda input: editing.create_scene(library, input),
            "sceneUpdate": lambda input: editing.update_scene(library, input),
            "bulkSceneUpdate": lambda input: editing.update_scenes(library, input),
            "sceneDestroy": lambda input: editing.destroy_scenes(
                library, [input["id"]], input
            ),
            "scenesDestroy": lambda input: editing.destroy_scenes(
                library, input["ids"], input
            ),
            "sceneAddPlay": lambda id, times=None: editing.add_history(
                library, "scenes_plays", id, times
            ),
            "sceneAddO": lambda id, times=None: editing.add_history(
                library, "scenes_o", id, times
            ),
            "sceneSaveActivity": lambda id, **given: editing.save_activity(
                library, id, **given
            ),
            "groupCreate": lambda input: naming.create_plain(library, "groups", input),
            "groupUpdate": lambda input: naming.rename_group(library, input),
            "galleryCreate": lambda input: naming.create_plain(
                library, "galleries", input
            ),
            "sceneMarkerCreate": lambda input: editing.create_marker(library, input),
            "sceneMarkerUpdate": lambda input: editing.update_marker(library, input),
            "sceneMarkerDestroy": lambda id: editing.destroy_markers(library, [id]),
            "sceneMarkersDestroy": lambda ids: editing.destroy_markers(library, ids),
            "tagsMerge": lambda input: naming.merge_tags(
                library, input["source"], input["destination"]
            ),
        }
        for kind in ("tag", "performer", "studio"):
            fields[f"{kind}Create"] = _with_kind(naming.create, library, kind)
            fields[f"{kind}Update"] = _with_kind(naming.update, library, kind)
            fields[f"{kind}Destroy"] = _destroy_one(library, kind)
            fields[f"{kind}sDestroy"] = _destroy_many(library, kind)
        return fields

    def _job_fields(self) -> dict[str, Any]:
        queue = self._queue

        def started(description: str, work: Any, given: Input) -> str:
            return str(queue.add(description, lambda job: work(job, given)))

        def stop(job_id: str) -> bool:
            queue.stop(number(job_id, "converting id"))
            return True

        def stop_all() -> bool:
            queue.stop_all()
            return True

        scanner, generator = self._scanner, self._generator
        return {
            "metadataScan": lambda input: started("Scanning...", scanner.run, input),
            "metadataGenerate": lambda input: started(
                "Generating...", generator.run, input
            ),
            "metadataClean": lambda input: started("Cleaning...", scanner.clean, input),
            "findJob": lambda input: queue.find(number(input["id"])),
            "jobQueue": queue.queue,
            "stopJob": stop,
            "stopAllJobs": stop_all,
        }

    def _version(self) -> dict[str, Any]:
        return {"version": VERSION, "hash": "stand-in", "build_time": ""}

    def _system_status(self) -> dict[str, Any]:
        return {
            "databaseSchema": _SCHEMA,
            "databasePath": str(self._library.path),
            "appSchema": _SCHEMA,
            "status": "OK",
            "os": "linux",
            "ffmpegPath": "built in",
            "ffprobePath": "built in",
        }

    def _configuration(self) -> dict[str, Any]:
        folder = {
            "path": str(self._folder),
            "excludeVideo": False,
            "excludeImage": False,
        }
        return {
            "general": {
                "stashes": [folder],
                "videoExtensions": sorted(STASH_VIDEO_EXTENSIONS),
                "excludes": [],
                "databasePath": str(self._library.path),
                "generatedPath": str(self._library.generated),
                "parallelTasks": 1,
                "calculateMD5": False,
                "videoFileNamingAlgorithm": "OSHASH",
                "previewAudio": True,
                "previewSegments": 12,
                "previewSegmentDuration": 0.75,
                "previewExcludeStart": "0",
                "previewExcludeEnd": "0",
                "previewPreset": "slow",
                "maxSessionAge": 3600,
                "apiKey": self._api_key,
            }
        }

    def _stats(self) -> dict[str, Any]:
        def value(sql: str) -> Any:
            return lambda: self._library.value(sql)

        return {
            "scene_count": value("SELECT COUNT(*) FROM scenes"),
            "scenes_size": value("SELECT COALESCE(SUM(size), 0) FROM files"),
            "scenes_duration": value("SELECT COALESCE(SUM(duration), 0) FROM files"),
            "performer_count": value("SELECT COUNT(*) FROM performers"),
            "studio_count": value("SELECT COUNT(*) FROM studios"),
            "tag_count": value("SELECT COUNT(*) FROM tags"),
        }


def _with_kind(change: Any, library: Library, kind: str) -> Any:
    return lambda input: change(library, kind, input)


def _destroy_one(library: Library, kind: str) -> Any:
    return lambda input: naming.destroy(library, kind, [input["id"]])


def _destroy_many(library: Library, kind: str) -> Any:
    return lambda ids: naming.destroy(library, kind, ids)
