"""Starting a deployment from outside, such as when a download has finished.

Calls that come together are one run, and none is lost: a call is covered by a run that
still waits, since that will look at everything when it starts; otherwise it makes one.
Of calls at the same moment, Prefect's idempotency key lets only one make it.
"""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from stashhog.services.prefect_server import ask, own_api
from stashhog_core.errors import (
    ConfigurationError,
    StashHogError,
    TransientError,
    shown,
)
from stashhog_core.retries import with_retries
from stashhog_core.settings import get_settings

TAG = "push"
PAUSES_SECONDS = (1.0, 3.0, 9.0, 20.0, 27.0)
"""Before a call is tried again: a server under load, or one that starts again."""
_START = "start the server with `stashhog up`, or set PREFECT_API_URL"


@dataclass(frozen=True)
class Pushed:
    """The run that covers a call, made by it or waiting already."""

    run_id: str
    name: str


def push(
    deployment: str, parameters: Mapping[str, Any], *, delay_seconds: float
) -> Pushed:
    """Have a deployment run soon, unless a run that was pushed like this still waits.

    Args:
        deployment: As `flow/deployment`.
        parameters: Of the run, by wire name; calls with others are other runs.
        delay_seconds: How long a new run waits for further calls.

    Raises:
        ConfigurationError: There is no such deployment, it refuses the parameters, or
            it drops runs while another one is going.
        TransientError: Prefect's API does not answer for a minute.
    """
    if not all(parts := deployment.split("/")) or len(parts) != 2:
        # Prefect would say the same as a server that is none.
        raise ConfigurationError(
            f"{shown(deployment)} is not the name of a deployment",
            remedy="write it as flow/deployment, such as sync/sync",
        )
    # Others that push at the same moment should not come again together.
    pauses = (seconds * random.uniform(0.5, 1.5) for seconds in PAUSES_SECONDS)  # noqa: S311
    return with_retries(
        lambda: _push_once(deployment, parameters, delay_seconds), pauses
    )


def _push_once(
    deployment: str, parameters: Mapping[str, Any], delay_seconds: float
) -> Pushed:
    found = _send(f"/deployments/name/{quote(deployment)}")
    if (found["concurrency_options"] or {}).get("collision_strategy") == "CANCEL_NEW":
        raise ConfigurationError(
            f"{deployment} cancels a new run while another run is active",
            remedy="push a deployment that queues its runs, such as "
            "process_downloads/process-downloads or sync/sync",
        )
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    tag = f"{TAG} {digest.hexdigest()[:8]}" if parameters else TAG
    latest = _latest(found["id"], tag)
    if latest is not None and latest["state_type"] == "SCHEDULED":
        return Pushed(latest["id"], latest["name"])
    begins = datetime.now(UTC) + timedelta(seconds=delay_seconds)
    made = _send(
        f"/deployments/{found['id']}/create_flow_run",
        {
            "parameters": dict(parameters),
            "tags": [*found["tags"], tag],
            "state": {
                "type": "SCHEDULED",
                "message": "Pushed",
                "state_details": {"scheduled_time": begins.isoformat()},
            },
            # The same for all who see the same past.
            "idempotency_key": f"{found['id']} {tag} after "
            f"{latest['id'] if latest else 'none'}",
        },
    )
    return Pushed(made["id"], made["name"])


def _latest(deployment_id: str, tag: str) -> Any:
    """Return the newest pushed run of a deployment; None: there is none."""
    runs = _send(
        "/flow_runs/filter",
        {
            "deployments": {"id": {"any_": [deployment_id]}},
            "flow_runs": {"tags": {"all_": [tag]}},
            "sort": "EXPECTED_START_TIME_DESC",
            "limit": 1,
        },
    )
    return runs[0] if runs else None


def _send(path: str, content: object = None) -> Any:
    # Who calls it stands in a folder of its own, without our `.env`.
    url = own_api(get_settings())
    if url is None:
        raise TransientError("Prefect's server does not run", remedy=_START)
    try:
        answer = ask(url, path, content)
    except httpx.TransportError as error:
        raise TransientError(
            "Prefect's API does not answer",
            where=url,
            remedy=_START,
        ) from error
    except httpx.InvalidURL as error:
        raise ConfigurationError(
            "PREFECT_API_URL is not an address", where=url, remedy=str(error)
        ) from error
    said = _json(answer)
    if answer.is_success and said is not None:
        return said
    raise _refusal(answer, said, url, path)


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _refusal(answer: httpx.Response, said: Any, url: str, path: str) -> StashHogError:
    facts = said if isinstance(said, dict) else {}
    is_html = "html" in answer.headers.get("content-type", "")
    # A server that knows the path names what it does not find there.
    if is_html or answer.is_redirect or facts.get("detail") == "Not Found":
        return ConfigurationError(
            "The server at PREFECT_API_URL is not Prefect's API",
            where=url,
            remedy="use the address of the API, such as http://127.0.0.1:4200/api",
        )
    if answer.status_code == httpx.codes.NOT_FOUND:
        return ConfigurationError(
            f"There is no deployment {path.removeprefix('/deployments/name/')}",
            remedy="see `prefect deployment ls`",
        )
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return ConfigurationError(
            "Prefect's API refuses the password",
            remedy="set PREFECT_SERVER_API_AUTH_STRING to the same value "
            "as on the server",
        )
    reason = str(facts.get("detail") or facts.get("exception_message") or answer.text)
    if answer.is_server_error or answer.is_success:
        return TransientError("Prefect's API failed", where=path, remedy=reason)
    return ConfigurationError("Prefect's API refuses the request", remedy=reason)
