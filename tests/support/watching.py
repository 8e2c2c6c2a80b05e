"""A program that watches a folder for some seconds, and says what comes.

With the name of a limit it behaves as if that were exhausted.
"""

import errno
import os
import sys
import threading
from pathlib import Path

from stashhog_core.errors import ConfigurationError
from stashhog_core.file_index import watch
from stashhog_core.file_index.watch import Notices


class NoProgramsLeft(Notices):
    """The system lets no further program of this user watch."""

    def __init__(self) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "inotify")


class NoFoldersLeft(Notices):
    """The system lets no further folder be watched."""

    def watch(self, folder: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)


EXHAUSTED = {
    "max_inotify_instances": NoProgramsLeft,
    "max_inotify_watches": NoFoldersLeft,
}

if __name__ == "__main__":
    folder, *exhausted = sys.argv[1:]
    notices = EXHAUSTED[exhausted[0]] if exhausted else Notices
    stop = threading.Event()
    timer = threading.Timer(10, stop.set)
    timer.daemon = True
    timer.start()
    print("watching", flush=True)
    try:
        for count in watch.changes(
            Path(folder), stop, quiet_seconds=0.3, poll_seconds=0.5, notices=notices
        ):
            print(count, flush=True)
    except ConfigurationError as error:
        print(error)
