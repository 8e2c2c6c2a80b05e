"""Watching a folder for changes."""

import os
import shutil
import subprocess
import sys
import threading
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
    table: Callable[[], bytes] = lambda: LOCAL,
    notices: Callable[[], Notices] = Notices,
) -> Iterator[Callable[[], int]]:
    """Watch a folder; yield what waits for the next changes and counts them.

    What a test does before it waits is told together, however long that took: this
    very thread looks for it.
    """
    stop = threading.Event()
    watched = changes(
        folder,
        stop,
        quiet_seconds=0.3,
        poll_seconds=0.05,
        mounts=lambda: Mounts(table()),
        notices=notices,
    )
    assert next(watched) == 0
    yield lambda: next(watched)
    threading.Timer(0.6, stop.set).start()
    assert list(watched) == []


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


class Writing:
    """A clock by which a file is written to every 20 milliseconds, for 0.6 seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.parts = 30
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.02
        if self.parts:
            self.parts -= 1
            with self._path.open("ab") as file:
                file.write(b"part")
        return self.now


@pytest.mark.slow
@pytest.mark.parametrize("table", [LOCAL, REMOTE], ids=["told", "polled"])
def test_a_file_that_is_written_for_long_is_reported_once(
    tmp_path: Path, table: bytes
) -> None:
    """Changes are told after a quiet period, not while they go on."""
    stop, clock = threading.Event(), Writing(tmp_path / "a.mp4")
    watched = changes(
        tmp_path,
        stop,
        quiet_seconds=0.2,
        poll_seconds=0.01,
        mounts=lambda: Mounts(table),
        clock=clock,
    )
    assert next(watched) == 0

    count = next(watched)

    assert (count, clock.parts) == (1, 0)
    assert clock.now >= 0.6 + 0.2
    threading.Timer(1, stop.set).start()
    assert list(watched) == []


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
    films, out = tmp_path / "films", tmp_path / "out"
    (films / "below").mkdir(parents=True)
    own = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs $0", str(tmp_path)]
    may_mount = not subprocess.run(own, check=False, capture_output=True).returncode
    if may_mount:
        exchange_below = "mount -t tmpfs tmpfs below && told && touch below/a.mp4"
        exchange = f"cd / && mount -t tmpfs tmpfs {films}"
    else:
        exchange_below = "rm -rf below && mkdir below && touch below/a.mp4"
        exchange = f"cd / && rm -rf {films} && mkdir {films}"
    steps = f"""
        lines=0
        told() {{
            lines=$((lines + 1))
            until [ $(wc -l < {out}) -ge $lines ] || ! kill -0 $watcher; do
                sleep 0.1
            done
        }}
        {sys.executable} -m tests.support.programs watch_folder {films} > {out} &
        watcher=$!
        told && cd {films}
        {exchange_below} && told
        {exchange} && told
        touch {films}/b.mp4 && told
        kill $watcher; wait
    """
    shell = ["unshare", "--mount", "sh", "-c"] if may_mount else ["sh", "-c"]
    ended = subprocess.run(
        [*shell, steps],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    output = out.read_text().split()
    shutil.rmtree(films)

    assert output[0] == "watching"
    assert output[1:] == ["1"] * (4 if may_mount else 3), ended.stderr


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
