"""The two jobs that Stash's server does, on a Stash in memory; what came of them."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from stashhog_core.db.models import Scene, StashJob
from stashhog_core.db.session import Database
from stashhog_core.params import CheckStashGenerateParams, StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.results import CheckStashGenerateResult, StashGenerateResult
from stashhog_core.server_jobs.generate import generate
from stashhog_core.server_jobs.media_check import check_generate
from tests.support.fake_stash import FakeStash


def run(
    stash: FakeStash,
    database: Database,
    progress: Progress | None = None,
    *,
    run_id: str = "run-1",
    was_cancelled: Callable[[str], bool] = lambda _: False,
    **params: Any,
) -> StashGenerateResult:
    """Generate media."""
    return generate(
        stash,
        database,
        StashGenerateParams(**params),
        progress or Progress(),
        run_id=run_id,
        settings=stash.settings,
        was_cancelled=was_cancelled,
    )


def check(
    stash: FakeStash,
    database: Database,
    progress: Progress | None = None,
    **params: Any,
) -> CheckStashGenerateResult:
    """Check which media is there, and forget what Stash was asked before."""
    stash.requests.clear()
    return check_generate(
        stash,
        database,
        CheckStashGenerateParams(**params),
        progress or Progress(),
        settings=stash.settings,
    )


def sent(stash: FakeStash) -> list[list[int]]:
    """Return the scenes that each job was started for."""
    return [[int(i) for i in asked.get("sceneIDs", ())] for _, asked in stash.started]


def marked(database: Database) -> list[int]:
    """Return the scenes that are marked as generated."""
    with database.transaction() as session:
        query = select(Scene.id).where(Scene.generated).order_by(Scene.id)
        return list(session.scalars(query))


def server_jobs(database: Database) -> list[tuple[int, str, str]]:
    """Return number, state and time of each job that was noted."""
    with database.transaction() as session:
        rows = session.scalars(select(StashJob).order_by(StashJob.id))
        return [(row.stash_job_id, row.state, row.add_time) for row in rows]
