"""Checks of the work: when jobs last succeeded, and what waits for a person."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from stashhog_core.db.models import MirrorCheck, StashJob
from stashhog_core.health.checks import Checkup, Finding, good, warning
from stashhog_core.overview import JobHistory, Waiting, job_histories, waiting_work
from stashhog_core.report import counted

_LONG = timedelta(days=2)
_STUCK = timedelta(hours=12)


def check_jobs(checkup: Checkup) -> Finding | None:
    """Tell when jobs last succeeded, and which ones failed since."""
    with checkup.database.transaction() as session:
        jobs = job_histories(session)
    if not jobs:
        return good("no job has run yet")
    failing = [job for job in jobs if _is_failing(job)]
    if failing:
        return warning(
            "the last run failed: " + ", ".join(map(_in_words, failing)),
            "open the failed run in Prefect's UI for the reason",
        )
    newest = max(job.succeeded_at for job in jobs if job.succeeded_at is not None)
    return good(
        f"{counted(len(jobs), 'job')} ended well, the last one {_ago(newest)} ago"
    )


def _is_failing(job: JobHistory) -> bool:
    return job.succeeded_at is None or (
        job.last_status == "failed" and job.last_at > job.succeeded_at
    )


def _in_words(job: JobHistory) -> str:
    if job.succeeded_at is None:
        return f"{job.job} (never succeeded)"
    return f"{job.job} (last success {_ago(job.succeeded_at)} ago)"


def _ago(moment: datetime) -> str:
    minutes = int((datetime.now(UTC) - moment).total_seconds() // 60)
    if minutes < 120:
        return counted(max(minutes, 0), "minute")
    hours = minutes // 60
    return counted(hours, "hour") if hours < 48 else counted(hours // 24, "day")


def check_mirror(checkup: Checkup) -> Finding | None:
    """Tell when the mirror was last compared with Stash, and what differed."""
    query = select(
        MirrorCheck.checked_at, MirrorCheck.scenes_different, MirrorCheck.scenes_checked
    ).order_by(MirrorCheck.checked_at.desc())
    with checkup.database.transaction() as session:
        last = session.execute(query.limit(1)).first()
    if last is None:
        return good("the mirror was not verified yet; `stashhog verify` does it")
    checked_at, different, checked = last
    found = f"{_ago(checked_at)} ago, {different} of {checked} scenes differed"
    if different:
        return warning(found, "run `stashhog run sync -p deep=true`")
    if datetime.now(UTC) - checked_at > _LONG:
        return warning(found, "run `stashhog verify`, or turn on its schedule")
    return good(found)


def check_waiting(checkup: Checkup) -> Finding:
    """Count what waits for a decision."""
    with checkup.database.transaction() as session:
        waiting = waiting_work(session)
    lines = [*_waiting_lines(waiting)]
    if not lines:
        return good("nothing waits for a decision")
    return warning(
        ", ".join(words for words, _ in lines), "; ".join(how for _, how in lines)
    )


def _waiting_lines(waiting: Waiting) -> list[tuple[str, str]]:
    lines = []
    if waiting.blocked_downloads:
        files = counted(waiting.blocked_downloads, "download file")
        lines.append((f"{files} blocked", "run `stashhog downloads list`"))
    if waiting.plans:
        plans = counted(waiting.plans, "plan")
        lines.append((f"{plans} to review", "run `stashhog plans list`"))
    if waiting.held:
        lines.append(
            (
                "removals held back",
                "run `stashhog run sync -p confirm_removals=true`",
            )
        )
    conflicts = waiting.conflicts + waiting.change_conflicts
    if conflicts:
        lines.append((counted(conflicts, "conflict"), "run `stashhog edits list`"))
    return lines


def check_stash_jobs(checkup: Checkup) -> Finding | None:
    """Find Stash jobs that were started long ago and are still recorded as open."""
    before = datetime.now(UTC) - _STUCK
    query = select(StashJob.kind).where(
        StashJob.state == "open", StashJob.started_at < before
    )
    with checkup.database.transaction() as session:
        stuck = session.execute(query).all()
    if stuck:
        return warning(
            f"{counted(len(stuck), 'Stash job')} started more than 12 hours ago and "
            "did not end",
            "run `stashhog run cleanup`",
        )
    return good("no job of Stash is stuck")
