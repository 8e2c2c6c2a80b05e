"""The root fields: what each query and mutation of the schema answers."""

import re
from pathlib import Path
from typing import Any

from sandbox.stash import editing, finding, naming
from sandbox.stash.autotagging import AutoTagger
from sandbox.stash.cleaning import Cleaner
from sandbox.stash.errors import ApiError
from sandbox.stash.execution import Answers
from sandbox.stash.faults import Faults
from sandbox.stash.filters import Input
from sandbox.stash.finding import number
from sandbox.stash.generating import Generator
from sandbox.stash.identifying import Identifier
from sandbox.stash.jobs import Job, JobQueue
from sandbox.stash.library import Library
from sandbox.stash.row_types import TAG_NAME
from sandbox.stash.rows import OneRow, Rows
from sandbox.stash.scanning import Scanner
from sandbox.stash.scraping import Box, Scraper, configured_boxes
from stashhog_core.settings import STASH_VIDEO_EXTENSIONS

VERSION = "v0.30.1-19-stand-in"
_SCHEMA = 75


class Resolvers:
    """Answers for one library with its job queue.

    Args:
        library: The rows.
        folder: The folder of the library; `configureGeneral` changes the list.
        queue: The jobs.
        faults: What jobs are to do wrong.
        api_key: Key that requests must carry; empty: none.
        boxes: The stash-boxes that are configured; `configureGeneral` changes the list.
    """

    def __init__(
        self,
        library: Library,
        folder: Path,
        queue: JobQueue,
        faults: Faults,
        api_key: str = "",
        boxes: list[Box] | None = None,
    ) -> None:
        self._boxes = [] if boxes is None else boxes
        self._scraper = Scraper(library, lambda: self._boxes)
        self._api_key = api_key
        self._library = library
        self._faults = faults
        self._folders = [folder]
        self._queue = queue
        self._generator = Generator(library, faults)
        self._scanner = Scanner(library, lambda: self._folders, faults, self._generator)
        self._cleaner = Cleaner(library, lambda: self._folders, faults)
        self._auto_tagger = AutoTagger(library, faults)
        self._identifier = Identifier(library, self._scraper, faults)

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
            "scrapeMultiScenes": self._scraper.multi,
            "scrapeSingleScene": self._scraper.single,
            "findFiles": lambda **given: finding.find_files(library, **given),
            "findFolders": lambda filter=None: finding.find_folders(library, filter),
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
            "configureGeneral": self._configure,
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
            "metadataClean": lambda input: started(
                "Cleaning...", self._cleaner.run, input
            ),
            "metadataAutoTag": lambda input: started(
                "Auto-tagging...", self._auto_tagger.run, input
            ),
            "metadataIdentify": lambda input: started(
                "Identifying...", self._identifier.run, input
            ),
            "optimiseDatabase": lambda: str(
                queue.add("Optimising database...", self._optimise)
            ),
            "backupDatabase": self._back_up,
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
        return {
            "general": {
                "stashes": [
                    {"path": str(path), "excludeVideo": False, "excludeImage": False}
                    for path in self._folders
                ],
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
                "stashBoxes": [vars(box) for box in self._boxes],
            }
        }

    def _configure(self, input: Input) -> Any:
        if input.get("stashBoxes") is not None:
            self._boxes[:] = configured_boxes(input["stashBoxes"])
        if input.get("stashes") is not None:
            self._folders[:] = [Path(folder["path"]) for folder in input["stashes"]]
        return self._configuration()["general"]

    def _optimise(self, job: Job) -> None:
        job.progress = 0
        steps = {"Analyzing": "ANALYZE", "Vacuuming": "VACUUM"}
        for done, (verb, statement) in enumerate(steps.items(), 1):
            if job.stopped.is_set():
                return
            with job.sub_task(f"{verb} database"):
                self._faults.pause(job)
                self._library.maintain(statement)
            job.progress = done / len(steps)

    def _back_up(self, input: Input) -> None:
        """Copy the database beside itself; only the log tells where."""
        path = self._library.path
        stamp = self._library.clock.now_exactly()
        digits = re.sub(r"\D", "", stamp[:19])
        copy = path.with_name(f"{path.name}.{_SCHEMA}.{digits[:8]}_{digits[8:]}")
        try:
            self._library.maintain("VACUUM INTO ?", [str(copy)])
        except ApiError as error:
            self._library.log("Error", f"Error backing up database: {error}")
            raise
        self._library.log("Info", f"Successfully backed up database to: {copy}")

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
