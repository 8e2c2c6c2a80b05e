"""Forget old history; put right what dead runs left open."""

from datetime import UTC, datetime

from prefect.cache_policies import NO_CACHE

from stashhog_core.cleanup.findings import Findings
from stashhog_core.cleanup.job import clean_up
from stashhog_core.db.locks import job_lock
from stashhog_core.params import CleanupParams
from stashhog_core.results import CleanupResult
from tasks._prefect_history import forget_old_runs
from tasks._results import forget_old_results
from tasks._runtime import READ_TASK, job_task, open_job
from tasks.cancellation import crash_dead_runs, crash_left_tasks, was_cancelled


@job_task(name="cleanup", cache_policy=NO_CACHE, **READ_TASK)
def cleanup(params: CleanupParams) -> CleanupResult:
    """Clean up here and in Prefect; a dry run lists the same and changes nothing."""
    findings, now = Findings(), datetime.now(UTC)
    with open_job("cleanup") as job, job_lock(job.database, "cleanup"):
        if not params.dry_run:
            crash_dead_runs(findings)
            crash_left_tasks(findings, now=now)
        clean_up(
            job.settings,
            job.database,
            params,
            job.progress.within(0.0, 0.5),
            findings,
            now=now,
            run_id=job.run_id,
            was_cancelled=was_cancelled,
        )
        forget_old_runs(
            job.settings,
            findings,
            job.progress.within(0.5, 1.0),
            now=now,
            dry_run=params.dry_run,
        )
        forget_old_results(job.settings, findings, now=now, dry_run=params.dry_run)
    return findings.result(dry_run=params.dry_run)
