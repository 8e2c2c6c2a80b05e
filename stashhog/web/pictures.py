"""Pictures of scenes: covers from Stash, and frames of local files, kept on disk."""

import hashlib
import importlib
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as OutOfTime
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from stashhog_core.errors import ItemError, StashHogError, TransientError
from stashhog_core.files import write_whole
from stashhog_core.paths import PathMap
from stashhog_core.settings import Settings, make_home_folder
from stashhog_core.stash.client import StashClient

logger = logging.getLogger(__name__)

JPEG, PNG, WEBP = b"\xff\xd8\xff", b"\x89PNG", b"RIFF"
_TYPES = {JPEG: "image/jpeg", PNG: "image/png", WEBP: "image/webp"}
_FRAME_SECONDS = 10
_CHECK_EVERY = 50
"""Pictures that are stored between two looks at the size of the folder."""


def type_of(picture: bytes) -> str | None:
    """Return the media type of a picture that browsers show; None: it is none."""
    return next((t for head, t in _TYPES.items() if picture.startswith(head)), None)


class Pictures:
    """Makes pictures, and keeps them up to a size.

    A video is decoded in another process: one that crashes the decoder, or keeps it
    for too long, costs that picture and nothing else.

    Args:
        settings: The home folder, the size, and where files are on this machine.
        stash: Has the covers; None: there are none.
    """

    def __init__(self, settings: Settings, stash: StashClient | None) -> None:
        self._folder = settings.home_folder / "web" / "pictures"
        make_home_folder(self._folder)
        self._most_bytes = settings.web.picture_megabytes * 1_000_000
        self._paths = PathMap(settings.stash.path_map)
        self._stash = stash
        self._pool: ProcessPool | None = None
        self._lock = threading.Lock()
        self._stored = 0

    def close(self) -> None:
        """End the process that decodes."""
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()

    def cover(self, scene_id: int, version: str) -> bytes | None:
        """Return the cover of a scene; None: there is none to be had now.

        Args:
            scene_id: The scene.
            version: Another one after each change of the scene.
        """
        stash = self._stash
        if stash is None:
            return None
        return self._kept(
            f"cover {scene_id} {version}",
            lambda: stash.picture(f"/scene/{scene_id}/screenshot"),
        )

    def frame(self, path: str, second: float) -> bytes | None:
        """Return the picture at a second of a file; None: it cannot be read here.

        Args:
            path: The file, as Stash names it.
            second: Seconds from the start of the video.
        """
        local = Path(self._paths.to_local(path))
        try:
            facts = local.stat()
        except OSError:
            return None
        version = f"{facts.st_mtime_ns} {facts.st_size}"
        return self._kept(
            f"frame {local} {version} {second:.2f}",
            lambda: self._decode(local, second),
        )

    def _decode(self, path: Path, second: float) -> bytes | None:
        with self._lock:
            if self._pool is None or not self._pool.active:
                # A fork of a process with threads may wait for ever.
                spawned = multiprocessing.get_context("spawn")
                self._pool = ProcessPool(
                    max_workers=1, context=spawned, initializer=_load_decoders
                )
            pool = self._pool
        try:
            picture: bytes | None = pool.schedule(
                _still, args=[path, second], timeout=_FRAME_SECONDS
            ).result()
        except OutOfTime as error:
            # The machine may have been busy.
            raise TransientError(
                "A picture took too long", where=str(path), remedy="reload the page"
            ) from error
        except (ItemError, OSError, ValueError, ProcessExpired) as error:
            logger.info("No picture at %g s of %s: %s", second, path, error)
            return None
        return picture

    def _kept(self, name: str, make: Callable[[], bytes | None]) -> bytes | None:
        key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        file = self._folder / key
        try:
            picture = file.read_bytes()
            # Now it is younger than those that nobody looks at.
            os.utime(file)
        except OSError:
            try:
                made = make()
            except StashHogError as error:
                # Not kept: the next time it may be there.
                logger.info("No picture: %s", error)
                return None
            picture = made or b""
            self._store(file, picture)
        return picture or None

    def _store(self, file: Path, picture: bytes) -> None:
        try:
            write_whole(file, picture, durable=False)
        except OSError as error:
            logger.warning("A picture could not be kept: %s", error)
            return
        with self._lock:
            self._stored += 1
            is_due = self._stored % _CHECK_EVERY == 1
        if is_due:
            self._make_room()

    def _make_room(self) -> None:
        """Remove the pictures that nobody has looked at for longest."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                facts = entry.stat()
                found.append((facts.st_mtime_ns, facts.st_size, entry.path))
        size = sum(bytes_ for _, bytes_, _ in found)
        for _, bytes_, path in sorted(found):
            if size <= self._most_bytes:
                return
            Path(path).unlink(missing_ok=True)
            size -= bytes_


def _load_decoders() -> None:
    """Load them before the time of a picture counts."""
    importlib.import_module("stashhog_core.media.pictures")


def _still(path: Path, second: float) -> bytes | None:
    # Imported here: only the process that decodes holds the decoders.
    from stashhog_core.media.pictures import still

    return still(path, second)
