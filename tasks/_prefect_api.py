"""Prefect's API as jobs use it: a question may fail a job, a display never does."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from stashhog_core.errors import TransientError

logger = logging.getLogger("stashhog_core.prefect_api")

_EVENTS_TAKE_SECONDS = 5.0
"""How long Prefect's server is given to write down that a task has started."""

_LOOK_SECONDS = 0.5
_DIED = "The process of this task died"
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


def crash_task_runs(task_run_ids: Iterable[UUID]) -> None:
    """Set task runs to Crashed whose process died: nobody else ends them.

    Prefect's server learns of task runs by events: some seconds late, or never, where
    the process died with the event that the task had started. Such a task is not shown
    at all, and there is nothing to set.
    """
    unheard = list(task_run_ids)
    deadline = time.monotonic() + _EVENTS_TAKE_SECONDS
    with prefect_client() as client:
        while unheard:
            for id_ in list(unheard):
                try:
                    state = client.read_task_run(id_).state
                except ObjectNotFound:
                    continue
                unheard.remove(id_)
                if state is None or not state.is_final():
                    client.set_task_run_state(id_, Crashed(message=_DIED), force=True)
            if time.monotonic() > deadline:
                return
            if unheard:
                time.sleep(_LOOK_SECONDS)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or repr(error)
