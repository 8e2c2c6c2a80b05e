"""What the product asks of a Stash server, one method per question.

Ids are integers. Lists are never sent empty: Stash takes an empty list of scenes or
paths as "all of them".
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, count
from typing import Any, Self, TypeVar

import httpx

from stashhog_core.batches import batched
from stashhog_core.errors import (
    ConfigurationError,
    JobError,
    TransientError,
    UnreadableError,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash import documents as d
from stashhog_core.stash.payloads import (
    Glance,
    Job,
    KindGlance,
    LibraryChanges,
    LibraryListing,
    LogEntry,
    MarkerStamp,
    Ref,
    SceneMedia,
    SceneStamp,
    StashPerformer,
    StashScene,
    StashStudio,
    StashTag,
    TagUse,
)
from stashhog_core.stash.transport import RETRY_DELAYS_SECONDS, Transport

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


class StashClient:
    """A Stash server. Close it, or use it in a `with` statement.

    Every method raises `ConfigurationError` (wrong key), `TransientError` (no answer)
    or `JobError` (an error as the answer). Reads ride out short outages by themselves;
    writes are sent once, and it is for the caller to look what became of them.

    Args:
        settings: Address, key, time limit.
        transport: What carries the requests; None: the network.
        retry_delays_seconds: Pauses before a read is tried again.
    """

    def __init__(
        self,
        settings: StashSettings,
        transport: httpx.BaseTransport | None = None,
        *,
        retry_delays_seconds: tuple[float, ...] = RETRY_DELAYS_SECONDS,
    ) -> None:
        self._transport = Transport(settings, transport, retry_delays_seconds)
        self._tag_use: d.Operation[dict[str, Any]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back all connections."""
        self._transport.close()

    @property
    def address(self) -> str:
        """Where the server is, without credentials."""
        return self._transport.address

    # --- the server ------------------------------------------------------------------

    def version(self) -> str:
        """Return Stash's version; empty for a build that does not know it."""
        return self._one(d.VERSION).version or ""

    def check_ready(self) -> None:
        """Make sure, without waiting, that Stash is there, set up, and lets us in.

        Raises:
            ConfigurationError: It is not; says what to check.
        """
        try:
            status = self._one(
                d.SYSTEM_STATUS, timeout_seconds=self._transport.timeout_seconds
            ).status
        except (TransientError, JobError) as error:
            remedy = error.remedy or "check STASHHOG_STASH__URL"
            raise ConfigurationError(error.what, error.where, remedy) from error
        if status != "OK":
            raise ConfigurationError(
                f"Stash is not set up yet (its status is {status})",
                where=self.address,
                remedy="open STASHHOG_STASH__URL in a browser and finish its set-up",
            )

    def library_roots(self) -> list[str]:
        """Return the folders of Stash's library, as Stash names them."""
        stashes = self._one(d.LIBRARY_ROOTS).general.stashes
        return [folder.path for folder in stashes]

    def recent_log(self) -> list[LogEntry]:
        """Return the last lines of Stash's log, the newest first: about 30."""
        lines = self._transport.send(d.RECENT_LOG)
        return list(lines or ())

    def scan_rules(self) -> d.ScanRules:
        """Return which files Stash's scan takes as videos."""
        return self._one(d.SCAN_RULES).general

    # --- its jobs --------------------------------------------------------------------

    def start_scan(self, scan_input: Mapping[str, Any]) -> int:
        """Queue a metadata scan; return the job's id."""
        _never_empty(scan_input, "paths")
        return self._one(d.START_SCAN, {"input": scan_input})

    def start_generate(self, generate_input: Mapping[str, Any]) -> int:
        """Queue a generate job; return the job's id."""
        _never_empty(generate_input, "sceneIDs", "markerIDs")
        return self._one(d.START_GENERATE, {"input": generate_input})

    def find_job(
        self, job_id: int, *, timeout_seconds: float | None = None
    ) -> Job | None:
        """Return the job; None if Stash forgot it or never had it.

        Stash keeps the last ten finished jobs, none across a restart, and counts ids
        from 1 again: compare `add_time` before taking it for the same job.

        Args:
            job_id: Its id.
            timeout_seconds: Wait no longer, and do not try again.
        """
        return self._transport.send(
            d.FIND_JOB, {"id": str(job_id)}, timeout_seconds=timeout_seconds
        )

    def job_queue(self, *, timeout_seconds: float | None = None) -> list[Job]:
        """Return the jobs that wait, run or are being stopped, in order."""
        queue = self._transport.send(d.JOB_QUEUE, timeout_seconds=timeout_seconds)
        return list(queue or ())

    def stop_job(self, job_id: int, *, timeout_seconds: float | None = None) -> None:
        """Ask Stash to stop a job; it may go on for half a minute.

        Stash says nothing if the job is over or unknown.
        """
        self._transport.send(
            d.STOP_JOB, {"id": str(job_id)}, timeout_seconds=timeout_seconds
        )

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
                text = max((row.updated_at for row in newest.rows), default="")
                id_ = max((row.id for row in last.rows), default=0)
                kinds[kind] = KindGlance(newest.count, text, id_)
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

    def newest_scene(self) -> tuple[int, str]:
        """Return how many scenes there are, and the latest time of change of any."""
        found = self._one(d.NEWEST_SCENE)
        return found.count, max((row.updated_at for row in found.rows), default="")

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

    def tag_use(self, tag_id: int) -> TagUse | None:
        """Return how much a tag is used; None: Stash has no such tag.

        Stash is asked which fields a tag has: later versions have more.

        Raises:
            JobError: Stash does not say.
        """
        if self._tag_use is None:
            fields = self._transport.send(d.TAG_TYPE, {})
            if fields is None:
                raise JobError("Stash does not say which fields a tag has")
            self._tag_use = d.tag_use(fields)
        answer = self._transport.send(self._tag_use, {"id": str(tag_id)})
        return None if answer is None else TagUse.of(answer)

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
                update = {"ids": _wire_ids(ids), **change}
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
            "tag_ids": _wire_ids(tag_ids),
        }
        return self._one(d.CREATE_MARKER, {"input": marker}).id

    def destroy_markers(self, ids: Sequence[int]) -> None:
        """Delete markers, all or none."""
        if not ids:
            raise ValueError("destroy_markers needs at least one marker")
        self._one(d.DESTROY_MARKERS, {"ids": _wire_ids(ids)})

    def destroy_tag(self, tag_id: int) -> None:
        """Delete a tag.

        Raises:
            JobError: It is unknown, or the primary tag of a marker.
        """
        self._one(d.DESTROY_TAG, {"id": str(tag_id)})

    # --- common ----------------------------------------------------------------------

    def _one(
        self,
        operation: d.Operation[T],
        variables: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> T:
        return self._dated(operation, variables, timeout_seconds=timeout_seconds)[0]

    def _dated(
        self,
        operation: d.Operation[T],
        variables: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> tuple[T, datetime | None]:
        """Return the answer, and what the server's clock said then."""
        dated = self._transport.send_dated(
            operation, variables, timeout_seconds=timeout_seconds
        )
        answer, clock = dated
        if answer is None:
            raise UnreadableError(
                f"Stash gave an empty answer to {operation.name}", where=self.address
            )
        return answer, clock

    def _rows(
        self,
        operation: d.Operation[d.Rows[T]],
        variables: Mapping[str, Any] | None = None,
    ) -> list[T]:
        return list(self._one(operation, variables).rows)

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
                    rows += self._rows(operation, {"ids": _wire_ids(known)})
                    break
                except JobError:
                    existing = self.existing_scene_ids(known)
                    if len(existing) == len(known):
                        raise
                    known = [scene_id for scene_id in known if scene_id in existing]
            kept = set(known)
            missing += [scene_id for scene_id in batch if scene_id not in kept]
        return rows, missing


def _wire_ids(ids: Sequence[int]) -> list[str]:
    """Return ids as Stash writes them."""
    return [str(id_) for id_ in ids]


def _id_sets(
    mode: str, tag_ids: Sequence[int], performer_ids: Sequence[int]
) -> dict[str, Any]:
    sets = {"tag_ids": tag_ids, "performer_ids": performer_ids}
    return {
        name: {"ids": _wire_ids(ids), "mode": mode} for name, ids in sets.items() if ids
    }


def _never_empty(job_input: Mapping[str, Any], *names: str) -> None:
    if not any(job_input.get(name) for name in names):
        raise ValueError(f"Stash would take missing or empty {names[0]} as everything")
