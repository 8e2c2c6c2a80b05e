"""`make demo`: the sandbox that lasts, with Prefect's UI on it; `make down` ends it.

The stand-in Stash, the samples and the database are those of `make run`, below
STASHHOG_HOME. Services that the user has configured are neither read nor touched: the
demo has a file of settings of its own.
"""

import os
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.run import (
    DEMO_SETTINGS,
    free_port,
    prepare_folders,
    sandbox_home,
    start_stand_in,
    variables,
)
from stashhog.env_file import with_variables, write_private
from stashhog.services.lifecycle import Services, Stopped
from stashhog.services.lifecycle import down as stop_services
from stashhog.services.lifecycle import up as start_services
from stashhog.services.prefect_server import ask
from stashhog.services.state import end_processes, record, recorded_url, running
from stashhog_core.errors import StashHogError
from stashhog_core.loopback import keep_loopback_direct
from stashhog_core.settings import (
    ENV_FILE_VARIABLE,
    PREFIX,
    Settings,
    get_settings,
)

DEPLOYMENT = "process_new_scenes/process-new-scenes"
# A run begins soon after somebody has asked for it: people watch.
_WORKER_QUERY = {"PREFECT_WORKER_QUERY_SECONDS": "2"}
_PORTS = {"PREFECT_SERVER_API_PORT": 4200, "STASHHOG_WEB__PORT": 4201}
_HEADER = "# Settings of the sandbox that `make demo` starts.\n\n"
_ON_PURPOSE = " (one of the samples is damaged on purpose)"
_CHECK_SECONDS = 1.0
_OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def main() -> None:
    """Start the demo; with the argument `down`, end it and the user's services."""
    keep_loopback_direct()
    try:
        if sys.argv[1:] == ["down"]:
            stop()
        else:
            start()
    except StashHogError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Error: Cancelled; `make down` ends what was started", file=sys.stderr)
        sys.exit(130)


def start() -> None:
    """Start what does not run yet, make one run, and say where everything is."""
    home = sandbox_home(get_settings())
    prepare_folders(home)
    stash = _stash(home)
    file = home / DEMO_SETTINGS
    hidden = _use(file, home, stash)
    print(f"Starting Prefect's server, a worker and the pages on the sandbox {home} …")
    services = start_services(get_settings())
    for sentence in services.faults:
        print(sentence)
    print("Making one run: from sample downloads to a plan for review …", flush=True)
    ended = make_run(f"{services.prefect}/api")
    print(_addresses(services, stash, ended, commands_to_use(file, hidden)))
    print(f"  make down      ends the demo; what it has made stays in {home}")


def _use(file: Path, home: Path, stash: str) -> list[str]:
    """Write the demo's settings, and let nothing but them count from now on.

    Returns:
        The variables of the environment that would go before the file.
    """
    before = file.read_text() if file.exists() else ""
    wanted = {f"{PREFIX}HOME": str(home), **variables(home, stash), **_WORKER_QUERY}
    if not before:
        wanted |= {name: str(_port(usual)) for name, usual in _PORTS.items()}
    write_private(file, with_variables(before, wanted, _HEADER))
    hidden = [name for name in os.environ if name.startswith((PREFIX, "PREFECT_"))]
    for name in hidden:
        del os.environ[name]
    os.environ[ENV_FILE_VARIABLE] = str(file)
    get_settings.cache_clear()
    return [name for name in hidden if name != ENV_FILE_VARIABLE]


def commands_to_use(file: Path, hidden: Sequence[str]) -> list[str]:
    """Return the commands after which a terminal uses a file of settings.

    Args:
        file: The file.
        hidden: The variables of the environment that would go before the file.
    """
    unset = [f"unset {' '.join(sorted(hidden))}"] if hidden else []
    return [*unset, f"export {ENV_FILE_VARIABLE}={shlex.quote(str(file))}"]


def _port(usual: int) -> int:
    """Return the usual port, or a free one where another program has that."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", usual))
        except OSError:
            return free_port()
    return usual


def _stash(home: Path) -> str:
    """Return the address of the stand-in Stash; it is started unless it runs.

    The address stays the same, so that links in older reports lead somewhere.
    """
    about = Settings(home=home / "stash")
    url = recorded_url(about)
    if url and "stash" in running(about):
        return url
    port = (urlsplit(url).port if url else None) or free_port()
    process = start_stand_in(
        home / "stash", home / "library", port, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    record(about, url, {"stash": process.pid})
    return url


def make_run(api: str) -> str:
    """Run the main job on the worker, as from its form; return how the run ended."""
    deployment = ask(api, f"/deployments/name/{DEPLOYMENT}").json()
    # The plan is left for the reader to review.
    wanted = {"parameters": {"auto_approve": False}}
    run = ask(api, f"/deployments/{deployment['id']}/create_flow_run", wanted).json()
    while True:
        now = ask(api, f"/flow_runs/{run['id']}").json()
        if now["state_type"] in _OVER:
            why = _ON_PURPOSE if now["state_name"] == "CompletedWithErrors" else ""
            return f"{now['name']}: {now['state_name']}{why}"
        time.sleep(_CHECK_SECONDS)


def _addresses(
    services: Services, stash: str, ended: str, commands: Sequence[str]
) -> str:
    pages = services.pages or "not served"
    typed = f"\n{' ' * 17}".join(
        [*commands, ".venv/bin/stashhog plans list, report, check, status …"]
    )
    return f"""
{ended}

Prefect's UI     {services.prefect}
Review the plan  {pages}
Stand-in Stash   {stash} (its API only)

Next:
  Prefect's UI   Deployments, process-new-scenes, Run: change the form and start a run
  In a terminal  {typed}"""


def stop() -> None:
    """Stop the services of the user and of the demo, and the stand-in Stash."""
    settings = get_settings()
    home = sandbox_home(settings)
    stopped = stop_services(settings)
    if home.exists():
        about = running(Settings(home=home / "stash"))
        demo = stop_services(Settings(home=home))
        end_processes(about.values())
        stopped = Stopped(
            [
                *stopped.parts,
                *(f"{name} of the demo" for name in (*demo.parts, *about)),
            ],
            [*stopped.users, *demo.users],
        )
    for sentence in stopped.sentences():
        print(sentence)
