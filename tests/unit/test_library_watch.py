"""Watching a folder for changes."""

import errno
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import watchfiles

from stashhog_core.errors import ConfigurationError
from stashhog_core.library import watch as library_watch
from stashhog_core.library.watch import (
    MORE_INSTANCES,
    MORE_WATCHES,
    changes,
    needs_polling,
)

ROOT = Path(__file__).parents[2]

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
nas:/films /mnt/films nfs4 rw 0 0
remote: /mnt/my\\040drive fuse.rclone rw 0 0
/dev/sdb1 /mnt/films/local xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "polling"),
    [
        ("/home/me", False),
        ("/mnt/films", True),
        ("/mnt/films/new", True),
        ("/mnt/films/local/a", False),
        ("/mnt/my drive/a", True),
        ("/mnt/filmsother", False),
    ],
)
def test_network_folders_are_polled(folder: str, polling: bool) -> None:
    """Where changes by others are not told of, the watcher looks by itself."""
    assert needs_polling(Path(folder), MOUNTS) is polling


@pytest.mark.slow
@pytest.mark.parametrize("polling", [False, True])
def test_new_video_is_noticed(tmp_path: Path, polling: bool) -> None:
    """A video that appears is a change; another file is none."""
    stop = threading.Event()
    watched = changes(
        tmp_path, stop, settle_milliseconds=100, poll_milliseconds=50, polling=polling
    )

    def write() -> None:
        (tmp_path / "notes.txt").write_text("no video")
        (tmp_path / "a.mp4").write_bytes(b"video")

    timer = threading.Timer(1, write)
    timer.start()
    count = next(watched)
    stop.set()
    timer.join()

    # A watcher that looks by itself sees the folder change, too.
    assert count == (2 if polling else 1)
    assert list(watched) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "command"),
    [
        pytest.param("max_inotify_watches=5", MORE_WATCHES, id="folders"),
        pytest.param("max_inotify_instances=0", MORE_INSTANCES, id="programs"),
    ],
)
def test_exhausted_limit_names_the_command(
    tmp_path: Path, limit: str, command: str
) -> None:
    """Out of inotify's means: the error holds the very line that mends it.

    The package itself passes over folders for which no watch is left.
    """
    for number in range(20):
        (tmp_path / str(number)).mkdir()
    name, _, value = limit.partition("=")
    watch = [sys.executable, "-m", "tests.watching", str(tmp_path)]
    # A user of one's own namespace has limits of one's own, where that is allowed.
    own = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*own, "true"], check=False, capture_output=True).returncode:
        watch.append(name)
    else:
        lower = f'echo {value} > /proc/sys/user/{name} && exec "$@"'
        watch = [*own, "sh", "-c", lower, "sh", *watch]
    watching = subprocess.run(
        watch, cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert command in watching.stdout
    assert str(tmp_path) in watching.stdout


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("OS file watch limit reached. about []"), MORE_WATCHES),
        (RuntimeError("Too many open files (os error 24)"), MORE_INSTANCES),
        (OSError(errno.ENODEV, "No such device"), "No such device"),
    ],
)
def test_trouble_of_the_watcher_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    """Whatever the package raises is told with what to do, not as a traceback."""

    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(watchfiles, "watch", failing)

    with pytest.raises(ConfigurationError) as caught:
        next(changes(tmp_path, threading.Event(), polling=False))

    assert words in str(caught.value)


def test_blind_file_systems_are_handed_to_polling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind of the file system decides how it is watched, with no option set."""
    asked: list[bool] = []

    def watch(*_: object, force_polling: bool, **__: object) -> Iterator[set[object]]:
        asked.append(force_polling)
        yield {("added", "a.mp4")}

    monkeypatch.setattr(watchfiles, "watch", watch)
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(library_watch, "_MOUNTS", mounts)
    for kind in ("ext4", "nfs4", "fuse.rclone", "cifs", "btrfs"):
        mounts.write_text(f"x / {kind} rw 0 0\n")
        next(changes(tmp_path, threading.Event()))

    assert asked == [False, True, True, True, False]
