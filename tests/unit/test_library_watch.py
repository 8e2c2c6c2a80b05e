"""Watching a folder for changes."""

import errno
import threading
from pathlib import Path

import pytest
import watchfiles

from stashhog_core.errors import ConfigurationError
from stashhog_core.library.watch import SYSCTL, changes, needs_polling

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


def test_exhausted_limit_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of inotify watches: the error holds the very line that mends it."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", full)

    with pytest.raises(ConfigurationError) as caught:
        next(changes(tmp_path, threading.Event(), polling=False))

    assert SYSCTL in str(caught.value)
    assert "fs.inotify.max_user_watches=" in SYSCTL
