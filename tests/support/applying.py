"""Applying and undoing a plan over HTTP, with a fault at one request if wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stashhog_core.db.session import Database
from stashhog_core.params import ApplyPlanParams, UndoParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import ApplyResult, UndoResult
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.each_call import FaultyTransport


@contextmanager
def opened(url: str, transport: FaultyTransport) -> Iterator[StashClient]:
    """Yield a client that does not repeat reads by itself."""
    settings = StashSettings(url=url)
    with StashClient(settings, transport, retry_delays_seconds=()) as client:
        yield client


def apply(
    url: str,
    database: Database,
    plan_id: int,
    transport: FaultyTransport,
    **params: Any,
) -> ApplyResult:
    """Apply a plan, without a second try in the same run."""
    with opened(url, transport) as client:
        return apply_plan(
            client,
            database,
            ApplyPlanParams(plan_id=plan_id, **params),
            Progress(),
            create_missing_tags=True,
            pauses_seconds=(),
        )


def take_back(
    url: str,
    database: Database,
    plan_id: int,
    transport: FaultyTransport,
) -> UndoResult:
    """Undo a plan, without a second try in the same run."""
    with opened(url, transport) as client:
        return undo(
            client,
            database,
            UndoParams(plan_id=plan_id),
            Progress(),
            pauses_seconds=(),
        )


def until_killed(
    job: str,
    url: str,
    database_url: str,
    plan_id: int,
    transport: FaultyTransport,
) -> None:
    """Do a job in this process, which is to be a child: a fault may kill it."""
    database = Database(database_url)
    {"apply": apply, "undo": take_back}[job](url, database, plan_id, transport)
