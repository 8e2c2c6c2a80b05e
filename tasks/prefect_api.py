"""Prefect's API as jobs use it: a question may fail a job, a display never does."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

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
