"""Forks runs from a process that has imported what each run imports.

Prefect's worker starts each run with two new Python processes, one after another, which
import Prefect and our flows. That is most of what a short run takes. This program
imports them once and forks a process for each run. It runs no flow, opens no connection
and starts no thread itself, so that each run begins as a new program would.

The worker sends a packet for each run: a JSON object with `config` (what the worker
hands to Prefect's supervisor), `cwd` and `environment`, and three descriptors: for what
the run prints, for its errors, and for its state. On the last one the worker reads the
number of the process and, when the process has ended, its exit status as `subprocess`
counts it.

The program ends when the worker has ended and the last of its runs has.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from stashhog.importing import importing

READY = b"ready"
"""The first packet that the worker gets."""

PACKET_BYTES = 1 << 20
PER_RUN = "PREFECT__"
"""The beginning of the variables that differ from run to run."""

RUN_ID = "PREFECT__FLOW_RUN_ID"

# What runs import. What uses several threads as soon as it is imported, such as NumPy,
# is left to the runs: a fork has one thread only.
_IMPORTED = (
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.runner._workspace_runtime_bootstrap",
    "prefect.runner._workspace_supervisor",
    "flows.auto_stash_sync",
    "flows.jobs",
    "tasks.downloads",
    "tasks.plans",
    "tasks.stash_jobs",
    "tasks.sync",
)
_OURS = ("stashhog", "flows", "tasks", "stashhog_core")
_ENGINE = ["-m", "prefect.engine"]


@dataclass(frozen=True)
class Request:
    """A run to start: the path of Prefect's configuration, the folder, variables."""

    config: str
    cwd: str
    environment: dict[str, str]


def main() -> int:
    """Fork runs until the worker has ended; the argument is the worker's socket."""
    worker = socket.socket(fileno=int(sys.argv[1]))
    with importing():
        for module in _IMPORTED:
            importlib.import_module(module)
    if _threads() > 1:
        # Locks that another thread holds would stay locked in each run.
        sys.stderr.write(
            "Runs cannot be forked: an imported module has started threads\n"
        )
        return 1
    # What is imported stays: collecting garbage would copy its pages into each run.
    gc.collect()
    gc.freeze()
    # Fails where the kernel is too old to watch processes that way.
    os.close(os.pidfd_open(os.getpid()))
    worker.send(READY)
    request = _serve(worker)
    return 0 if request is None else _run(request)


def process_name(run_id: str) -> str:
    """Return what `ps` calls the process of a run: Linux keeps 15 bytes of a name."""
    return f"run {run_id[-11:]}"


def _threads() -> int:
    """Return the number of threads of this process, those of C libraries included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _serve(worker: socket.socket) -> Request | None:
    """Return the request in the process of each run, and None where all has ended."""
    # The number of each run's process and where its state goes, by what watches it.
    runs: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(worker, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                if key.fileobj is not worker:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _tell_end(*runs.pop(key.fd))
                    continue
                packet, descriptors, _, _ = socket.recv_fds(worker, PACKET_BYTES, 3)
                if not packet:
                    selector.unregister(worker)
                    continue
                pid = _fork(descriptors)
                if pid == 0:
                    worker.close()
                    for watched, (_, state) in runs.items():
                        os.close(watched)
                        os.close(state)
                    return Request(**json.loads(packet))
                if pid is not None:
                    watched = os.pidfd_open(pid)
                    runs[watched] = (pid, descriptors[2])
                    selector.register(watched, selectors.EVENT_READ)
    return None


def _fork(descriptors: list[int]) -> int | None:
    """Start a run's process; return its number, 0 in that process itself.

    None: there cannot be one now. The worker reads that from a state without a number.
    """
    pid = None
    # Of too many open files, fewer come; of processes, there may be too many.
    with suppress(OSError):
        if len(descriptors) == 3:
            pid = os.fork()
    if pid == 0:
        output, errors, state = descriptors
        # The worker may send signals to the group from now on.
        os.setsid()
        os.write(state, f"{os.getpid()}\n".encode())
        os.dup2(output, 1)
        os.dup2(errors, 2)
    kept = descriptors[2:] if pid else []
    for descriptor in descriptors:
        if descriptor not in kept:
            os.close(descriptor)
    return pid


def _tell_end(pid: int, state: int) -> None:
    """Reap a run's process, and tell the worker how it has ended."""
    _, status = os.waitpid(pid, 0)
    # The worker may have been killed.
    with suppress(BrokenPipeError):
        os.write(state, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os.close(state)


def _run(request: Request) -> int:
    """Do what Prefect's supervisor and engine do, without starting a program."""
    from prefect.runner import _workspace_runtime_bootstrap as bootstrap
    from prefect.runner import _workspace_supervisor as supervisor

    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The command line is that of the run server.
    Path("/proc/self/comm").write_text(process_name(request.environment[RUN_ID]))
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.cwd)
    start_engine = supervisor._launch_engine
    is_prepared = False

    async def launch(
        command: list[str], *, cwd: Path, environment: dict[str, str]
    ) -> int:
        nonlocal is_prepared
        path = [str(cwd), *filter(None, environment["PYTHONPATH"].split(os.pathsep))]
        path = list(dict.fromkeys([*path, *sys.path]))
        is_prepared = (
            command[1:] == _ENGINE
            and _differing(request.environment, environment) <= {"PYTHONPATH"}
            and _are_found_in(path)
        )
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        if not is_prepared or _settings_differ():
            is_prepared = False
            return await start_engine(command, cwd=cwd, environment=environment)
        sys.path[:] = path
        return 0

    supervisor._launch_engine = launch
    status = supervisor.main([request.config])
    if not is_prepared or status != 0:
        return status
    return bootstrap._run_engine(os.environ["PREFECT__FLOW_ENTRYPOINT"])


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    """Return the variables that differ, but for those that belong to one run."""
    names = {name for name, _ in one.items() ^ other.items()}
    return {name for name in names if not name.startswith(PER_RUN)}


def _settings_differ() -> bool:
    """Tell whether a new program would read other settings of Prefect.

    They may stand in files of its folder, or in the profile.
    """
    from prefect.settings import Settings, get_current_settings

    return Settings().to_environment_variables(
        exclude_unset=True
    ) != get_current_settings().to_environment_variables(exclude_unset=True)


def _are_found_in(path: list[str]) -> bool:
    """Tell whether a new program with this path would import the same modules of ours.

    A deployment may work in another checkout.
    """
    return all(
        (found := PathFinder.find_spec(name, path)) is not None
        and found.origin == sys.modules[name].__file__
        for name in _OURS
    )


if __name__ == "__main__":
    sys.exit(main())
