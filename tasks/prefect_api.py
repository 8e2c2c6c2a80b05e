"""Prefect's API as jobs use it: a question may fail a job, a display never does."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.runtime import flow_run

from stashhog_core.errors import TransientError

logger = logging.getLogger("stashhog_core.prefect_api")

_MAY_PASS = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS}


@contextmanager
def prefect_client() -> Iterator[SyncPrefectClient]:
    """Open Prefect's API, for what a job has to know or to set.

    Raises:
        TransientError: The API does not answer, or has a fault of its own.
    """
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        raise TransientError(
            "Prefect's API does not answer", remedy=f"see `stashhog status` ({error!r})"
        ) from error
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if not (error.response.is_server_error or status in _MAY_PASS):
            raise
        raise TransientError(
            f"Prefect's API failed with status {status}",
            where=error.request.url.path,
            remedy="see the server's log in the folder that `stashhog status` names",
        ) from error


@contextmanager
def display(what: str) -> Iterator[None]:
    """Go on when Prefect cannot show something.

    An artifact, a name or an event is a courtesy: the job's result is in the database,
    and a job that ends for want of a picture would be done again.

    Args:
        what: What is shown, for the log: `Prefect does not show <what>`.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - no fault of a display fails a job
        logger.warning("Prefect does not show %s: %s", what, _first_line(error))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or repr(error)


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
