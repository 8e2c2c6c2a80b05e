"""The services that the settings name: free ports, a stand-in, `stashhog up`."""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from sandbox.samples import Sample, seed_library
from sandbox.stash.server import StandIn
from stashhog_core.settings import PREFIX, get_settings
from tests.support.http import loopback
from tests.support.processes import is_alive, processes
from tests.support.waiting import wait_until

# Below those that the system gives to outgoing connections, which would take one
# between its choice and the start of the server.
_FIRST, _NUMBER = 20_000, 12_000
# Test processes that run side by side begin at different places.
_offsets = itertools.count(os.getpid() * 97)


def free_port() -> int:
    """Return a port of loopback that nobody listens at, another one each time."""
    for offset in itertools.islice(_offsets, _NUMBER):
        port = _FIRST + offset % _NUMBER
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")


@dataclass(frozen=True)
class Services:
    """A stand-in Stash, its library folder, and a watch folder full of samples."""

    stash: StandIn
    downloads: Path
    library: Path
    samples: list[Sample]

    @property
    def readable(self) -> list[Sample]:
        """The samples that become scenes."""
        return [sample for sample in self.samples if not sample.is_corrupt]

    def placed(self, sample: Sample) -> Path:
        """Return where a sample comes to lie in the library."""
        return self.library / sample.path.relative_to(self.downloads)


def sample_services(
    stand_in: StandIn,
    database_url: str,
    videos: Path,
    samples: list[Sample],
    folder: Path,
    set_variable: Callable[[str, str], object],
) -> Services:
    """Copy downloads, seed a stand-in Stash, and set both and a database as services.

    Args:
        stand_in: The stand-in, with an empty library.
        database_url: An empty database.
        videos: The folder of the downloads.
        samples: What these are.
        folder: Where the copies of the downloads and STASHHOG_HOME come to lie.
        set_variable: Sets a variable of the environment for the time of the test.
    """
    seed_library(stand_in.store)
    downloads = folder / "downloads"
    shutil.copytree(videos, downloads)
    samples = [replace(s, path=downloads / s.path.relative_to(videos)) for s in samples]
    library = stand_in.library
    for name, value in {
        "HOME": str(folder / "home"),
        "DATABASE__URL": database_url,
        "STASH__URL": stand_in.url,
        "STASH__SCAN_PATHS": json.dumps([str(library)]),
        "STASH__POLL_INTERVAL_SECONDS": "0.1",
        "DOWNLOADS__SOURCE": "folder",
        "DOWNLOADS__FOLDER": str(downloads),
        "DOWNLOADS__LIBRARY_ROOT": str(library),
        "DOWNLOADS__SETTLE_SECONDS": "0",
        "ANALYSIS__DETECT_PERFORMERS": "true",
        "ANALYSIS__DETECT_STUDIOS": "true",
    }.items():
        set_variable(f"{PREFIX}{name}", value)
    get_settings.cache_clear()
    return Services(stand_in, downloads, library, samples)


ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PARTS = ("supervisor", "server", "worker", "pages")
"""What `up` starts."""

SERVICES = ("database", *PARTS, "deployments")
"""What `status` shows besides Stash and the folders."""


FEW_SAMPLES = frozenset(
    ("harbor-morning.mp4", "quiet-lake.mp4", "fast-steps.mp4", "broken-download.mp4")
)
"""Three of the sample videos and the corrupt file."""


def copy_few(samples: Path, folder: Path) -> None:
    """Copy these from the folder of all samples."""
    folder.mkdir(exist_ok=True)
    for name in FEW_SAMPLES:
        shutil.copy(samples / name, folder)


Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class RunningServices:
    """The services of one home, and the commands that reach them.

    Attributes:
        home: STASHHOG_HOME.
        url: Where Prefect's UI is.
        stash: The stand-in Stash.
        downloads: The watch folder.
        variables: The settings that the commands get.
        programs: Folder of the commands.
        folder: Working directory of the commands.
    """

    home: Path
    url: str
    stash: StandIn
    downloads: Path
    variables: dict[str, str] = field(repr=False)
    programs: Path = BIN
    folder: Path = ROOT

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user's terminal: no other settings than these."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("STASHHOG_", "PREFECT_"))
        }
        path = f"{self.programs}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**kept, "PATH": path, "COLUMNS": "200", **self.variables}

    def command(self, *words: str, **variables: str) -> Done:
        """Run a command of the environment; `variables` are set for it besides."""
        return subprocess.run(
            [self.programs / words[0], *words[1:]],
            env={**self.environment, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def request(
        self, method: str, path: str, content: object = None, *, auth: str | None
    ) -> httpx.Response:
        """Ask Prefect's API, with the password `auth`."""
        token = b64encode(auth.encode()).decode() if auth else None
        headers = {"Authorization": f"Basic {token}"} if token else {}
        url = f"{self.url}/api{path}"
        return loopback.request(method, url, headers=headers, json=content)

    def ask(self, method: str, path: str, content: object = None) -> Any:
        """Ask Prefect's API, and return what it answers."""
        auth = self.variables.get("PREFECT_API_AUTH_STRING")
        said = self.request(method, path, content, auth=auth)
        assert said.is_success, said.text
        return said.json() if said.content else None

    def start(self, deployment: str, parameters: dict[str, object]) -> str:
        """Ask for a run as Prefect's UI does; return its id."""
        found = self.ask("GET", f"/deployments/name/{deployment}")
        wanted = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        path = f"/deployments/{found['id']}/create_flow_run"
        return str(self.ask("POST", path, wanted)["id"])

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Return when something has come about."""
        wait_until(condition, lambda: f"{self.logs()}\n{what}")

    def wait_for_end(self, run: str) -> Any:
        """Return a run when it is over."""
        over = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

        def is_over() -> bool:
            return self.ask("GET", f"/flow_runs/{run}")["state"]["type"] in over

        self.wait_until(is_over, f"the end of {run}")
        return self.ask("GET", f"/flow_runs/{run}")

    def wait_until_well(self) -> None:
        """Return when all parts are well."""

        def is_well() -> bool:
            # A command takes a second of the processors that the parts need to start.
            if not self.is_running():
                return False
            return all(part["ok"] for part in self.status().values())

        self.wait_until(is_well, "the services")

    def is_running(self) -> bool:
        """Tell whether each part has a process, and the server its database."""
        alive = processes(self.pids().values())
        if len(alive) < len(PARTS) or not all(map(is_alive, alive)):
            return False
        auth = self.variables.get("PREFECT_API_AUTH_STRING")
        try:
            return self.request("GET", "/ready", auth=auth).is_success
        except httpx.TransportError:
            return False

    def status(self, **variables: str) -> dict[str, dict[str, object]]:
        """Return what `stashhog status` says, by part."""
        said = self.command("stashhog", "status", "--json", **variables)
        assert said.stdout, said.stderr
        parts: dict[str, dict[str, object]] = json.loads(said.stdout)
        return parts

    def pids(self) -> dict[str, int]:
        """Return the process numbers of what `up` started, by part."""
        file = self.home / "services.json"
        if not file.exists():
            return {}
        recorded = json.loads(file.read_text())
        return {name: pid for name, (pid, _) in recorded["processes"].items()}

    def logs(self) -> str:
        """Return the ends of the services' logs, for the message of a failure."""
        return "".join(
            f"\n== {path.name}\n{path.read_text()[-3000:]}"
            for path in sorted((self.home / "logs").glob("*.log"))
        )

    def add_downloads(self, samples: Path) -> None:
        """Put a few of the sample videos into the watch folder."""
        copy_few(samples, self.downloads)


@contextmanager
def prepared_services(
    home: Path, folder: Path, **variables: str
) -> Iterator[RunningServices]:
    """Yield services that were not started yet; stop in the end what was.

    Args:
        home: STASHHOG_HOME, fit for an embedded database.
        folder: Where the library, the downloads and the stand-in's files come to lie.
        variables: Settings besides those of the stand-in and the downloads.
    """
    library, downloads = folder / "library", folder / "downloads"
    library.mkdir(parents=True)
    downloads.mkdir()
    url = f"http://127.0.0.1:{free_port()}"
    with StandIn(home=folder / "stash", library=library) as stash:
        stash.faults.item_seconds = 0
        seed_library(stash.store)
        services = RunningServices(
            home,
            url,
            stash,
            downloads,
            {
                "STASHHOG_HOME": str(home),
                "STASHHOG_STASH__URL": stash.url,
                "STASHHOG_STASH__SCAN_PATHS": json.dumps([str(library)]),
                "STASHHOG_STASH__POLL_INTERVAL_SECONDS": "0.1",
                "STASHHOG_DOWNLOADS__SOURCE": "folder",
                "STASHHOG_DOWNLOADS__FOLDER": str(downloads),
                "STASHHOG_DOWNLOADS__LIBRARY_ROOT": str(library),
                "STASHHOG_DOWNLOADS__SETTLE_SECONDS": "0",
                "PREFECT_SERVER_API_PORT": url.rpartition(":")[2],
                "PREFECT_API_URL": f"{url}/api",
                "PREFECT_HOME": str(home / "prefect"),
                "STASHHOG_WEB__PORT": str(free_port()),
                # Runs start soon, and their logs come soon.
                "PREFECT_WORKER_QUERY_SECONDS": "1",
                "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
                **variables,
            },
        )
        try:
            yield services
        finally:
            down = services.command("stashhog", "down")
        assert down.returncode == 0, down.stderr
