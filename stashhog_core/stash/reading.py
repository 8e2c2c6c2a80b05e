"""What the product reads of a Stash server's library, one method per question."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from stashhog_core.batches import batched
from stashhog_core.errors import JobError, UnreadableError
from stashhog_core.settings import StashSettings
from stashhog_core.stash import documents as d
from stashhog_core.stash.payloads import (
    Library,
    MarkerStamp,
    Performer,
    Scene,
    SceneMedia,
    SceneStamp,
    Studio,
    Tag,
    TagUse,
)
from stashhog_core.stash.transport import RETRY_DELAYS_SECONDS, Transport

T = TypeVar("T")
Keyed = TypeVar("Keyed", Scene, SceneMedia, SceneStamp)

IDS_PER_QUERY = 1000
"""Scenes asked for at a time when they are named by id."""


# Later than any time Stash writes. A year alone would count as a number, and any text
# is more than that.
_NEVER = "9999-12-31"


class StashReader:
    """The reading half of `StashClient`.

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back all connections."""
        self._transport.close()

    @property
    def address(self) -> str:
        """Where the server is, without credentials."""
        return self._transport.address

    def library(
        self, files_changed_since: str = "", page_size: int = 20_000
    ) -> Library:
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
        return Library(
            pages=self._pages_by_id(d.SCENE_STAMPS, page_size, found.scenes.rows),
            marker_pages=self._from_markers(found.markers.rows, page_size),
            tags=found.tags.rows,
            performers=found.performers.rows,
            studios=found.studios.rows,
            files=found.files.rows,
        )

    def _from_markers(
        self, page: Sequence[MarkerStamp], page_size: int
    ) -> Iterator[Sequence[MarkerStamp]]:
        """Yield the first page, and those that follow."""
        yield page
        for number in count(2):
            if len(page) < page_size:
                return
            which = {"page": number, "size": page_size}
            page = self._one(d.MARKER_STAMPS, which).rows
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

    def scenes(self, ids: Sequence[int]) -> tuple[list[Scene], list[int]]:
        """Return the scenes of these ids, in their order, and the ids Stash lacks."""
        return self._by_id(d.SCENES, ids)

    def scenes_between(self, low: int, high: int) -> list[Scene]:
        """Return all scenes with ids from `low` to `high`, by rising id.

        Stash takes a fifth less time for it than for the same scenes named by id, of
        each of which it adds up the files.
        """
        return self._rows(d.SCENES_BETWEEN, {"low": low, "high": high})

    def scene_pages(self, page_size: int = 500) -> Iterator[Sequence[Scene]]:
        """Yield every scene with all it has, page by page, by rising id."""
        return self._pages_by_id(d.SCENE_PAGE, page_size)

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

    def tags(self) -> list[Tag]:
        """Return all tags."""
        return self._rows(d.TAGS)

    def performers(self) -> list[Performer]:
        """Return all performers."""
        return self._rows(d.PERFORMERS)

    def studios(self) -> list[Studio]:
        """Return all studios."""
        return self._rows(d.STUDIOS)

    def find_tag(self, name: str) -> Tag | None:
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

    # --- common ----------------------------------------------------------------------

    def _one(
        self,
        operation: d.Operation[T],
        variables: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> T:
        answer = self._transport.send(
            operation, variables, timeout_seconds=timeout_seconds
        )
        if answer is None:
            raise UnreadableError(
                f"Stash answered {operation.name} with nothing", where=self.address
            )
        return answer

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
    ) -> Iterator[Sequence[Keyed]]:
        """Yield pages by rising id; `first` is at hand already, unless it is None."""
        page = first
        if page is None:
            page = self._rows(operation, {"after": 0, "size": page_size})
        while page:
            yield page
            if len(page) < page_size:
                return
            page = self._rows(operation, {"after": page[-1].id, "size": page_size})

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


def wire_ids(ids: Sequence[int]) -> list[str]:
    """Return ids as Stash writes them."""
    return [str(id_) for id_ in ids]
