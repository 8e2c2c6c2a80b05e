"""Programs for tests to kill: `python -m tests.support.programs NAME …`."""

import errno
import os
import sys
import threading
from pathlib import Path

from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.file_index import watch
from stashhog_core.file_index.job import scan_directory
from stashhog_core.file_index.pool import ProbePool
from stashhog_core.file_index.probe import ProbeRequest, Wanted
from stashhog_core.file_index.watch import Notices
from stashhog_core.params import DirectoryScanParams
from stashhog_core.progress import Progress
from stashhog_core.settings import LibrarySettings, Settings
from tests.support import poisoned
from tests.support.waiting import PATIENCE_SECONDS


def probe_hanging(file: str) -> None:
    """Probe a file whose name makes the reader hang."""
    path = Path(file)
    facts = path.stat()
    hanging = ProbeRequest(1, file, facts.st_size, facts.st_mtime_ns)
    with ProbePool(Wanted(path.parent), 1, probe=poisoned.probe) as pool:
        print("probing", flush=True)
        list(pool.probe([hanging], lambda: None))


def scan(url: str, folder: str, home: str, *last: str) -> None:
    """Scan a folder; print the progress and then the result.

    With words it goes no further than to a report that has them, and waits there.
    """

    def report(_fraction: float | None, message: str) -> None:
        print(message, flush=True)
        if any(words in message for words in last):
            threading.Event().wait()

    result = scan_directory(
        Settings(
            home=Path(home), library=LibrarySettings(allowed_scan_roots=(Path(folder),))
        ),
        Database(url),
        DirectoryScanParams(path=folder, workers=2),
        Progress(report),
    )
    print(result.model_dump_json())


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


def watch_folder(folder: str, *exhausted: str) -> None:
    """Watch a folder for some minutes and print what changes.

    With the name of a limit it behaves as if that were exhausted.
    """
    notices = EXHAUSTED[exhausted[0]] if exhausted else Notices
    stop = threading.Event()
    timer = threading.Timer(PATIENCE_SECONDS, stop.set)
    timer.daemon = True
    timer.start()
    try:
        for count in watch.changes(
            Path(folder), stop, quiet_seconds=0.3, poll_seconds=0.5, notices=notices
        ):
            print(count or "watching", flush=True)
    except ConfigurationError as error:
        print(error)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    {"probe_hanging": probe_hanging, "scan": scan, "watch_folder": watch_folder}[name](
        *arguments
    )
