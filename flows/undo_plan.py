"""Take back applied changes: of a plan, a scene, or a detector's version."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import UndoParams
from tasks.undo_plan import undo_plan as undo_task


@job_flow("undo_plan")
@parameters_of(UndoParams)
def undo_plan(params: UndoParams) -> State[Any]:
    """Take back applied changes: of a plan, a scene, or a detector's version."""
    return run_one("undo_plan", undo_task, params)
