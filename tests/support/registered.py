"""Deployments registered at a Prefect server that no worker serves."""

from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun


def register(flow: Flow[..., Any], name: str, **options: Any) -> UUID:
    """Register a deployment of a flow; return its id."""
    return flow.to_deployment(name, **options).apply()


def runs_of(deployment_id: UUID) -> list[FlowRun]:
    """Return the runs of a deployment."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            deployment_filter=DeploymentFilter(
                id=DeploymentFilterId(any_=[deployment_id])
            )
        )
