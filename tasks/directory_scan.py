"""Index a folder of video files, as a whole or in shards that run side by side."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.file_index.job import scan_directory
from stashhog_core.file_index.shards import (
    FanOut,
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
from tasks.task_runners import is_elsewhere, mapper


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
def _shards(params: DirectoryScanParams) -> Iterator[FanOut]:
    """Map the shards of a scan to the runner of the settings."""
    workers = params.workers
    if workers is None and not is_elsewhere():
        workers = max(1, (os.cpu_count() or 1) // params.shards)
    with mapper(params.shards) as opened:

        def run(task: Any, shards: Sequence[ListShard | ProbeShard]) -> Iterator[Any]:
            calls = [{"params": params, "shard": shard} for shard in shards]
            return opened.map(task, calls)

        yield FanOut(partial(run, list_shard), partial(run, probe_shard), workers)
