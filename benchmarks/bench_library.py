"""The directory scan against ffprobe and ffmpeg, against `find`, and its memory."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import psycopg

from benchmarks.measurement import Measurement, seconds
from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.file_index.job import scan_directory
from stashhog_core.params import DirectoryScanParams
from stashhog_core.progress import Progress
from stashhog_core.settings import LibrarySettings, Settings

NEW_FILES = 1000
# The seed's way takes minutes for all of them, and each takes as long as the other.
SEED_FILES = 100
UNCHANGED_FILES = 200_000
FOLDERS = 200


def measure() -> list[Measurement]:
    """Return the ratios of the goal, and the memory for a million files."""
    with _place() as place:
        return [_new_files(place), _unchanged_files(place), *_memory(place)]


class _Place:
    """A folder with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library = folder / "library"
        self.library.mkdir()
        self.url = start_embedded(folder, "bench")
        self.database = Database(self.url)
        migrate(self.database)

    def scan(self, folder: Path) -> None:
        settings = Settings(
            home=self.folder,
            library=LibrarySettings(allowed_scan_roots=(self.library,)),
        )
        params = DirectoryScanParams(path=str(folder), timeout_seconds=3600)
        result = scan_directory(settings, self.database, params, Progress())
        assert result.status == "completed", result

    def pretend_known(self) -> None:
        """Mark all listed files as probed."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "UPDATE library_file SET state = 'ok', thumbnail_path = 'x'"
            )
            connection.execute("VACUUM ANALYZE library_file")


@contextmanager
def _place() -> Iterator[_Place]:
    folder = Path(tempfile.mkdtemp(prefix="stashhog-bench-"))
    try:
        place = _Place(folder)
        yield place
        place.database.close()
    finally:
        stop_embedded(folder)
        shutil.rmtree(folder)


def _new_files(place: _Place) -> Measurement:
    folder = place.library / "new"
    folder.mkdir()
    clip = _clip(place.folder / "clip.mp4")
    paths = [folder / f"{number:04}.mp4" for number in range(NEW_FILES)]
    for number, path in enumerate(paths):
        # Other content each, or the thumbnail would be made once.
        path.write_bytes(clip + number.to_bytes(8, "big"))
    with psycopg.connect(place.url) as connection:
        connection.execute("CREATE TABLE videos (path text PRIMARY KEY, facts jsonb)")
        connection.commit()
        theirs = seconds(
            lambda: [_seeds_way(connection, path) for path in paths[:SEED_FILES]]
        )
    ours = seconds(lambda: place.scan(folder))
    ratio = (theirs / SEED_FILES) / (ours / NEW_FILES)
    return Measurement(
        "directory scan, new files: the seed's way takes times as long",
        ratio,
        "x",
        30,
        "min",
    )


def _seeds_way(connection: psycopg.Connection, path: Path) -> None:
    """One ffprobe, then one ffmpeg, then one commit."""
    probed = subprocess.run(
        [
            *("ffprobe", "-v", "quiet", "-print_format", "json"),
            *("-show_format", "-show_streams", str(path)),
        ],
        capture_output=True,
        check=True,
    )
    subprocess.run(
        [
            *("ffmpeg", "-v", "error", "-y", "-ss", "1", "-i", str(path)),
            *("-frames:v", "1", "-vf", "scale=320:-1"),
            str(path.parent.parent / "seed.jpg"),
        ],
        capture_output=True,
        check=True,
    )
    facts = json.dumps(json.loads(probed.stdout))
    connection.execute("INSERT INTO videos VALUES (%s, %s)", [str(path), facts])
    connection.commit()


def _clip(path: Path) -> bytes:
    """Return a video of 4 seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(100):
            across = np.linspace(number, number + 200, 640, dtype=np.uint8)
            picture = np.broadcast_to(across[None, :, None], (360, 640, 3)).copy()
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def _unchanged_files(place: _Place) -> Measurement:
    folder = place.library / "unchanged"
    for number in range(FOLDERS):
        part = folder / f"{number:03}"
        part.mkdir(parents=True)
        for name in range(UNCHANGED_FILES // FOLDERS):
            (part / f"scene-{name:05}.mp4").touch()
    find = ["find", str(folder), "-printf", "%s %T@ %i\n"]
    _index_without_reading(place, folder)
    place.pretend_known()
    ours: list[float] = []
    theirs: list[float] = []
    # In turns, so that a disturbance meets both.
    for _ in range(4):
        theirs.append(
            seconds(lambda: subprocess.run(find, stdout=subprocess.DEVNULL, check=True))
        )
        ours.append(seconds(lambda: place.scan(folder)))
    return Measurement(
        f"directory scan, {UNCHANGED_FILES} unchanged files: times as long as find",
        min(ours) / min(theirs),
        "x",
        3,
        "max",
    )


def _index_without_reading(place: _Place, folder: Path) -> None:
    settings = Settings(
        home=place.folder, library=LibrarySettings(allowed_scan_roots=(place.library,))
    )
    params = DirectoryScanParams(path=str(folder), timeout_seconds=15)
    scan_directory(settings, place.database, params, Progress())


def _memory(place: _Place) -> list[Measurement]:
    small = _peak_megabytes(place, 100_000)
    large = _peak_megabytes(place, 1_000_000)
    return [
        Measurement(
            "directory scan, memory at 1,000,000 rows", large, "MB", 180, "max"
        ),
        Measurement(
            "directory scan, memory for ten times the rows",
            large / small,
            "x",
            1.2,
            "max",
        ),
    ]


def _peak_megabytes(place: _Place, files: int) -> float:
    """Return the most memory of a process that indexes and compares so many files."""
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute("TRUNCATE library_file")
    measured = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.library_memory"),
            *(str(place.library), str(place.folder), place.url, str(files)),
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(measured.stdout)
