"""Watching a folder for changes."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stashhog_core.errors import ConfigurationError
from stashhog_core.file_index.watch import (
    MORE_INSTANCES,
    MORE_WATCHES,
    Notices,
    QuietPeriod,
    changes,
    is_blind,
)
from stashhog_core.paths import Mounts
from tests.support.programs import NoFoldersLeft, NoProgramsLeft

ROOT = Path(__file__).parents[2]

MOUNTS = b"""\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:30 / /mnt/films rw - nfs4 nas:/films rw
3 1 0:31 / /mnt/my\\040drive rw - fuse.rclone remote: rw
4 2 8:2 / /mnt/films/local rw - xfs /dev/sdb1 rw
5 1 0:32 / /mnt/caf\xe9\\011 rw - cifs //nas/caf\xe9 rw
"""
LOCAL = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
REMOTE = b"1 0 0:30 / / rw - nfs4 nas:/ rw\n"


@contextmanager
def watching(
    folder: Path,
    *,
    quiet_seconds: float = 0.3,
    poll_seconds: float = 0.05,
    table: Callable[[], bytes] = lambda: LOCAL,
    notices: Callable[[], Notices] = Notices,
) -> Iterator[Callable[[], int]]:
    """Watch a folder; yield what waits for the next changes and counts them."""
    stop = threading.Event()
    # So that a test that waits in vain ends.
    timer = threading.Timer(20, stop.set)
    timer.start()
    ready = threading.Event()

    def mounts() -> Mounts:
        ready.set()
        return Mounts(table())

    watched = changes(
        folder,
        stop,
        quiet_seconds=quiet_seconds,
        poll_seconds=poll_seconds,
        mounts=mounts,
        notices=notices,
    )
    lines: list[int] = []
    came = threading.Condition()

    def run() -> None:
        for count in watched:
            with came:
                lines.append(count)
                came.notify()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    time.sleep(0.2)

    def next_count() -> int:
        with came:
            came.wait_for(lambda: lines, timeout=20)
            return lines.pop(0)

    yield next_count
    time.sleep(2 * quiet_seconds)
    stop.set()
    timer.cancel()
    thread.join()
    assert lines == []


@pytest.mark.parametrize(
    ("folder", "blind"),
    [
        ("/home/me", False),
        ("/mnt/films", True),
        ("/mnt/films/new", True),
        ("/mnt/films/local/a", False),
        ("/mnt/my drive/a", True),
        ("/mnt/filmsother", False),
        (os.fsdecode(b"/mnt/caf\xe9\t/a"), True),
    ],
)
def test_network_folders_are_polled(folder: str, blind: bool) -> None:
    """Where changes by others are not told of, the watcher looks by itself."""
    assert is_blind(Mounts(MOUNTS).holding(folder)) is blind


@pytest.mark.slow
@pytest.mark.parametrize("table", [LOCAL, REMOTE], ids=["told", "polled"])
def test_new_changed_and_deleted_videos_are_noticed(
    tmp_path: Path, table: bytes
) -> None:
    """A video that comes, changes or goes is a change; another file is none."""
    with watching(tmp_path, table=lambda: table) as next_count:
        (tmp_path / "notes.txt").write_text("no video")
        (tmp_path / "a.mp4").write_bytes(b"video")
        assert next_count() == 1
        (tmp_path / "a.mp4").write_bytes(b"another video")
        (tmp_path / "b.mp4").write_bytes(b"video")
        assert next_count() == 2
        (tmp_path / "b.mp4").unlink()
        assert next_count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("table", [LOCAL, REMOTE], ids=["told", "polled"])
def test_a_file_that_is_written_for_long_is_reported_once(
    tmp_path: Path, table: bytes
) -> None:
    """Changes are told after a quiet period, not while they go on."""
    with watching(
        tmp_path, quiet_seconds=1, poll_seconds=0.8, table=lambda: table
    ) as next_count:
        with (tmp_path / "a.mp4").open("wb") as file:
            for _ in range(30):
                file.write(b"part")
                file.flush()
                time.sleep(0.1)
        written_until = time.monotonic()
        count = next_count()
        reported_at = time.monotonic()

    assert count == 1
    assert reported_at - written_until > 0.5


def test_changes_are_reported_together_when_it_is_quiet() -> None:
    """The period begins anew with each change; then each path counts once."""
    now = 0.0
    changed = QuietPeriod(lambda: now)
    lines = []
    for second in range(40):
        now = float(second)
        if second in (0, 5, 9, 14):
            changed.add({"a", str(second)})
        lines.append((second, changed.take(10)))

    assert [(s, count) for s, count in lines if count] == [(24, 5)]


def test_finished_files_do_not_wait_for_ever() -> None:
    """Where something is always written, what is quiet is told after 30 periods."""
    now = 0.0
    changed = QuietPeriod(lambda: now)
    changed.add({"done"})
    lines = []
    for second in range(700):
        now = float(second)
        changed.add({"endless"})
        lines.append((second, changed.take(10)))
    now += 10

    assert [(s, count) for s, count in lines if count] == [(300, 1)]
    assert changed.take(10) == 1


@pytest.mark.slow
def test_an_unreadable_folder_hides_no_other(tmp_path: Path) -> None:
    """Folders such as lost+found are left out; all others are watched."""
    folders = [tmp_path / name for name in ("a", "lost+found", "z", "z/deep")]
    for folder in folders:
        folder.mkdir()

    class Refusing(Notices):
        def watch(self, folder: str) -> int:
            if folder.endswith("lost+found"):
                raise PermissionError(13, "Permission denied", folder)
            return super().watch(folder)

    with watching(tmp_path, notices=Refusing) as next_count:
        for folder in folders:
            (folder / "a.mp4").write_bytes(b"video")
        assert next_count() == 3


@pytest.mark.slow
def test_folders_that_come_later_are_watched(tmp_path: Path) -> None:
    """Made, or moved here with their videos; what was moved away no longer is."""
    folder, outside = tmp_path / "films", tmp_path / "outside"
    for path in (folder, outside / "moved" / "deep"):
        path.mkdir(parents=True)
    (outside / "moved" / "deep" / "a.mp4").write_bytes(b"video")
    with watching(folder) as next_count:
        (folder / "new").mkdir()
        (outside / "moved").rename(folder / "moved")
        assert next_count() == 1
        (folder / "new" / "b.mp4").write_bytes(b"video")
        (folder / "moved" / "deep" / "c.mp4").write_bytes(b"video")
        assert next_count() == 2
        (folder / "moved").rename(outside / "moved")
        assert next_count() == 1
        (outside / "moved" / "deep" / "d.mp4").write_bytes(b"video")


@pytest.mark.slow
def test_a_replaced_folder_is_watched_on(tmp_path: Path) -> None:
    """Renamed away and made anew, it counts as changed, and so does what comes."""
    folder = tmp_path / "films"
    folder.mkdir()
    with watching(folder) as next_count:
        folder.rename(tmp_path / "old")
        assert next_count() == 1
        folder.mkdir()
        assert next_count() == 1
        (folder / "a.mp4").write_bytes(b"video")
        assert next_count() == 1


@pytest.mark.slow
def test_a_folder_that_is_made_anew_at_once_is_watched_on(tmp_path: Path) -> None:
    """The new folder may have the inode number of the one that was deleted."""
    folder = tmp_path / "films"
    folder.mkdir()
    with watching(folder) as next_count:
        shutil.rmtree(folder)
        folder.mkdir()
        assert next_count() == 1
        (folder / "a.mp4").write_bytes(b"video")
        assert next_count() == 1


@pytest.mark.slow
def test_links_made_later_are_not_followed(tmp_path: Path) -> None:
    """As in a scan: a link to a folder is none, one to a video is a change."""
    folder, outside = tmp_path / "films", tmp_path / "outside"
    for path in (folder, outside):
        path.mkdir()
    (outside / "a.mp4").write_bytes(b"video")
    with watching(folder) as next_count:
        (folder / "link").symlink_to(outside)
        (folder / "loop").symlink_to(folder)
        (outside / "a.mp4").write_bytes(b"another")
        (folder / "a.mp4").symlink_to(outside / "a.mp4")
        assert next_count() == 1


@pytest.mark.slow
def test_what_is_mounted_below_later_is_watched(tmp_path: Path) -> None:
    """A mount is a change; a blind one below is polled while the rest is told of."""
    (tmp_path / "pool" / "deep").mkdir(parents=True)
    pool = b"2 1 0:40 / %b rw - fuse.mergerfs 1:2 rw\n" % os.fsencode(tmp_path / "pool")
    is_mounted = threading.Event()
    watched: list[str] = []

    class Noting(Notices):
        def watch(self, folder: str) -> int:
            watched.append(folder)
            return super().watch(folder)

    def table() -> bytes:
        return LOCAL + pool if is_mounted.is_set() else LOCAL

    with watching(tmp_path, table=table, notices=Noting) as next_count:
        watched.clear()
        is_mounted.set()
        assert next_count() == 1
        (tmp_path / "pool" / "deep" / "a.mp4").write_bytes(b"video")
        (tmp_path / "b.mp4").write_bytes(b"video")
        assert next_count() == 2

    assert watched == [str(tmp_path)]


@pytest.mark.slow
def test_real_mounts_are_noticed(tmp_path: Path) -> None:
    """A file system that is mounted below, and one over the folder itself.

    Where a test may not mount, folders are exchanged.
    """
    (tmp_path / "films" / "below").mkdir(parents=True)
    own = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs $0", str(tmp_path)]
    may_mount = not subprocess.run(own, check=False, capture_output=True).returncode
    mount = "mount -t tmpfs tmpfs" if may_mount else "rm -rf"
    steps = f"""
        {sys.executable} -m tests.support.programs \
            watch_folder {tmp_path}/films & sleep 2
        {mount} films/below && mkdir -p films/below && touch films/below/a.mp4; sleep 2
        {mount} films && mkdir -p films && sleep 2 && touch films/b.mp4; sleep 1
        kill $!; wait
    """
    shell = ["unshare", "--mount", "sh", "-c"] if may_mount else ["sh", "-c"]
    lines = subprocess.run(
        [*shell, steps],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(tmp_path / "films")

    assert lines.stdout.splitlines()[0] == "watching"
    assert len(lines.stdout.splitlines()) >= 4, lines.stderr


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
    """Out of inotify's means: the error holds the very line that mends it."""
    for number in range(20):
        (tmp_path / str(number)).mkdir()
    name, _, value = limit.partition("=")
    watch = [
        *(sys.executable, "-m", "tests.support.programs"),
        *("watch_folder", str(tmp_path)),
    ]
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


class Broken(Notices):
    """A system that fails otherwise."""

    def __init__(self) -> None:
        raise OSError(19, "No such device", "inotify")


@pytest.mark.parametrize(
    ("notices", "words"),
    [
        (NoFoldersLeft, MORE_WATCHES),
        (NoProgramsLeft, MORE_INSTANCES),
        (Broken, "No such device"),
    ],
)
def test_trouble_of_the_watcher_is_one_sentence(
    tmp_path: Path, notices: Callable[[], Notices], words: str
) -> None:
    """Whatever the system refuses is told with what to do, not as a traceback."""
    with pytest.raises(ConfigurationError) as caught:
        next(
            changes(
                tmp_path,
                threading.Event(),
                mounts=lambda: Mounts(LOCAL),
                notices=notices,
            )
        )

    assert words in str(caught.value)
