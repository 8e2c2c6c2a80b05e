"""Naming a run after what it was about, for the lists in Prefect's UI."""

from prefect.client.orchestration import SyncPrefectClient
from prefect.context import FlowRunContext

from tasks.prefect_api import display


def name_run(name: str) -> None:
    """Call this flow run `name`, by the connection that its engine holds open.

    Prefect's own `flow_run_name` is fixed when a run starts, before it is known what
    there is to do.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.name == name:
        return
    if not isinstance(context.client, SyncPrefectClient):
        return
    with display(f"the name {name} of this run"):
        context.client.set_flow_run_name(context.flow_run.id, name)
        context.flow_run.name = name
