"""Files that nobody vouches for: each is counted, none stops the scan."""

import functools
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pebble
import psutil
import pytest
from sqlalchemy import func, select, text

from stashhog_core.db.models import LibraryFile
from stashhog_core.db.session import Database
from stashhog_core.errors import JobCancelled, JobError
from stashhog_core.file_index import shards
from stashhog_core.file_index.pool import ProbePool
from stashhog_core.file_index.probe import ProbeRequest, Wanted
from stashhog_core.paths import from_text, to_text
from stashhog_core.progress import Progress
from tests.support import poisoned
from tests.support.library import Library
from tests.support.media import write_colours, write_film, write_video
from tests.support.processes import kill_all, workers_of_pools
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

MUTANTS = 2000


@pytest.fixture
def library(tmp_path: Path, database: Database) -> Library:
    folder = tmp_path / "library"
    folder.mkdir()
    return Library(folder, tmp_path / "home", database, tmp_path / "clips")


def request(path: Path, number: int = 1) -> ProbeRequest:
    facts = path.stat()
    return ProbeRequest(number, to_text(str(path)), facts.st_size, facts.st_mtime_ns)


def test_broken_content_is_unreadable_once(library: Library) -> None:
    """Empty, random, cut and huge sparse files are errors, and not opened again."""
    good = library.video("good.mp4", 1).read_bytes()
    broken = {
        "empty.mp4": b"",
        "random.mkv": random.Random(1).randbytes(100_000),
        "cut.mp4": good[: len(good) // 3],
        "text.avi": b"#EXTM3U\nhttp://127.0.0.1:9/x\n",
        "list.ts": b"ffconcat version 1.0\nfile good.mp4\n",
    }
    for name, content in broken.items():
        (library.folder / name).write_bytes(content)
    with (library.folder / "sparse.mp4").open("wb") as sparse:
        sparse.truncate(10 * 2**30)

    first = library.scan()
    second = library.scan()

    failed = {Path(error.item).name for error in first.errors}
    assert failed == {*broken, "sparse.mp4"}
    assert (first.new, first.unreadable) == (1, 6)
    assert first.status == "completed_with_errors"
    assert (second.skipped, second.error_count, second.unreadable) == (7, 0, 0)


def test_what_is_no_file_is_never_opened(library: Library) -> None:
    """Pipes, devices and links that loop or lead out are counted and left alone."""
    library.video("good.mp4", 1)
    outside = library.video("../outside.mp4", 2)
    os.mkfifo(library.folder / "pipe.mp4")
    (library.folder / "zero.mp4").symlink_to("/dev/zero")
    (library.folder / "out.mp4").symlink_to(outside)
    (library.folder / "broken.mp4").symlink_to("nowhere.mp4")
    (library.folder / "self.mp4").symlink_to("self.mp4")
    (library.folder / "loop").symlink_to(library.folder)
    (library.folder / "inside.mp4").symlink_to("good.mp4")

    result = library.scan()

    assert result.new == 2
    assert set(library.rows()) == {"good.mp4", "inside.mp4"}
    assert result.links_skipped >= 4
    assert "pipe.mp4" in {Path(error.item).name for error in result.errors}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"caf\xe9.mp4", id="latin-1"),
        pytest.param(b"tab\there\nnewline\r.mp4", id="control characters"),
        pytest.param(rb"back\slash\x41.mp4", id="backslashes"),
        pytest.param("\u202e\U0001f600\u0301.mp4".encode(), id="odd unicode"),
        pytest.param(b"'; DROP TABLE library_file; --.mp4", id="statement"),
        pytest.param(b" .MP4", id="blank"),
        pytest.param(b"%_\\N.mp4", id="copy's null"),
    ],
)
def test_any_name_is_indexed(library: Library, name: bytes) -> None:
    """Whatever bytes a name is of, the file is read, known again and moved."""
    video = library.video("a.mp4", 1)
    video.rename(library.folder / os.fsdecode(name))

    first = library.scan()
    second = library.scan()

    (stored,) = library.rows()
    assert (first.new, first.error_count) == (1, 0)
    assert (second.skipped, second.missing) == (1, 0)
    assert os.fsencode(from_text(stored)) == name


def test_deep_nesting_is_bounded(library: Library) -> None:
    """Folders are followed as far as a path can be indexed; then it is an error."""
    library.video("good.mp4", 1)
    here = os.open(library.folder, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("d" * 200, dir_fd=here)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)

    result = library.scan()

    assert result.new == 1
    assert [error.reason for error in result.errors] == [
        "The path is longer than 2500 bytes"
    ]


def test_huge_pictures_are_not_decoded(library: Library) -> None:
    """A bomb's facts are kept; its picture is refused, which is a warning."""
    path = library.folder / "bomb.avi"
    subprocess.run(
        [sys.executable, "-c", _BOMB, str(path)], check=True, capture_output=True
    )

    result = library.scan()

    row = library.rows()["bomb.avi"]
    assert (row.state, row.width, row.thumbnail_path) == ("ok", 16000, None)
    assert [Path(warning.item).name for warning in result.warnings] == ["bomb.avi"]
    assert "too large" in result.warnings[0].reason
    assert result.status == "completed"


_BOMB = """
import sys, av
from fractions import Fraction
with av.open(sys.argv[1], "w") as container:
    stream = container.add_stream("rawvideo", rate=1)
    stream.width = stream.height = 16
    stream.pix_fmt = "yuv420p"
    frame = av.VideoFrame(16, 16, "yuv420p")
    for packet in [*stream.encode(frame), *stream.encode()]:
        container.mux(packet)
data = open(sys.argv[1], "rb").read()
head = data.index(b"strf") + 12
side = (16000).to_bytes(4, "little")
data = data[:head] + side + side + data[head + 8:]
open(sys.argv[1], "wb").write(data)
"""


def test_file_that_kills_its_reader_is_remembered(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crash, hang, memory: the file is noted and not tried until it changes.

    An error that nobody foresaw may be of the program: such a file is tried again.
    """
    names = ["crash.mp4", "hang.mp4", "hog.mp4", "raise.mp4"]
    for number, name in enumerate([*names, "a.mp4", "z.mp4"]):
        library.video(name, number)
    monkeypatch.setattr(
        shards, "ProbePool", functools.partial(ProbePool, probe=poisoned.probe)
    )

    first = library.scan(workers=2, file_timeout_seconds=6)
    second = library.scan(workers=2, file_timeout_seconds=6)
    library.video("crash.mp4", 9)
    third = library.scan(workers=2, file_timeout_seconds=6)

    reasons = {Path(error.item).name: error.reason for error in first.errors}
    assert set(reasons) == set(names)
    assert "SIGSEGV" in reasons["crash.mp4"]
    assert "longer than 6 s" in reasons["hang.mp4"]
    assert "memory" in reasons["hog.mp4"]
    assert "of all things" in reasons["raise.mp4"]
    assert first.new == 2
    assert (second.skipped, second.error_count, second.pending) == (5, 1, 1)
    assert (third.unreadable, third.skipped, third.pending) == (1, 4, 1)
    assert workers_of_pools() == []


@pytest.mark.parametrize(
    ("name", "problem", "is_mended_by_time"),
    [
        pytest.param("late-picture.mp4", "longer than", True, id="out of time"),
        pytest.param("hang-picture.mp4", "longer than 6 s", True, id="hangs"),
        pytest.param("crash-picture.mp4", "SIGSEGV", False, id="crashes"),
    ],
)
def test_facts_are_kept_without_the_pictures(
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    problem: str,
    is_mended_by_time: bool,
) -> None:
    """What the headers say is stored, with one warning that names all that is lacking.

    A scan that allows a file no more time does not try again; one that does, tries.
    """
    library.video(name, 1)
    wanted = {"phashes": True, "sprites": True}
    with monkeypatch.context() as patched:
        patched.setattr(
            shards, "ProbePool", functools.partial(ProbePool, probe=poisoned.probe)
        )
        first = library.scan(file_timeout_seconds=6, **wanted)
        row = library.rows()[name]
    second = library.scan(file_timeout_seconds=6, **wanted)
    third = library.scan(file_timeout_seconds=60, **wanted)

    assert (first.new, first.error_count, first.pending) == (1, 0, 0)
    assert (row.state, row.width, row.video_codec) == ("ok", 160, "h264")
    assert (row.thumbnail_path, row.sprite_path, row.phash) == (None, None, None)
    (warning,) = first.warnings
    assert "No thumbnail, sprites or perceptual hash: " in warning.reason
    assert problem in warning.reason
    assert ("file_timeout_seconds" in warning.reason) == is_mended_by_time
    assert (second.skipped, second.updated, second.warnings) == (1, 0, ())
    assert third.updated == is_mended_by_time
    assert (library.rows()[name].phash is not None) == is_mended_by_time
    assert workers_of_pools() == []


def test_an_option_that_failed_leaves_the_others_to_be_tried(library: Library) -> None:
    """A video without a usable picture gets what is asked for later, once."""
    write_colours(library.folder / "narrow.mp4", [(2, (0, 0, 200))], height=2048)

    scans = [
        library.scan(phashes=True, thumbnails=False),
        library.scan(phashes=True, sprites=True),
        library.scan(phashes=True, sprites=True),
    ]

    row = library.rows()["narrow.mp4"]
    assert [scan.updated for scan in scans] == [0, 1, 0]
    assert "narrow" in scans[0].warnings[0].reason
    assert (row.phash, row.thumbnail_path is None, row.sprite_path is None) == (
        None,
        False,
        False,
    )


@pytest.mark.parametrize("name", ["told.mp4", "told-hard.mp4"])
def test_file_whose_reader_was_stopped_is_not_to_blame(
    library: Library, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A reader that somebody ended says nothing of its file: the next scan reads it.

    A person ends it, or the system, which kills where memory is short.
    """
    library.video(name, 1)
    library.video("a.mp4", 2)
    with monkeypatch.context() as patched:
        patched.setattr(
            shards, "ProbePool", functools.partial(ProbePool, probe=poisoned.probe)
        )
        first = library.scan()

    second = library.scan()

    assert (first.new, first.unreadable, first.pending) == (1, 0, 1)
    assert {Path(error.item).name for error in first.errors} == {name}
    assert (second.new, second.skipped, second.error_count) == (1, 1, 0)


def test_file_is_blamed_at_the_second_end_only(tmp_path: Path) -> None:
    """A reader that died once, killed by whatever, proves nothing: it is read again."""
    video = write_video(tmp_path / "fainting.mp4")
    with ProbePool(Wanted(tmp_path), 1, probe=poisoned.probe) as pool:
        (outcome,) = pool.probe([request(video)], lambda: None)

    assert video.with_suffix(".once").exists()
    assert outcome.verdict == "video"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("when", ["idle", "starting"])
def test_what_happens_to_the_pool_says_nothing_of_a_file(
    tmp_path: Path, how: signal.Signals, when: str
) -> None:
    """Readers that end while they read no file break the pool: a new one reads all.

    A service manager that signals a whole group ends idle and starting readers.
    """
    videos = [write_video(tmp_path / f"{n}.mp4", seconds=0.5) for n in range(6)]
    requests = [request(path, number) for number, path in enumerate(videos)]
    art = tmp_path / "art"
    ending = poisoned.EndsReaders(art, how=how, most=2)
    with ProbePool(Wanted(art) if when == "idle" else ending, 2) as pool:
        outcomes = list(pool.probe(requests[:1], lambda: None))
        if when == "idle":
            kill_all(workers_of_pools(), how)
        outcomes += pool.probe(requests[1:], lambda: None)

    assert len(list(art.glob("*.ended"))) == (0 if when == "idle" else 2)
    assert [(o.id, o.verdict) for o in outcomes] == [(n, "video") for n in range(6)]
    assert workers_of_pools() == []


def test_error_that_cannot_travel_is_one_files(tmp_path: Path) -> None:
    """An exception that does not survive pickling leaves the other files alone."""
    names = ["a.mp4", "unpicklable.mp4", "z.mp4"]
    videos = [write_video(tmp_path / name, seconds=0.5) for name in names]
    requests = [request(path, number) for number, path in enumerate(videos)]
    with ProbePool(Wanted(tmp_path / "art"), 1, probe=poisoned.probe) as pool:
        outcomes = list(pool.probe(requests, lambda: None))

    assert [o.verdict for o in outcomes] == ["video", "failed", "video"]
    assert "it travels badly" in (outcomes[1].problem or "")


def test_pools_that_always_break_end_the_scan(tmp_path: Path) -> None:
    """Where no reader can live, the job fails in words and blames no file."""
    videos = [write_video(tmp_path / f"{n}.mp4", seconds=0.5) for n in range(6)]
    requests = [request(path, number) for number, path in enumerate(videos)]
    outcomes = []

    with (
        ProbePool(poisoned.EndsReaders(tmp_path), 1) as pool,
        pytest.raises(JobError, match="end repeatedly"),
    ):
        outcomes.extend(pool.probe(requests, lambda: None))

    assert {outcome.verdict for outcome in outcomes} <= {"interrupted"}
    assert workers_of_pools() == []


def test_what_the_system_refuses_is_not_remembered(library: Library) -> None:
    """A full or broken disk under the pictures is no fault of a video's content."""
    library.video("a.mp4", 1)
    library.home.mkdir()
    in_the_way = library.home / "library"
    in_the_way.write_text("no folder")

    first = library.scan()
    in_the_way.unlink()
    second = library.scan()

    assert (first.new, first.unreadable, first.pending) == (0, 0, 1)
    assert first.error_count == 1
    assert "the next scan reads the file again" in first.errors[0].reason
    assert (second.new, second.error_count) == (1, 0)
    assert library.rows()["a.mp4"].thumbnail_path is not None


def test_what_the_database_refuses_is_one_files(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that no column takes is an error of its file; the batch is kept."""
    for number, name in enumerate(["a.mp4", "unstorable.mp4", "z.mp4"]):
        library.video(name, number)
    monkeypatch.setattr(
        shards, "ProbePool", functools.partial(ProbePool, probe=poisoned.probe)
    )

    result = library.scan()

    assert (result.new, result.pending, result.error_count) == (2, 1, 1)
    assert Path(result.errors[0].item).name == "unstorable.mp4"
    assert "cannot be stored" in result.errors[0].reason


def test_streams_without_a_decoder_are_indexed(library: Library) -> None:
    """Sound or a picture that nothing here can decode leaves the rest of the facts."""
    for name, old, new in (("a", b"mp4a", b"mhm1"), ("b", b"avc1", b"dav1")):
        film = write_film(library.folder / f"{name}.mp4")
        film.write_bytes(film.read_bytes().replace(old, new))

    first = library.scan(phashes=True, sprites=True)
    second = library.scan(phashes=True, sprites=True)

    rows = library.rows()
    assert (first.new, first.error_count) == (2, 0)
    assert {row.state for row in rows.values()} == {"ok"}
    assert rows["a.mp4"].thumbnail_path is not None
    assert (rows["b.mp4"].width, rows["b.mp4"].video_codec) == (None, None)
    assert "no decoder" in (rows["b.mp4"].problem or "")
    assert second.skipped == 2


def test_readers_are_no_part_of_the_scans_group(tmp_path: Path) -> None:
    """Ctrl-C and a cancellation reach a whole group: the readers are ended by us."""
    with ProbePool(Wanted(tmp_path), 1) as pool:
        list(pool.probe([request(write_video(tmp_path / "a.mp4"))], lambda: None))
        groups = {os.getpgid(worker.pid) for worker in workers_of_pools()}

    assert groups
    assert os.getpgid(0) not in groups


def test_limit_of_a_file_includes_the_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that hangs where no handler runs is gone within the file's limit.

    The pool is given what is left of it after the longest time that a kill takes.
    """
    limits: list[float] = []
    schedule = pebble.ProcessPool.schedule

    def noting(pool: Any, *args: Any, timeout: float, **options: Any) -> Any:
        limits.append(timeout)
        return schedule(pool, *args, timeout=timeout, **options)

    monkeypatch.setattr(pebble.ProcessPool, "schedule", noting)
    hanging = tmp_path / "hang.mp4"
    hanging.write_bytes(b"x")
    wanted = Wanted(tmp_path, file_limit_seconds=6)
    with ProbePool(wanted, 1, probe=poisoned.probe) as pool:
        (outcome,) = pool.probe([request(hanging)], lambda: None)

    assert limits
    assert max(limits) + pebble.CONSTS.term_timeout < 6
    assert outcome.verdict == "unreadable"
    assert workers_of_pools() == []


def test_readers_die_with_their_parent(tmp_path: Path) -> None:
    """A scan that is killed leaves no reader behind, not even one that hangs."""
    hanging = tmp_path / "hang.mp4"
    hanging.write_bytes(b"x")
    parent = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.support.programs"),
            *("probe_hanging", str(hanging)),
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"probing\n"
    wait_until(hanging.with_suffix(".begun").exists, "the reader at its file")
    children = workers_of_pools(parent.pid)

    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)

    assert children
    assert alive == []


def test_vanishing_and_changing_files(library: Library) -> None:
    """A file gone before it is opened leaves no row; one that changes is read later."""
    vanishing = library.video("a-vanishing.mp4", 1)
    changing = library.video("b-changing.mp4", 2)

    def meddle(fraction: float | None, message: str) -> None:
        if message.endswith("to probe"):
            vanishing.unlink(missing_ok=True)
            changing.write_bytes(changing.read_bytes() + b"more")

    first = library.scan(Progress(meddle))
    second = library.scan()

    assert "The file changed" in first.errors[0].reason
    assert (first.new, first.pending) == (0, 1)
    assert (second.new, second.missing) == (1, 0)
    assert set(library.rows()) == {"b-changing.mp4"}


def test_folder_of_many_files(library: Library) -> None:
    """100,000 files in one folder are listed without keeping them in memory.

    That PostgreSQL last saw an empty index does not make it compare each with each.
    """
    with library.database.transaction() as session:
        session.execute(
            text(
                "UPDATE pg_class SET relpages = 9, reltuples = 0 "
                "WHERE relname = 'library_file'"
            )
        )
    for number in range(100_000):
        (library.folder / f"{number:06}.mp4").touch()
    stop = threading.Event()

    def stop_before_the_probes(fraction: float | None, message: str) -> None:
        if message.endswith("files to probe"):
            stop.set()

    tracemalloc.start()
    with pytest.raises(JobCancelled):
        library.scan(Progress(stop_before_the_probes, stop=stop))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    with library.database.transaction() as session:
        listed = session.scalar(select(func.count()).select_from(LibraryFile))
    assert listed == 100_000
    assert peak_bytes < 10_000_000


def test_fuzzed_videos_stop_nothing(tmp_path: Path) -> None:
    """2,000 mutants of valid files: each has an outcome, no reader is left behind."""
    folder = tmp_path / "mutants"
    folder.mkdir()
    dice = random.Random(20261121)
    seeds = [
        write_video(
            tmp_path / f"seed{suffix}", seconds=0.4, width=64, height=48, seed=1
        ).read_bytes()
        for suffix in (".mp4", ".mkv", ".avi", ".ts")
    ]
    requests = []
    for number in range(MUTANTS):
        path = folder / f"{number}.mp4"
        path.write_bytes(_mutant(dice, dice.choice(seeds)))
        requests.append(request(path, number))
    thumbnails = Wanted(tmp_path / "art", file_limit_seconds=8)
    everything = replace(thumbnails, sprites=True, phashes=True)
    outcomes = []
    # A file costs tens of times as much with all that can be made of it.
    for wanted, part in (
        (thumbnails, requests[: -MUTANTS // 8]),
        (everything, requests[-MUTANTS // 8 :]),
    ):
        with ProbePool(wanted, 2) as pool:
            outcomes += pool.probe(part, lambda: None)

    assert [outcome.id for outcome in outcomes] == list(range(MUTANTS))
    readable = sum(outcome.verdict == "video" for outcome in outcomes)
    # Mutants that no reader takes would prove nothing.
    assert MUTANTS / 4 < readable < MUTANTS
    assert workers_of_pools() == []


def _mutant(dice: random.Random, content: bytes) -> bytes:
    """Flip, overwrite, cut out, repeat or cut off parts of a file."""
    mutant = bytearray(content)
    for _ in range(dice.randint(1, 8)):
        place = dice.randrange(len(mutant))
        # Headers are where readers go wrong.
        if dice.random() < 0.5:
            place = dice.randrange(min(600, len(mutant)))
        kind = dice.randrange(5)
        if kind == 0:
            mutant[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            mutant[place : place + 4] = dice.choice(
                [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", dice.randbytes(4)]
            )
        elif kind == 2:
            del mutant[place : place + dice.randint(1, 64)]
        elif kind == 3:
            mutant[place:place] = mutant[place : place + dice.randint(1, 256)]
        else:
            del mutant[max(16, place) :]
        if len(mutant) < 16:
            break
    return bytes(mutant)
