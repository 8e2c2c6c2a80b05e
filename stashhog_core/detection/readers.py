"""Readers: detectors that take long or cost money, so that their output is cached.

A reader reads a scene once, from its video or through a model. The raw output is
stored, and proposals are made from the stored output as often as needed.
"""

import json
import logging
import re
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from stashhog_core.background import Background, read_ahead
from stashhog_core.detection.name_finder import NameFinder
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.detection.technical import FindTag
from stashhog_core.errors import ItemError, StashHogError, storable
from stashhog_core.plans.proposals import Proposal
from stashhog_core.progress import Progress

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 0.5

Output = Mapping[str, Any]
"""The raw output of a reader, as JSON holds it."""


@dataclass(frozen=True)
class StashNames:
    """The names that Stash has, for turning raw output into proposals."""

    finder: NameFinder
    find_tag: FindTag
    create_missing_tags: bool


class SceneReader(ABC):
    """A detector that reads a scene once, and proposes from the output many times.

    `name`, `version` and `configuration` state what the output depends on; together
    with `cache_key` they are the key of the output in the result cache. By default
    scenes are read whole, one after the other, at no cost but time.
    """

    name: str
    version: str
    """Changes when the same scene would give another output."""

    @property
    @abstractmethod
    def configuration(self) -> str:
        """Settings that the output depends on."""

    @property
    def parallel(self) -> int:
        """Maximum number of scenes read in parallel, each in a thread of its own.

        0: scenes are read one after the other, in the caller's thread.
        """
        return 0

    def cache_key(self, scene: SceneFacts, content: str | None) -> str | None:
        """Return the key under which the output is stored; None: it is not stored.

        Args:
            scene: The scene.
            content: The hash of the scene's file, which is the key if the output
                depends on nothing else; None: not known.
        """
        return content

    def costs(self) -> Mapping[str, float | str]:
        """Return the costs of reading so far, apart from time; empty: none."""
        return {}

    def is_complete(self, output: Output) -> bool:
        """Tell whether a stored output has everything that a new one would have.

        Raises:
            Deferred: This cannot be determined now.
        """
        return True

    @abstractmethod
    def read(self, scene: SceneFacts) -> Output:
        """Return the raw output for a scene.

        Raises:
            ItemError: This scene cannot be read.
            Deferred: No scene can be read now; the scene stays unanalyzed.
        """

    def complete(self, scene: SceneFacts, known: Output) -> Output:
        """Return the complete output for a scene, given a stored incomplete output."""
        return self.read(scene)

    def prepare(self, scenes: Sequence[SceneFacts]) -> None:  # noqa: B027 - most need none
        """Look up together what the proposals for these scenes depend on.

        Called once for each page of scenes, before any proposal for the page.
        """

    @abstractmethod
    def propose(
        self, scene: SceneFacts, output: Output, names: StashNames
    ) -> list[Proposal]:
        """Return proposals for everything in the output that the scene lacks."""

    def propose_failure(
        self, scene: SceneFacts, reason: str, names: StashNames
    ) -> list[Proposal]:
        """Return proposals for a scene that could not be read."""
        return []


class BatchReader(SceneReader):
    """A reader that reads many scenes with one request."""

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Maximum number of scenes that are read together."""

    def needs_reading(self, scene: SceneFacts, known: Output | None) -> bool:
        """Tell whether a scene has to be read; otherwise its output is `known`."""
        return known is None or not self.is_complete(known)

    @abstractmethod
    def read_batch(
        self, scenes: Sequence[tuple[SceneFacts, Output | None]]
    ) -> list[Output | ItemError]:
        """Return the raw output for each scene, or why there is none.

        Args:
            scenes: The scenes, each with a stored output that is incomplete.

        Raises:
            Deferred: No scene can be read now.
        """

    def read(self, scene: SceneFacts) -> Output:
        """Return the raw output for a scene."""
        (output,) = self.read_batch([(scene, None)])
        if isinstance(output, ItemError):
            raise output
        return output


@dataclass(frozen=True)
class ReaderResult:
    """The output of a reader for a scene, or the reason why there is none.

    `is_new`: the output, or a part of it, was not in the result cache. `seconds`: the
    time that reading took.
    """

    scene: SceneFacts
    output: Output | None
    is_new: bool = False
    reason: str | None = None
    seconds: float = 0.0


def read_all(
    reader: SceneReader,
    scenes: Iterable[tuple[SceneFacts, Output | None]],
    progress: Progress,
) -> Generator[ReaderResult, None, None]:
    """Yield the result of each scene, in the order of the scenes.

    Args:
        reader: Reads up to `parallel` scenes at the same time.
        scenes: Each scene, with the output that the result cache has for it.
        progress: Asked regularly whether to stop. A stop does not wait for scenes that
            are being read.

    Raises:
        Deferred: The reader cannot read any scene now.
        JobCancelled: A stop was requested.
    """
    if isinstance(reader, BatchReader):
        yield from _read_in_batches(reader, scenes, progress)
        return
    if reader.parallel == 0:
        for scene, known in scenes:
            progress.checkpoint()
            yield _read(reader, scene, known)
        return
    with Background(reader.parallel, f"read-{reader.name}") as background:
        # Twice the number of threads, so that one long video does not block the others.
        waiting: deque[Future[ReaderResult]] = deque()
        for scene, known in scenes:
            waiting.append(background.submit(partial(_read, reader, scene, known)))
            if len(waiting) >= 2 * reader.parallel:
                yield _result(waiting.popleft(), progress)
        while waiting:
            yield _result(waiting.popleft(), progress)


def _read(reader: SceneReader, scene: SceneFacts, known: Output | None) -> ReaderResult:
    started = time.monotonic()
    output, failure = None, None
    try:
        if known is not None and reader.is_complete(known):
            return ReaderResult(scene, known)
        if known is not None:
            output = reader.complete(scene, known)
        else:
            output = reader.read(scene)
        _require_storable(output)
    except ItemError as error:
        output, failure = None, str(error)
    except StashHogError:
        raise
    except Exception as error:
        logger.exception("Could not analyze scene %d", scene.id)
        output, failure = None, unexpected(error)
    return ReaderResult(scene, output, True, failure, time.monotonic() - started)


def _read_in_batches(
    reader: BatchReader,
    scenes: Iterable[tuple[SceneFacts, Output | None]],
    progress: Progress,
) -> Generator[ReaderResult, None, None]:
    """Yield the results in order, while the next batch is read already."""
    results = (
        list(_batch_results(reader, batch, progress))
        for batch in _batches(reader, scenes)
    )
    with closing(read_ahead(results, f"read-{reader.name}")) as batches:
        for batch in batches:
            yield from batch


_Unread = tuple[SceneFacts, Output | None, bool]
"""A scene, its stored output, and whether it has to be read."""


def _batches(
    reader: BatchReader, scenes: Iterable[tuple[SceneFacts, Output | None]]
) -> Iterator[Sequence[_Unread]]:
    """Yield the scenes in order; those that need no reading fill no batch."""
    waiting: list[_Unread] = []
    unread = 0
    for scene, known in scenes:
        is_unread = reader.needs_reading(scene, known)
        waiting.append((scene, known, is_unread))
        unread += is_unread
        if unread == reader.batch_size:
            yield waiting
            waiting, unread = [], 0
    yield waiting


def _batch_results(
    reader: BatchReader, waiting: Sequence[_Unread], progress: Progress
) -> Iterator[ReaderResult]:
    progress.checkpoint()
    unread = [(scene, known) for scene, known, is_unread in waiting if is_unread]
    started = time.monotonic()
    outputs = iter(_read_batch(reader, unread) if unread else ())
    seconds = (time.monotonic() - started) / max(1, len(unread))
    for scene, known, is_unread in waiting:
        if not is_unread:
            yield ReaderResult(scene, known if known is not None else {})
            continue
        output = next(outputs)
        if isinstance(output, ItemError):
            yield ReaderResult(scene, None, True, str(output), seconds)
        else:
            yield ReaderResult(scene, output, True, None, seconds)


def _read_batch(
    reader: BatchReader, scenes: Sequence[tuple[SceneFacts, Output | None]]
) -> list[Output | ItemError]:
    try:
        outputs = reader.read_batch(scenes)
    except StashHogError:
        raise
    except Exception as error:
        ids = ", ".join(str(scene.id) for scene, _ in scenes)
        logger.exception("Could not analyze the scenes %s", ids)
        return [ItemError(unexpected(error))] * len(scenes)
    return [_storable_or_error(output) for output in outputs]


def _storable_or_error(output: Output | ItemError) -> Output | ItemError:
    if not isinstance(output, ItemError):
        try:
            _require_storable(output)
        except ItemError as error:
            return error
    return output


def _require_storable(output: Output) -> None:
    """Make sure that PostgreSQL accepts the output.

    One statement stores the outputs of many scenes: one invalid output would prevent
    all others from being stored.

    Raises:
        ItemError: The output holds U+0000, half a surrogate pair, or NaN.
    """
    try:
        text = json.dumps(output, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ItemError(f"The answer cannot be stored ({error})") from error
    if _ZERO.search(text):
        raise ItemError("The answer cannot be stored (it holds the character U+0000)")


# An escaped backslash before `u0000` is a backslash of the text.
_ZERO = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def unexpected(error: Exception) -> str:
    """Return the text for an unexpected error that concerns only one scene."""
    return storable(f"unexpected {type(error).__name__}: {error}")


def _result(future: Future[ReaderResult], progress: Progress) -> ReaderResult:
    while True:
        progress.checkpoint()
        try:
            return future.result(_CHECK_SECONDS)
        except TimeoutError:
            if future.done():
                raise
