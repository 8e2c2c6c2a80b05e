"""A folder to scan, and the settings that allow it."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select

from stashhog_core.db.models import LibraryFile
from stashhog_core.db.session import Database
from stashhog_core.file_index.file_systems import MountedFileSystems
from stashhog_core.file_index.job import scan_directory
from stashhog_core.file_index.shards import (
    FanOut,
    list_shard_files,
    probe_shard_files,
)
from stashhog_core.params import DirectoryScanParams
from stashhog_core.progress import Progress
from stashhog_core.results import DirectoryScanResult
from stashhog_core.settings import LibrarySettings, Settings
from tests.support.media import write_video


@dataclass(frozen=True)
class Assumed:
    """File systems as a test wants them: identities by the place of their mount."""

    at: Mapping[str, str]

    def holding(self, path: str) -> str:
        places = [p for p in self.at if Path(path).is_relative_to(p)]
        return self.at[max(places, key=len)]


@dataclass
class Library:
    """A folder with videos and the index of it."""

    folder: Path
    home: Path
    database: Database
    clips: Path
    broken_shards: set[tuple[str, int]] = field(default_factory=set)
    mounted: Mapping[str, str] | None = None
    """Place below the folder → identity; None: what is really mounted."""

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.home, library=LibrarySettings(allowed_scan_roots=(self.folder,))
        )

    def video(self, name: str, seed: int = 0) -> Path:
        """Put a clip there; each seed is another content."""
        clip = self.clips / f"{seed}.mp4"
        if not clip.exists():
            # A perceptual hash needs a picture after nine tenths of the length.
            write_video(
                clip,
                seconds=1,
                width=160,
                height=120,
                seed=seed,
                frames_per_second=15,
            )
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, path)
        return path

    def scan(
        self, progress: Progress | None = None, **params: Any
    ) -> DirectoryScanResult:
        """Scan the folder, or the `path` given."""
        params = {"path": str(self.folder), "workers": 1, **params}
        asked = DirectoryScanParams.model_validate(params)
        return scan_directory(
            self.settings,
            self.database,
            asked,
            progress or Progress(),
            nullcontext(self._in_threads(asked)) if asked.shards > 1 else None,
            MountedFileSystems if self.mounted is None else self._assumed,
        )

    def _in_threads(self, params: DirectoryScanParams) -> FanOut:
        """Run the shards of a scan in threads of the test, without Prefect."""

        def run(what: str, work: Any, shards: Sequence[Any]) -> Iterator[Any]:
            def one(shard: Any) -> Any:
                if (what, shard.number) in self.broken_shards:
                    return OSError("the machine is gone")
                return work(self.settings, self.database, params, shard, Progress())

            with ThreadPoolExecutor(params.shards) as pool:
                yield from pool.map(one, shards)

        return FanOut(
            partial(run, "list", list_shard_files),
            partial(run, "probe", probe_shard_files),
            workers=1,
        )

    def _assumed(self) -> Assumed:
        assert self.mounted is not None
        at = {str(self.folder / place): name for place, name in self.mounted.items()}
        return Assumed({"/": "uuid:system", **at})

    def rows(self) -> dict[str, LibraryFile]:
        """Return the index by path below the folder."""
        prefix = f"{self.folder}/"
        with self.database.transaction() as session:
            files = session.scalars(select(LibraryFile)).all()
        return {file.path.removeprefix(prefix): file for file in files}
