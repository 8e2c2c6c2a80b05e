"""A program that watches a folder under limits set by a test, and says what comes.

With the name of a limit it behaves as if that were exhausted.
"""

import sys
import threading
from pathlib import Path

import watchfiles

from stashhog_core.errors import ConfigurationError
from stashhog_core.library import watch


def full(*_: object, **__: object) -> None:
    """Fail as the package does when the system lets no further program watch."""
    raise RuntimeError(
        "Error creating recommended watcher: Too many open files (os error 24)"
    )


if __name__ == "__main__":
    folder, *exhausted = sys.argv[1:]
    if exhausted == ["max_inotify_instances"]:
        watchfiles.watch = full  # type: ignore[assignment]
    elif exhausted:
        watch.no_watches_left = lambda _: True
    stop = threading.Event()
    threading.Timer(10, stop.set).start()
    try:
        for count in watch.changes(Path(folder), stop, settle_milliseconds=100):
            print(count)
    except ConfigurationError as error:
        print(error)
    stop.set()
