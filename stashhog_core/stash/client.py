"""What the product asks of a Stash library, one method per question.

Ids are integers. Lists are never sent empty: Stash takes an empty list of scenes or
paths as "all of them".
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, count
from typing import Any, Literal, TypeVar

from stashhog_core.batches import batched
from stashhog_core.errors import (
    ConfigurationError,
    JobError,
    RefusedError,
)
from stashhog_core.stash import documents as d
from stashhog_core.stash.connection import StashConnection, wire_ids
from stashhog_core.stash.payloads import (
    Glance,
    KindGlance,
    KnownObject,
    LibraryChanges,
    LibraryListing,
    LocatedFile,
    MarkerStamp,
    NamedObject,
    ObjectUse,
    Ref,
    SceneMedia,
    SceneStamp,
    StashPerformer,
    StashScene,
    StashStudio,
    StashTag,
)
from stashhog_core.stash.transport import READ_LOG

T = TypeVar("T")
Keyed = TypeVar("Keyed", StashScene, SceneMedia, SceneStamp)

IDS_PER_QUERY = 1000
"""Scenes asked for at a time when they are named by id."""

# Later than any time Stash writes. A year alone would count as a number, and any text
# is more than that.
_NEVER = "9999-12-31"

SCALAR_FIELDS = frozenset(
    {
        "title",
        "code",
        "details",
        "director",
        "date",
        "rating100",
        "organized",
        "studio_id",
        "urls",
    }
)
"""What `update_scene` may set. Sets of tags and so on would be replaced whole."""


class StashClient(StashConnection):
    """A Stash server, and its library. Close it, or use it in a `with` statement.

    Reads ride out short outages by themselves; writes are sent once, and it is for the
    caller to look what became of them. Every method raises what `StashConnection` says.
    """

    @cached_property
    def _uses(self) -> dict[d.NamedKind, d.Operation[dict[str, Any]]]:
        """The question for everything about an object, by kind, once it was made."""
        return {}

    # --- reading the library ----------------------------------------------------------

    def library(
        self, files_changed_since: str = "", page_size: int = 20_000
    ) -> LibraryListing:
        """Return the light listings of everything, in as few requests as there may be.

        Args:
            files_changed_since: Of which scenes the files are listed: those with a
                file that Stash changed since then. Stash compares it as text with its
                own local time. A scan that finds a file moved or replaced changes the
                file, and not its scene. Empty: of none.
            page_size: Scenes, and markers, listed in one request; the first one lists
                all the rest.
        """
        since = files_changed_since or _NEVER
        variables = {"after": 0, "page": 1, "size": page_size, "since": since}
        found = self._one(d.LIBRARY, variables)
        return LibraryListing(
            pages=self._pages_by_id(d.SCENE_STAMPS, page_size, found.scenes.rows),
            marker_pages=self._from_markers(found.markers.rows, page_size),
            tags=found.tags.rows,
            performers=found.performers.rows,
            studios=found.studios.rows,
            files=found.files.rows,
            folders=None
            if found.folders is None
            else [folder.path for folder in found.folders.rows],
        )

    def changes(self, since: str, page_size: int = 20_000) -> LibraryChanges:
        """Return the light listings of all that was changed later than `since`.

        Args:
            since: Stash compares it as text with its own local times.
            page_size: As of `library`.
        """
        of = {"since": since}
        found = self._one(d.CHANGES, {"after": 0, "page": 1, "size": page_size, **of})
        return LibraryChanges(
            pages=self._pages_by_id(d.CHANGED_SCENES, page_size, found.scenes.rows, of),
            marker_pages=self._from_markers(
                found.markers.rows, page_size, d.CHANGED_MARKERS, of
            ),
            tags=found.tags.rows,
            performers=found.performers.rows,
            studios=found.studios.rows,
            files=found.files.rows,
            folders=None,
            children=found.children.rows,
            file_ids=[row.id for row in found.changed_files.rows],
        )

    def glance(self) -> Glance:
        """Return in one request what shows whether the library may have changed.

        A Stash before 0.30 does not list files: that kind is missing then.
        """
        found, clock = self._dated(d.GLANCE)
        kinds: dict[str, KindGlance] = {}
        for kind in d.GLANCE_KINDS:
            newest: d.Newest | None = getattr(found, kind)
            last: d.Rows[Ref] | None = getattr(found, f"{kind}_id")
            if newest is not None and last is not None:
                kinds[kind] = _glance_of(newest, last)
        return Glance(kinds, tuple(line.time for line in found.logs), clock)

    def _from_markers(
        self,
        page: Sequence[MarkerStamp],
        page_size: int,
        operation: d.Operation[d.Rows[MarkerStamp]] = d.MARKER_STAMPS,
        variables: Mapping[str, Any] | None = None,
    ) -> Iterator[Sequence[MarkerStamp]]:
        """Yield the first page, and those that follow."""
        yield page
        for number in count(2):
            if len(page) < page_size:
                return
            which = {"page": number, "size": page_size, **(variables or {})}
            page = self._one(operation, which).rows
            yield page

    def scene_stamps(self, page_size: int = 5000) -> Iterator[Sequence[SceneStamp]]:
        """Yield id and time of change of every scene, page by page, by rising id."""
        return self._pages_by_id(d.SCENE_STAMPS, page_size)

    def marker_stamps(self, page_size: int = 5000) -> Iterator[MarkerStamp]:
        """Yield id, time of change and scene of every marker, by rising id."""
        first = {"page": 1, "size": page_size}
        page = self._rows(d.MARKER_STAMPS, first)
        yield from chain.from_iterable(self._from_markers(page, page_size))

    def newest_scene(self) -> KindGlance:
        """Return what a glance shows of scenes."""
        found = self._one(d.NEWEST_SCENE)
        return _glance_of(found.scene, found.scene_id)

    def count_scenes(self) -> int:
        """Return the number of scenes."""
        return self._one(d.SCENE_COUNT).count

    def scenes(self, ids: Sequence[int]) -> tuple[list[StashScene], list[int]]:
        """Return the scenes of these ids, in their order, and the ids Stash lacks."""
        return self._by_id(d.SCENES, ids)

    def scenes_between(self, low: int, high: int) -> list[StashScene]:
        """Return all scenes with ids from `low` to `high`, by rising id.

        Stash takes a fifth less time for it than for the same scenes named by id, of
        each of which it adds up the files.
        """
        return self._rows(d.SCENES_BETWEEN, {"low": low, "high": high})

    def existing_scene_ids(self, ids: Sequence[int]) -> set[int]:
        """Return those of `ids` that Stash has."""
        wanted = sorted(set(ids))
        found: set[int] = set()
        # Sorted, the batches do not overlap: all of them together list Stash's scenes
        # once at most, ids only.
        for batch in batched(wanted, IDS_PER_QUERY):
            window = {"low": batch[0], "high": batch[-1]}
            listed = {row.id for row in self._rows(d.SCENE_IDS, window)}
            found.update(listed.intersection(batch))
        return found

    def tags(self) -> list[StashTag]:
        """Return all tags."""
        return self._rows(d.TAGS)

    def performers(self) -> list[StashPerformer]:
        """Return all performers."""
        return self._rows(d.PERFORMERS)

    def studios(self) -> list[StashStudio]:
        """Return all studios."""
        return self._rows(d.STUDIOS)

    def find_tag(self, name: str) -> StashTag | None:
        """Return the tag of this name, else the one with this alias.

        Letter case does not count, as it does not for Stash.
        """
        wanted = name.strip().casefold()
        # Stash compares with LIKE: in a name, % and _ match anything.
        rows = self._rows(d.FIND_TAG, {"name": name.strip()})
        for tag in rows:
            if tag.name.casefold() == wanted:
                return tag
        for tag in rows:
            if any(alias.casefold() == wanted for alias in tag.aliases):
                return tag
        return None

    def find_objects(
        self, kind: d.NamedKind, name: str, endpoint: str, stash_id: str
    ) -> list[NamedObject]:
        """Return what has this id at a stash-box, or this name or alias.

        Stash compares names with LIKE: in a name, % and _ match anything.
        """
        names = {"name": name, "endpoint": endpoint, "stash_id": stash_id}
        return self._rows(d.find_objects(kind), names)

    def list_objects(self, kind: d.NamedKind) -> list[KnownObject]:
        """Return all tags, performers or studios by their names."""
        return self._rows(d.list_objects(kind))

    def object_use(
        self, kind: d.NamedKind, id_: int, given: Mapping[str, Any] | None = None
    ) -> ObjectUse | None:
        """Return how much something is used; None: Stash does not have it.

        Stash is asked which fields there are: later versions have more.

        Args:
            kind: What it is.
            id_: Its id.
            given: Field → value that it was created with, beside its name.

        Raises:
            JobError: Stash does not say.
        """
        if kind not in self._uses:
            type_name = kind.capitalize()
            fields = self._transport.send(d.TYPE_FIELDS, {"name": type_name})
            if fields is None:
                raise JobError(
                    f"Stash does not say which fields a {kind} has", remedy=READ_LOG
                )
            self._uses[kind] = d.object_use(kind, fields)
        answer = self._transport.send(self._uses[kind], {"id": str(id_)})
        return None if answer is None else ObjectUse.of(answer, given or {})

    def scenes_lacking_phash(self, ids: Sequence[int]) -> list[int]:
        """Return those of `ids` with a file that has no perceptual hash."""
        if not ids:
            return []
        window = {"low": min(ids), "high": max(ids)}
        lacking = {row.id for row in self._rows(d.LACKING_PHASH, window)}
        return [scene_id for scene_id in ids if scene_id in lacking]

    def scene_media(self, ids: Sequence[int]) -> tuple[list[SceneMedia], list[int]]:
        """Return where the scenes' media would be, and the ids Stash lacks."""
        return self._by_id(d.SCENE_MEDIA, ids)

    def scene_media_pages(self, page_size: int = 500) -> Iterator[Sequence[SceneMedia]]:
        """Yield where the media of every scene would be, page by page, by rising id."""
        return self._pages_by_id(d.SCENE_MEDIA_PAGE, page_size)

    def some_files(self, scenes: int) -> list[LocatedFile]:
        """Return the files of so many scenes from all over the library."""
        rows = self._rows(d.SOME_FILES, {"size": scenes})
        return [file for row in rows for file in row.files]

    def file_pages(self, page_size: int = 5000) -> Iterator[list[str]]:
        """Yield the paths of all files, of videos and of others, page by page.

        Raises:
            ConfigurationError: This Stash is too old to list its files.
        """
        for number in count(1):
            try:
                rows = self._rows(d.FILE_PATHS, {"page": number, "size": page_size})
            except RefusedError as error:
                if "findFiles" not in error.what:
                    raise
                raise ConfigurationError(
                    "This Stash cannot list its files",
                    where=self.address,
                    remedy="install Stash 0.30 or later",
                ) from error
            yield [row.path for row in rows]
            if len(rows) < page_size:
                return

    def folder_paths(self) -> list[str]:
        """Return the paths of all folders that scans have found."""
        return [folder.path for folder in self._rows(d.FOLDER_PATHS)]

    def count_files(self) -> int:
        """Return the number of files, of videos and of others."""
        return self._one(d.FILE_COUNT).count

    def has_file(self, path: str) -> bool:
        """Tell whether a scene has a file at this path, as Stash names it."""
        rows = self._rows(d.SCENES_AT, {"path": path})
        return any(file.path == path for row in rows for file in row.files)

    def media_exists(self, url_path: str) -> bool:
        """Tell whether Stash has made the media at this path or address of it."""
        return self._transport.media_exists(url_path)

    def picture(self, url_path: str) -> bytes | None:
        """Return the picture at this path or address; None: Stash has none.

        A placeholder for a picture that Stash has not made counts as none.
        """
        return self._transport.picture(url_path)

    def cover(self, scene_id: int) -> bytes | None:
        """Return the cover of a scene; None: the scene has none."""
        return self.picture(f"/scene/{scene_id}/screenshot")

    # --- writing ---------------------------------------------------------------------

    def bulk_update_scenes(
        self,
        ids: Sequence[int],
        *,
        add_tag_ids: Sequence[int] = (),
        remove_tag_ids: Sequence[int] = (),
        add_performer_ids: Sequence[int] = (),
        remove_performer_ids: Sequence[int] = (),
        studio_id: int | None = None,
    ) -> None:
        """Add, remove and set the same values in many scenes.

        What is added and set comes about for all scenes or none; so does what is
        removed, in a second step. Doing it again changes nothing more.
        """
        if not ids:
            raise ValueError("bulk_update_scenes needs at least one scene")
        added = _id_sets("ADD", add_tag_ids, add_performer_ids)
        if studio_id is not None:
            added["studio_id"] = str(studio_id)
        removed = _id_sets("REMOVE", remove_tag_ids, remove_performer_ids)
        for change in (added, removed):
            if change:
                update = {"ids": wire_ids(ids), **change}
                self._one(d.BULK_UPDATE_SCENES, {"input": update})

    def update_scene(self, scene_id: int, fields: Mapping[str, Any]) -> None:
        """Set fields of a scene by Stash's names; None clears a field.

        Raises:
            ValueError: A field is a set (tags, performers): it would be replaced.
        """
        if refused := fields.keys() - SCALAR_FIELDS:
            raise ValueError(f"update_scene does not set {', '.join(sorted(refused))}")
        update = {"id": str(scene_id), **fields}
        self._one(d.UPDATE_SCENE, {"input": update})

    def set_cover(self, scene_id: int, data_url: str) -> None:
        """Replace the cover of a scene. Stash cannot be without a cover again."""
        update = {"id": str(scene_id), "cover_image": data_url}
        self._one(d.UPDATE_SCENE, {"input": update})

    def change_urls(
        self, scene_id: int, mode: Literal["ADD", "REMOVE"], urls: Sequence[str]
    ) -> None:
        """Add URLs behind those that a scene has, or remove some of them.

        Doing it again changes nothing more.
        """
        change = {"values": list(urls), "mode": mode}
        self._one(
            d.BULK_UPDATE_SCENES, {"input": {"ids": [str(scene_id)], "urls": change}}
        )

    def set_box_id(self, scene_id: int, endpoint: str, stash_id: str | None) -> None:
        """Set the id of a scene at one stash-box; the ids at others stay as they are.

        Stash replaces the whole list, and dates every id anew that is sent without its
        date. So the list is read just before.

        Args:
            scene_id: The scene.
            endpoint: The stash-box.
            stash_id: The id; None: none any more.

        Raises:
            JobError: Stash has no such scene.
        """
        found = self._transport.send(d.SCENE_BOX_IDS, {"id": str(scene_id)})
        if found is None:
            raise JobError(
                f"Stash has no scene {scene_id}", remedy="run `stashhog run sync`"
            )
        ids = [box.input for box in found.stash_ids if box.endpoint != endpoint]
        if stash_id is not None:
            ids.append({"endpoint": endpoint, "stash_id": stash_id})
        update = {"id": str(scene_id), "stash_ids": ids}
        self._one(d.UPDATE_SCENE, {"input": update})

    def create_tag(self, name: str) -> StashTag:
        """Create a tag.

        Raises:
            JobError: The name, or an alias of this name, is taken.
        """
        return self._one(d.CREATE_TAG, {"input": {"name": name}})

    def create_marker(
        self,
        *,
        scene_id: int,
        title: str,
        seconds: float,
        primary_tag_id: int,
        tag_ids: Sequence[int] = (),
        end_seconds: float | None = None,
    ) -> int:
        """Create a marker; return its id. Stash takes the same marker twice."""
        marker = {
            "scene_id": str(scene_id),
            "title": title,
            "seconds": seconds,
            "end_seconds": end_seconds,
            "primary_tag_id": str(primary_tag_id),
            "tag_ids": wire_ids(tag_ids),
        }
        return self._one(d.CREATE_MARKER, {"input": marker}).id

    def destroy_markers(self, ids: Sequence[int]) -> None:
        """Delete markers, all or none."""
        if not ids:
            raise ValueError("destroy_markers needs at least one marker")
        self._one(d.DESTROY_MARKERS, {"ids": wire_ids(ids)})

    def create_object(self, kind: d.NamedKind, given: Mapping[str, Any]) -> int:
        """Create a tag, performer or studio with these fields; return its id.

        Raises:
            JobError: The name, or an alias of this name, is taken.
        """
        return self._one(d.create_object(kind), {"input": given}).id

    def destroy_object(self, kind: d.NamedKind, id_: int) -> None:
        """Delete a tag, performer or studio.

        Raises:
            JobError: It is unknown, or a tag is the primary tag of a marker.
        """
        self._one(d.destroy_object(kind), {"id": str(id_)})

    # --- common ----------------------------------------------------------------------

    def _pages_by_id(
        self,
        operation: d.Operation[d.Rows[Keyed]],
        page_size: int,
        first: Sequence[Keyed] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Iterator[Sequence[Keyed]]:
        """Yield pages by rising id; `first` is at hand already, unless it is None."""
        which = {"size": page_size, **(variables or {})}
        page = first
        if page is None:
            page = self._rows(operation, {"after": 0, **which})
        while page:
            yield page
            if len(page) < page_size:
                return
            page = self._rows(operation, {"after": page[-1].id, **which})

    def _by_id(
        self, operation: d.Operation[d.Rows[T]], ids: Sequence[int]
    ) -> tuple[list[T], list[int]]:
        """Return the rows of `ids` and the ids that Stash lacks.

        One unknown id makes Stash refuse all, and so does one that stands twice.
        """
        rows: list[T] = []
        missing: list[int] = []
        for batch in batched(dict.fromkeys(ids), IDS_PER_QUERY):
            known = batch
            while known:
                try:
                    rows += self._rows(operation, {"ids": wire_ids(known)})
                    break
                except JobError:
                    existing = self.existing_scene_ids(known)
                    if len(existing) == len(known):
                        raise
                    known = [scene_id for scene_id in known if scene_id in existing]
            kept = set(known)
            missing += [scene_id for scene_id in batch if scene_id not in kept]
        return rows, missing


def _glance_of(newest: d.Newest, last: d.Rows[Ref]) -> KindGlance:
    text = max((row.updated_at for row in newest.rows), default="")
    return KindGlance(newest.count, text, max((row.id for row in last.rows), default=0))


def _id_sets(
    mode: str, tag_ids: Sequence[int], performer_ids: Sequence[int]
) -> dict[str, Any]:
    sets = {"tag_ids": tag_ids, "performer_ids": performer_ids}
    return {
        name: {"ids": wire_ids(ids), "mode": mode} for name, ids in sets.items() if ids
    }
