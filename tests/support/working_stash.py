"""A stand-in whose jobs get on only as far as a test lets them."""

import threading
from pathlib import Path

from sandbox.stash.jobs import Job
from sandbox.stash.outputs import Outputs
from sandbox.stash.server import StandIn

_CHECK_SECONDS = 0.002
_FILES = """
SELECT scene_id, path, value FROM scenes_files JOIN files ON files.id = file_id
JOIN fingerprints USING (file_id) WHERE position = 0 AND type = 'oshash'
"""
_HASHED = """
SELECT 1 FROM scenes_files WHERE scene_id = ? AND NOT EXISTS (
    SELECT 1 FROM fingerprints
    WHERE fingerprints.file_id = scenes_files.file_id AND type = 'phash')
"""


class Worker:
    """Holds each item of the jobs of a stand-in until there is leave for it."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._changed = threading.Condition()
        self._leave = 0
        self._holds: Job | None = None

    def hold(self, job: Job) -> None:
        """Hold an item of a job: to be called before each."""
        with self._changed:
            self._holds = job
            while self._leave == 0 and not job.killed.is_set():
                self._changed.wait(_CHECK_SECONDS)
            self._leave = max(0, self._leave - 1)
            self._holds = None

    def work(self, items: int) -> None:
        """Have so many items done, or as many as there are, and return after that."""
        with self._changed:
            self._leave = items
            while not self._rests():
                self._changed.wait(_CHECK_SECONDS)
            self._leave = 0

    def _rests(self) -> bool:
        if self._leave == 0 and self._holds is not None:
            return True
        return self._stand_in.jobs.queue() is None


def files(stand_in: StandIn) -> dict[int, tuple[Path, str]]:
    """Return path and content hash of the first file of each scene that has one."""
    rows = stand_in.store.rows(_FILES)
    return {scene_id: (Path(path), oshash) for scene_id, path, oshash in rows}


def lacks_media(
    stand_in: StandIn, scene_id: int, oshash: str, markers: list[float]
) -> list[str]:
    """Return which media Stash has not made of a file: none if it has made all.

    Looked for is what a generate job makes by default, but for markers that begin at
    other times than these.
    """
    outputs = Outputs(stand_in.store.generated)
    wanted = {
        "cover": outputs.cover(scene_id),
        "preview": outputs.preview(oshash),
        "sprite": outputs.sprite(oshash),
        "vtt": outputs.vtt(oshash),
    }
    for seconds in markers:
        for suffix in (".mp4", ".jpg"):
            path = outputs.marker(oshash, seconds, suffix)
            wanted[f"marker {seconds}{suffix}"] = path
    lacking = [kind for kind, path in wanted.items() if not path.exists()]
    if stand_in.store.rows(_HASHED, [scene_id]):
        lacking.append("phash")
    return lacking
