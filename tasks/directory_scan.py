"""Index a folder of video files, as a whole or in shards that run side by side."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.file_index.job import scan_directory
from stashhog_core.file_index.shards import (
    ListedShard,
    ListShard,
    ProbedShard,
    ProbeShard,
    list_shard_files,
    probe_shard_files,
)
from stashhog_core.params import DirectoryScanParams
from stashhog_core.results import DirectoryScanResult
from tasks.runtime import JOB_TASK, READ_TASK, job_task, open_job
from tasks.task_runners import Mapper, is_elsewhere, mapper


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
    task_run_name="list shard {shard.number}",
    cache_policy=NO_CACHE,
    **READ_TASK,
)
def list_shard(params: DirectoryScanParams, shard: ListShard) -> ListedShard:
    """List the folders that fall to a shard."""
    with open_job("list_shard") as job:
        return list_shard_files(job.settings, job.database, params, shard, job.progress)


@task(
    name="probe_shard",
    task_run_name="probe shard {shard.number}",
    cache_policy=NO_CACHE,
    **READ_TASK,
)
def probe_shard(params: DirectoryScanParams, shard: ProbeShard) -> ProbedShard:
    """Probe the new and changed files that fall to a shard."""
    with open_job("probe_shard") as job:
        return probe_shard_files(
            job.settings, job.database, params, shard, job.progress
        )


@contextmanager
def _shards(params: DirectoryScanParams) -> Iterator["_Shards"]:
    with mapper(params.shards) as opened:
        yield _Shards(params, opened)


class _Shards:
    """Maps the shards of a scan to the runner of the settings."""

    def __init__(self, params: DirectoryScanParams, opened: Mapper) -> None:
        self._params = params
        self._mapper = opened
        self.shards = params.shards
        self.workers = params.workers
        if self.workers is None and not is_elsewhere():
            self.workers = max(1, (os.cpu_count() or 1) // self.shards)

    def list(
        self, shards: Sequence[ListShard]
    ) -> Iterator[ListedShard | BaseException]:
        """Run `list_shard` for each shard."""
        return self._map(list_shard, shards)

    def probe(
        self, shards: Sequence[ProbeShard]
    ) -> Iterator[ProbedShard | BaseException]:
        """Run `probe_shard` for each shard."""
        return self._map(probe_shard, shards)

    def _map(
        self, task: Any, shards: Sequence[ListShard | ProbeShard]
    ) -> Iterator[Any]:
        return self._mapper.map(
            task, [{"params": self._params, "shard": shard} for shard in shards]
        )
