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
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from stashhog_core.background import Background
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
