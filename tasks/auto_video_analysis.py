"""Choose the scenes that are analyzed by schedule."""

from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.detection.job import next_scenes
from tasks.flow_runs import runs_going
from tasks.prefect_api import prefect_client
from tasks.runtime import READ_TASK, open_job

ANALYSIS_FLOWS = ("process_new_scenes", "analysis")
"""Flows that analyze scenes themselves: two at the same would do it twice."""

_FAILURES_COUNT_FOR = timedelta(days=1)


@task(name="scenes_to_analyze", cache_policy=NO_CACHE, **READ_TASK)
def scenes_to_analyze(size: int) -> list[int]:
    """Return the newest scenes not yet video-analyzed; those that failed come last."""
    with open_job("scenes_to_analyze") as job, job.database.transaction() as session:
        return next_scenes(
            session, size, failed_since=datetime.now(UTC) - _FAILURES_COUNT_FOR
        )


@task(name="analysis_under_way", cache_policy=NO_CACHE, **READ_TASK)
def analysis_under_way() -> str | None:
    """Return the name of a run that analyzes scenes; None: there is none."""
    with prefect_client() as client:
        alive, _ = runs_going(client, flows=ANALYSIS_FLOWS)
    return alive[0].name if alive else None
