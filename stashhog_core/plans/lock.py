"""Telling a plan that a run works on from one whose run has died.

The database frees the lock when its holder ends, however it ended.
"""

from contextlib import AbstractContextManager

from stashhog_core.db.locks import is_held, job_lock
from stashhog_core.db.session import Database


def plan_lock(database: Database, plan_id: int) -> AbstractContextManager[None]:
    """Hold a plan, to build or apply it.

    Raises:
        TransientError: Another run holds it.
    """
    return job_lock(database, _name(plan_id))


def is_worked_on(database: Database, plan_id: int) -> bool:
    """Tell whether a living run holds a plan."""
    return is_held(database, _name(plan_id))


def _name(plan_id: int) -> str:
    return f"plan {plan_id}"
