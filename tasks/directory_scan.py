"""Index a folder of video files, as a whole or in shards that run side by side."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.file_index.job import scan_directory
from stashhog_core.file_index.shards import (
    Listed,
    ListPart,
    Looked,
    LookPart,
    list_part,
    look_part,
)
from stashhog_core.params import DirectoryScanParams
from stashhog_core.results import DirectoryScanResult
from tasks._runners import Mapper, is_elsewhere, mapper
from tasks._runtime import JOB_TASK, READ_TASK, job_task, open_job


@job_task(name="directory_scan", **JOB_TASK)
def directory_scan(params: DirectoryScanParams) -> DirectoryScanResult:
    """Bring the index of a folder up to date; what is done stays when it is stopped."""
    with open_job("directory_scan") as job:
        return scan_directory(
            job.settings,
            job.database,
            params,
            job.progress,
            _shards(params) if params.shards > 1 else None,
        )


@task(
    name="list_shard",
    task_run_name="list shard {part.number}",
    cache_policy=NO_CACHE,
    **READ_TASK,
)
def list_shard(params: DirectoryScanParams, part: ListPart) -> Listed:
    """List the folders that fall to a shard."""
    with open_job("list_shard") as job:
        return list_part(job.settings, job.database, params, part, job.progress)


@task(
    name="look_shard",
    task_run_name="look into shard {part.number}",
    cache_policy=NO_CACHE,
    **READ_TASK,
)
def look_shard(params: DirectoryScanParams, part: LookPart) -> Looked:
    """Look into the new and changed files that fall to a shard."""
    with open_job("look_shard") as job:
        return look_part(job.settings, job.database, params, part, job.progress)


@contextmanager
def _shards(params: DirectoryScanParams) -> Iterator["_Shards"]:
    with mapper(params.shards) as opened:
        yield _Shards(params, opened)


class _Shards:
    """Maps the parts of a scan to the runner of the settings."""

    def __init__(self, params: DirectoryScanParams, opened: Mapper) -> None:
        self._params = params
        self._mapper = opened
        self.parts = params.shards
        self.workers = params.workers
        if self.workers is None and not is_elsewhere():
            self.workers = max(1, (os.cpu_count() or 1) // self.parts)

    def list(self, parts: Sequence[ListPart]) -> Iterator[Listed | BaseException]:
        """Run `list_shard` for each part."""
        return self._map(list_shard, parts)

    def look(self, parts: Sequence[LookPart]) -> Iterator[Looked | BaseException]:
        """Run `look_shard` for each part."""
        return self._map(look_shard, parts)

    def _map(self, task: Any, parts: Sequence[ListPart | LookPart]) -> Iterator[Any]:
        return self._mapper.map(
            task, [{"params": self._params, "part": part} for part in parts]
        )
