"""Looking at scenes, several at a time where the reader can, in their order."""

import json
import logging
import re
import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from stashhog_core.background import Background
from stashhog_core.detection.reader import SceneReader
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.errors import ItemError, StashHogError, storable
from stashhog_core.progress import Progress

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 0.5

Known = Mapping[str, Any] | None


@dataclass(frozen=True)
class Looked:
    """What came of looking: an output, or the reason why there is none.

    `is_new`: it was not in the cache, or not all of it. `seconds`: what that took.
    """

    scene: SceneFacts
    output: Known
    is_new: bool = False
    reason: str | None = None
    seconds: float = 0.0


def look_at(
    reader: SceneReader, scenes: Iterable[tuple[SceneFacts, Known]], progress: Progress
) -> Generator[Looked, None, None]:
    """Yield what is seen of each scene, in their order.

    Args:
        reader: Looks; the next scene is begun only when it has a place free.
        scenes: Scene, and what was seen of it before.
        progress: Asked now and then whether to stop; a look under way is left behind.

    Raises:
        Deferred: The reader cannot look at anything now.
        JobCancelled: A stop was asked for.
    """
    if reader.parallel == 0:
        for scene, known in scenes:
            progress.checkpoint()
            yield _look(reader, scene, known)
        return
    with Background(reader.parallel, "look") as background:
        # Twice as many as are done at a time: one long video in front holds nobody up.
        waiting: deque[Future[Looked]] = deque()
        for scene, known in scenes:
            look = partial(_look, reader, scene, known)
            waiting.append(background.submit(look))
            if len(waiting) >= 2 * reader.parallel:
                yield _result(waiting.popleft(), progress)
        while waiting:
            yield _result(waiting.popleft(), progress)


def _look(reader: SceneReader, scene: SceneFacts, known: Known) -> Looked:
    started = time.monotonic()
    output, failure = None, None
    try:
        if known is not None and reader.is_complete(known):
            return Looked(scene, known)
        if known is not None:
            output = reader.look_again(scene, known)
        else:
            output = reader.look(scene)
        _require_storable(output)
    except ItemError as error:
        output, failure = None, str(error)
    except StashHogError:
        raise
    except Exception as error:
        logger.exception("Could not analyze scene %d", scene.id)
        output, failure = None, unexpected(error)
    return Looked(scene, output, True, failure, time.monotonic() - started)


def _require_storable(output: Known) -> None:
    """Make sure that the database takes what a model answered.

    Outputs of many scenes are stored in one statement: one that is refused would take
    all the others with it.

    Raises:
        ItemError: It holds the character 0, half a character, or no number.
    """
    try:
        text = json.dumps(output, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ItemError(f"The answer cannot be stored ({error})") from error
    if _ZERO.search(text):
        raise ItemError("The answer cannot be stored (it holds the character 0)")


# Not where the backslash itself is one of the text.
_ZERO = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def unexpected(error: Exception) -> str:
    """Word an error that nobody foresaw; it is one scene's, and the others go on."""
    return storable(f"unexpected {type(error).__name__}: {error}")


def _result(future: Future[Looked], progress: Progress) -> Looked:
    while True:
        progress.checkpoint()
        try:
            return future.result(_CHECK_SECONDS)
        except TimeoutError:
            if future.done():
                raise
