"""Telling Prefect what happened, so that automations can start the next job."""

from typing import Any

from prefect.events import emit_event
from prefect.runtime import flow_run

from tasks.prefect_api import display


def announce(event: str, facts: dict[str, Any], **labels: str) -> None:
    """Emit `stashhog.<event>`, such as `stashhog.sync.completed`.

    Args:
        event: Subject and what happened, with a dot between.
        facts: The event's payload.
        labels: What automations may choose by, besides the name of the flow.
    """
    subject = event.partition(".")[0]
    run = flow_run.get_id()
    with display(f"the event {event}"):
        emit_event(
            f"stashhog.{event}",
            resource={
                "prefect.resource.id": f"stashhog.{subject}.{run}",
                "stashhog.flow": flow_run.get_flow_name() or "",
                **{f"stashhog.{name}": value for name, value in labels.items()},
            },
            related=[
                {
                    "prefect.resource.id": f"prefect.flow-run.{run}",
                    "prefect.resource.role": "flow-run",
                }
            ]
            if run
            else [],
            payload=facts,
        )
