"""The identify job: scenes are given what the first stash-box that knows them says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.stash import editing, naming
from sandbox.stash.errors import ApiError
from sandbox.stash.faults import Faults
from sandbox.stash.filters import Input
from sandbox.stash.finding import number
from sandbox.stash.jobs import Job, JobFailed
from sandbox.stash.library import Library
from sandbox.stash.scraping import Box, Scraper

_TEXTS = ("title", "code", "details", "director", "date")
_OPTIONS = (
    "setCoverImage",
    "setOrganized",
    "includeMalePerformers",
    "skipMultipleMatches",
    "skipMultipleMatchTag",
    "skipSingleNamePerformers",
    "skipSingleNamePerformerTag",
)


class Identifier:
    """Asks stash-boxes for one scene after the other, and writes at once."""

    def __init__(self, library: Library, scraper: Scraper, faults: Faults) -> None:
        self._library = library
        self._scraper = scraper
        self._faults = faults

    def run(self, job: Job, given: Input) -> None:
        """Identify; what fails at a stash-box is in the log and nowhere else.

        Raises:
            JobFailed: A stash-box or a scene is unknown; earlier scenes stay changed.
        """
        if not given.get("sources"):
            return
        try:
            sources = [
                (self._scraper.identify_box(source["source"]), source.get("options"))
                for source in given["sources"]
            ]
        except ApiError as error:
            raise JobFailed(str(error)) from error
        scenes = self._scenes(given)
        job.progress = 0 if scenes else None
        for done, (scene_id, path) in enumerate(scenes, 1):
            if job.stopped.is_set():
                return
            if path is None:
                raise JobFailed(
                    "error encountered while identifying scenes: "
                    f"scene with id {scene_id} not found"
                )
            with job.sub_task(f"Identifying {path}"):
                self._faults.pause(job)
                try:
                    self._identify(scene_id, path, sources, given.get("options") or {})
                except ApiError as error:
                    text = f"Error encountered identifying {path}: {error}"
                    self._library.log("Error", text)
            job.progress = done / len(scenes)

    def _scenes(self, given: Input) -> list[tuple[int, str | None]]:
        """Return id and path of the scenes: those that are named, or not organized."""
        rows: dict[int, tuple[str, bool]] = {
            row[0]: (row[1], bool(row[2]))
            for row in self._library.rows(
                "SELECT scenes.id, path, organized FROM scenes "
                "JOIN scenes_files ON scene_id = scenes.id AND position = 0 "
                "JOIN files ON files.id = file_id ORDER BY path"
            )
        }
        if given.get("sceneIDs"):
            ids = [number(text) for text in given["sceneIDs"]]
            return [(id_, rows[id_][0] if id_ in rows else None) for id_ in ids]
        below = [Path(path) for path in given.get("paths") or ()]
        return [
            (id_, path)
            for id_, (path, is_organized) in rows.items()
            if not is_organized
            and (not below or any(Path(path).is_relative_to(b) for b in below))
        ]

    def _identify(
        self,
        scene_id: int,
        path: str,
        sources: Sequence[tuple[Box, Input | None]],
        defaults: Input,
    ) -> None:
        for box, own in sources:
            try:
                found = self._scraper.of_scene(box, scene_id)
            except ApiError as error:
                self._library.log(
                    "Error", f"error scraping from stash-box {box.endpoint}: {error}"
                )
                continue
            if not found:
                continue
            given = {
                name: value
                for name in _OPTIONS
                if (value := (own or {}).get(name, defaults.get(name))) is not None
            }
            if len(found) > 1 and given.get("skipMultipleMatches"):
                self._add_tag(scene_id, given.get("skipMultipleMatchTag"))
                return
            fields = {
                option["field"]: option
                for options in (defaults, own or {})
                for option in options.get("fieldOptions") or ()
            }
            change = self._change(scene_id, found[0], box, fields, given)
            if change:
                editing.update_scene(self._library, {"id": str(scene_id), **change})
                title = f" as {change['title']}" if change.get("title") else ""
                self._library.log(
                    "Info",
                    f"Successfully identified {path}{title} "
                    f"using stash-box: {box.endpoint}",
                )
            return

    def _add_tag(self, scene_id: int, tag_id: str | None) -> None:
        if tag_id:
            tags = self._linked("scenes_tags", "tag_id", scene_id)
            wanted = [*tags, number(tag_id)]
            change = {"id": str(scene_id), "tag_ids": list(map(str, wanted))}
            editing.update_scene(self._library, change)

    def _change(
        self,
        scene_id: int,
        remote: Mapping[str, Any],
        box: Box,
        fields: Mapping[str, Input],
        options: Input,
    ) -> dict[str, Any]:
        """Return what `sceneUpdate` is to set; empty: nothing is new."""

        def strategy(field: str) -> str:
            return str(fields.get(field, {}).get("strategy", "MERGE"))

        def is_free(field: str, value: object) -> bool:
            return strategy(field) == "OVERWRITE" or (
                strategy(field) == "MERGE" and not value
            )

        names = (*_TEXTS, "studio_id")
        now = dict(
            zip(
                names,
                self._library.rows(
                    f"SELECT {', '.join(names)} FROM scenes WHERE id = ?", [scene_id]
                )[0],
                strict=True,
            )
        )
        change: dict[str, Any] = {}
        for field in _TEXTS:
            value = remote.get(field)
            if value and value != now[field] and is_free(field, now[field]):
                change[field] = value
        studio = remote.get("studio")
        if studio and is_free("studio", now["studio_id"]):
            id_ = self._id_of("studio", studio, box, fields.get("studio"))
            if id_ and id_ != str(now["studio_id"] or ""):
                change["studio_id"] = id_
        skipped = False
        performers = []
        for performer in remote.get("performers") or ():
            is_single = " " not in performer["name"] and not performer["disambiguation"]
            if (
                performer["gender"] == "MALE"
                and options.get("includeMalePerformers") is False
            ):
                continue
            if (
                is_single
                and performer["stored_id"] is None
                and options.get("skipSingleNamePerformers")
                and fields.get("performers", {}).get("createMissing")
            ):
                skipped = True
                continue
            performers.append(performer)
        tags = list(remote.get("tags") or ())
        if skipped and (tag := options.get("skipSingleNamePerformerTag")):
            tags.append({"stored_id": tag})
        for field, kind, rows, table in (
            ("performers", "performer", performers, "performers_scenes"),
            ("tags", "tag", tags, "scenes_tags"),
        ):
            if not rows or strategy(field) == "IGNORE":
                continue
            linked = self._linked(table, f"{kind}_id", scene_id)
            before = list(map(str, linked)) if strategy(field) == "MERGE" else []
            wanted = [
                id_
                for row in rows
                if (id_ := self._id_of(kind, row, box, fields.get(field)))
            ]
            ids = list(dict.fromkeys([*before, *wanted]))
            if ids != list(map(str, linked)):
                change[f"{kind}_ids"] = ids
        urls = self._library.ids(
            "SELECT url FROM scene_urls WHERE scene_id = ? ORDER BY position",
            [scene_id],
        )
        new = [url for url in remote.get("urls") or () if url not in urls]
        if new and strategy("url") != "IGNORE":
            kept = urls if strategy("url") == "MERGE" else []
            change["urls"] = [*kept, *(new if kept else remote["urls"])]
        if remote.get("image") and options.get("setCoverImage", True):
            change["cover_image"] = remote["image"]
        if change and options.get("setOrganized"):
            change["organized"] = True
        ids_now = self._library.rows(
            "SELECT endpoint, stash_id FROM scene_stash_ids WHERE scene_id = ?",
            [scene_id],
        )
        own = (box.endpoint, remote["remote_site_id"])
        if strategy("stash_ids") != "IGNORE" and (change or own not in ids_now):
            others = [pair for pair in ids_now if pair[0] != box.endpoint]
            pairs = [*(others if strategy("stash_ids") == "MERGE" else []), own]
            change["stash_ids"] = [
                {"endpoint": endpoint, "stash_id": id_} for endpoint, id_ in pairs
            ]
        return change

    def _linked(self, table: str, column: str, scene_id: int) -> list[int]:
        return self._library.ids(
            f"SELECT {column} FROM {table} WHERE scene_id = ? ORDER BY 1", [scene_id]
        )

    def _id_of(
        self, kind: str, remote: Mapping[str, Any], box: Box, option: Input | None
    ) -> str | None:
        """Return the id of what is here already, or is created; None: neither."""
        if remote["stored_id"] is not None:
            return str(remote["stored_id"])
        if not (option or {}).get("createMissing"):
            return None
        own = {"endpoint": box.endpoint, "stash_id": remote["remote_site_id"]}
        made = naming.create(
            self._library, kind, {"name": remote["name"], "stash_ids": [own]}
        )
        return str(made.id)
