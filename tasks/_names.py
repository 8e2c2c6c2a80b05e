"""Naming a run after what it was about, for the lists in Prefect's UI."""

import logging

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import FlowRunContext

logger = logging.getLogger("stashhog_core.names")


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
    try:
        context.client.set_flow_run_name(context.flow_run.id, name)
    except httpx.HTTPError as error:
        # A run is not worth less for being badly named.
        logger.warning("The run could not be named %s: %s", name, error)
        return
    context.flow_run.name = name
