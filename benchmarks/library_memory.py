"""Scans a simulated tree and prints the most memory it took, in megabytes."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.measurement import peak_megabytes
from stashhog_core.db.session import Database
from stashhog_core.file_index import job
from stashhog_core.file_index.walk import Walk
from stashhog_core.params import DirectoryScanParams
from stashhog_core.progress import Progress
from stashhog_core.settings import LibrarySettings, Settings

_BLOCK = 5000
_PROBE_SECONDS = 60


def main(library: Path, home: Path, url: str, files: int) -> float:
    """Index the files, probe some, then compare them all, unchanged."""

    def simulated(
        folder: Path,
        _roots: Any,
        walk: Walk,
        _report: Any,
        checkpoint: Callable[[int], None],
        **_options: Any,
    ) -> Iterator[bytes]:
        for start in range(0, files, _BLOCK):
            checkpoint(walk.files)
            yield "".join(
                f"{folder}/{n // 1000:05}/simulated-scene-{n:07}.mp4\t1\t{n}\t7\t8\t9\n"
                for n in range(start, start + _BLOCK)
            ).encode()
            walk.files += _BLOCK
        walk.finished = True

    job.list_videos = simulated  # type: ignore[assignment]
    settings = Settings(
        home=home, library=LibrarySettings(allowed_scan_roots=(library,))
    )
    database = Database(url)
    for limit in (_PROBE_SECONDS, 3600):
        params = DirectoryScanParams(path=str(library), timeout_seconds=limit)
        result = job.scan_directory(settings, database, params, Progress())
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "UPDATE library_file SET state = 'ok', thumbnail_path = 'x'"
            )
    assert result.status == "completed"
    database.close()
    return peak_megabytes()


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
