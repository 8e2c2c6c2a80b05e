"""The tasks of a run as Prefect's UI shows them."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun

from tests.support.deployed import wait_until


def ended_tasks(run_id: str, *names: str) -> list[TaskRun]:
    """Return the task runs of a flow run when those of these names have ended.

    Prefect learns of them by events, which may come after the run is over.

    Args:
        run_id: The flow run.
        names: How the names that must be there begin.
    """
    which = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    found: list[TaskRun] = []

    def are_there() -> bool:
        with get_client(sync_client=True) as client:
            found[:] = client.read_task_runs(flow_run_filter=which)
        return all(run.state and run.state.is_final() for run in found) and all(
            any(run.name.startswith(name) for run in found) for name in names
        )

    wait_until(are_there, f"the end of {names} of {run_id}")
    return found
