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
from typing import Any

import httpx

from sandbox.samples import make_samples
from stashhog.cli.app import main as terminal
from stashhog.cli.console import EXIT_CANCELLED
from stashhog.cli.output import guarded_streams
from stashhog.cli.runs import end_undisturbed
from stashhog_core.background import leave_process_group
from stashhog_core.errors import ConfigurationError
from stashhog_core.loopback import keep_loopback_direct
from stashhog_core.settings import PREFIX, Settings, configured_variables, get_settings

SERVICES = ("STASH", "DATABASE", "DOWNLOADS", "QBITTORRENT", "AI_SERVER", "LIBRARY")
MAIN_JOB = ["run", "process_new_scenes"]
_START_LIMIT_SECONDS = 300


def main() -> None:
    """Run the main job, or what the arguments say; say what to do next."""
    with guarded_streams():
        _run_or_say()


def _run_or_say() -> None:
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
    home = sandbox_home(settings)
    print(f"Nothing is configured: running on a sandbox in {home}")
    prepare_folders(home)
    with stand_in(home / "stash", home / "library") as url:
        os.environ |= {f"{PREFIX}HOME": str(home), **variables(home, url)}
        get_settings.cache_clear()
        yield


DEMO_SETTINGS = "demo.env"
"""The settings that `make demo` writes, and tells people to use in a terminal."""


def sandbox_home(settings: Settings) -> Path:
    """Return the folder of the sandbox; these may be the settings of the demo in it."""
    home = settings.home_folder
    return home if (home / DEMO_SETTINGS).exists() else home / "sandbox"


def prepare_folders(home: Path) -> None:
    """Make the library folder and the sample downloads, unless they are there."""
    downloads = home / "downloads"
    (home / "library").mkdir(parents=True, exist_ok=True)
    if not downloads.exists():
        print("Making sample videos …")
        # Ctrl-C meanwhile must not leave half of them for all.
        unfinished = home / "downloads.part"
        make_samples(unfinished)
        unfinished.rename(downloads)


def variables(home: Path, url: str) -> dict[str, str]:
    """Return the settings of a sandbox whose stand-in Stash is at this address."""
    library = str(home / "library")
    return {
        f"{PREFIX}STASH__URL": url,
        f"{PREFIX}STASH__SCAN_PATHS": json.dumps([library]),
        f"{PREFIX}STASH__POLL_INTERVAL_SECONDS": "0.2",
        f"{PREFIX}DOWNLOADS__SOURCE": "folder",
        f"{PREFIX}DOWNLOADS__FOLDER": str(home / "downloads"),
        f"{PREFIX}DOWNLOADS__LIBRARY_ROOT": library,
        # The sample videos show all of it on their title cards.
        f"{PREFIX}ANALYSIS__DETECT_PERFORMERS": "true",
        f"{PREFIX}ANALYSIS__DETECT_STUDIOS": "true",
    }


@contextlib.contextmanager
def stand_in(home: Path, library: Path) -> Iterator[str]:
    """Run a stand-in Stash server in a process of its own; yield its address."""
    port = free_port()
    # Ctrl-C is for the run; the server is stopped after it, or when this is killed.
    process = start_stand_in(
        home, library, port, preexec_fn=partial(leave_process_group, os.getpid())
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def start_stand_in(
    home: Path, library: Path, port: int, **options: Any
) -> "subprocess.Popen[bytes]":
    """Start a stand-in Stash, and return its process when it answers.

    The process also serves the stash-box that it asks, which knows some of the samples.

    Args:
        home: Its own folder.
        library: The folder that it scans.
        port: Where it listens on loopback.
        options: How the process is started, as `subprocess.Popen` takes them.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sandbox.stash", "--seed-samples"),
                *("--port", str(port)),
                *("--home", str(home)),
                *("--library", str(library)),
                *("--sample-box", str(library.with_name("downloads"))),
                *("--box-port", str(kept_port(home / "stash-box-port"))),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **options,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, home / "server.log")
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers; exit with its log when it does not."""
    deadline = time.monotonic() + _START_LIMIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/healthz", timeout=_START_LIMIT_SECONDS).is_success:
                return
        time.sleep(0.1)
    sys.exit(f"Error: the stand-in Stash did not start; see {log}")


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kept_port(note: Path) -> int:
    """Return the port that a file notes, so that ids at the stash-box stay valid.

    A port that is taken, or none, is replaced by a free one.
    """
    with contextlib.suppress(OSError, ValueError), socket.socket() as probe:
        port = int(note.read_text(encoding="ascii"))
        probe.bind(("127.0.0.1", port))
        return port
    port = free_port()
    note.write_text(str(port), encoding="ascii")
    return port


def say_what_next(settings: Settings) -> None:
    """Tell where things are and how to go on."""
    home = sandbox_home(settings)
    print(
        f"""
The placed videos are in {home / "library"}, hard-linked to {home / "downloads"}.
Next:
  make run     again: everything is done, so the steps without work are skipped
  make verify  compare the mirror with Stash, field by field
  make identify
               ask a stand-in for a stash-box about the videos; it knows two of them
  make demo    the sandbox with Prefect's UI, its forms and schedules, until make down
  make init    your own services: asks for the settings and tries each of them
  make up      then Prefect's UI with deployments that work on your services"""
    )
