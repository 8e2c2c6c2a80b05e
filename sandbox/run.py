"""`make run`: the main job once, on the user's services or else on a sandbox.

With arguments, such as `verify`, it is that command of the terminal instead.

The sandbox is a folder of its own below STASHHOG_HOME, with its own database, watch
folder, library and stand-in Stash server; it never touches configured services, and
what it makes is never mixed with theirs.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx

from sandbox.samples import make_samples
from stashhog.cli.app import main as terminal
from stashhog.cli.console import EXIT_CANCELLED
from stashhog.cli.runs import end_undisturbed
from stashhog_core.background import leave_process_group
from stashhog_core.errors import ConfigurationError
from stashhog_core.loopback import keep_loopback_direct
from stashhog_core.settings import PREFIX, Settings, configured_variables, get_settings

SERVICES = ("STASH", "DATABASE", "DOWNLOADS", "QBITTORRENT", "AI_SERVER", "LIBRARY")
MAIN_JOB = ["run", "process_new_scenes"]
_START_LIMIT_SECONDS = 60


def main() -> None:
    """Run the main job, or what the arguments say; say what to do next."""
    keep_loopback_direct()
    sys.argv = ["stashhog", *(sys.argv[1:] or MAIN_JOB)]
    try:
        settings = get_settings()
        services = services_configured()
        if services and settings.stash.url is None:
            raise ConfigurationError(
                f"{services[0]} is set, but no Stash server is set",
                where=".env or environment",
                remedy="set STASHHOG_STASH__URL, or unset all services to use the "
                "sandbox",
            )
    except ConfigurationError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    if services:
        terminal()
        return
    try:
        status = run_on_sandbox(settings)
    except KeyboardInterrupt:
        # While the sandbox started or stopped; the run itself says so of itself.
        print("Error: Cancelled", file=sys.stderr)
        status = EXIT_CANCELLED
    finally:
        end_undisturbed()
    sys.exit(status)


def run_on_sandbox(settings: Settings) -> int:
    """Run the terminal on the sandbox; return its exit status."""
    status = 0
    with sandbox(settings):
        try:
            terminal()
        except SystemExit as end:
            status = int(end.code or 0)
        if status == 0 and sys.argv[1:] == MAIN_JOB:
            say_what_next(settings)
    return status


def services_configured() -> list[str]:
    """Return the variables that name a service of the user's."""
    prefixes = tuple(f"{PREFIX}{service}__" for service in SERVICES)
    return sorted(name for name in configured_variables() if name.startswith(prefixes))


@contextlib.contextmanager
def sandbox(settings: Settings) -> Iterator[None]:
    """Make sample downloads, start a stand-in Stash, and set both as the services."""
    home = settings.home_folder / "sandbox"
    downloads, library = home / "downloads", home / "library"
    library.mkdir(parents=True, exist_ok=True)
    print(f"Nothing is configured: running on a sandbox in {home}")
    if not downloads.exists():
        print("Making sample videos …")
        # Ctrl-C meanwhile must not leave half of them for all.
        unfinished = home / "downloads.part"
        make_samples(unfinished)
        unfinished.rename(downloads)
    with stand_in(home / "stash", library) as url:
        os.environ |= {
            f"{PREFIX}HOME": str(home),
            f"{PREFIX}STASH__URL": url,
            f"{PREFIX}STASH__SCAN_PATHS": json.dumps([str(library)]),
            f"{PREFIX}STASH__POLL_INTERVAL_SECONDS": "0.2",
            f"{PREFIX}DOWNLOADS__SOURCE": "folder",
            f"{PREFIX}DOWNLOADS__FOLDER": str(downloads),
            f"{PREFIX}DOWNLOADS__LIBRARY_ROOT": str(library),
            # The sample videos show all of it on their title cards.
            f"{PREFIX}ANALYSIS__DETECT_PERFORMERS": "true",
            f"{PREFIX}ANALYSIS__DETECT_STUDIOS": "true",
        }
        get_settings.cache_clear()
        yield


@contextlib.contextmanager
def stand_in(home: Path, library: Path) -> Iterator[str]:
    """Run a stand-in Stash server in a process of its own; yield its address."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sandbox.stash", "--seed-samples"),
                *("--port", str(port)),
                *("--home", str(home)),
                *("--library", str(library)),
            ],
            stdout=log,
            stderr=log,
            # Ctrl-C is for the run; the server is stopped after it, or when this is
            # killed.
            preexec_fn=partial(leave_process_group, os.getpid()),
        )
    try:
        wait_until_ready(url, process, home / "server.log")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers; exit with its log when it does not."""
    deadline = time.monotonic() + _START_LIMIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/healthz", timeout=5).is_success:
                return
        time.sleep(0.1)
    sys.exit(f"Error: the stand-in Stash did not start; see {log}")


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say_what_next(settings: Settings) -> None:
    """Tell where things are and how to go on."""
    home = settings.home_folder / "sandbox"
    print(
        f"""
The placed videos are in {home / "library"}, hard-linked to {home / "downloads"}.
Next:
  make run     again: everything is done, so the steps without work are skipped
  make verify  compare the mirror with Stash, field by field
  make up      Prefect's UI with the deployments, their forms and schedules
  .env         your own services: cp deployments/env.example .env, then set
               STASHHOG_STASH__URL and the STASHHOG_DOWNLOADS__… of your machine"""
    )


if __name__ == "__main__":
    main()
