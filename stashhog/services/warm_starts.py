"""The worker's side of `run_server`: runs start in a process that is forked.

Prefect's worker still does all the rest: it prepares the run's folder, passes on
cancellations, waits for the end and calls the hooks. If the run server cannot be used,
the worker starts the run as Prefect does.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import anyio
from prefect.runner import _starter_engine
from prefect.utilities.processutils import run_process

from stashhog.services.run_server import PER_RUN, READY

_OURS = ("stashhog", "flows", "tasks", "stashhog_core")
_SUPERVISOR = ["-m", "prefect.runner._workspace_supervisor"]
# Only one that hangs is waited for so long: one that ends is noticed at once.
_READY_SECONDS = 300.0
_READ_BYTES = 1 << 16

logger = logging.getLogger("prefect.stashhog.worker")


def start_runs_warm() -> None:
    """Have this process, a worker of Prefect, start its runs by a run server."""
    if sys.platform == "linux":
        # What Prefect itself names as the place to replace.
        vars(_starter_engine)["run_process"] = _Starter().run_process


def code_version(packages: Iterable[Path]) -> list[tuple[str, int]]:
    """Return the times of change of the modules in these folders, at any depth."""
    modules = [file for folder in packages for file in folder.rglob("*.py")]
    return sorted((str(file), file.stat().st_mtime_ns) for file in modules)


def _installed_version() -> object:
    """Return what changes when StashHog or one of its packages is updated."""
    try:
        return _versions()
    except OSError:
        # A file was removed between two looks: an update is under way.
        return object()


def _versions() -> object:
    found = [find_spec(name) for name in _OURS]
    ours = [
        Path(folder)
        for spec in found
        if spec is not None
        for folder in spec.submodule_search_locations or ()
    ]
    # Where packages are installed: their files are too many to be asked each time.
    folders = [path for path in map(Path, sys.path) if path.name.endswith("-packages")]
    changed = [folder.stat().st_mtime_ns for folder in folders if folder.is_dir()]
    return code_version(ours), changed


class _Starter:
    """Starts runs, and the run server that they need."""

    def __init__(self) -> None:
        self._server: _RunServer | None = None
        self._refused: object = None
        self._one_at_a_time = asyncio.Lock()

    async def run_process(
        self,
        command: list[str],
        *,
        stream_output: Any = False,
        task_status: Any = None,
        task_status_handler: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> Any:
        """Do what Prefect's function of this name does, which it stands in for."""
        process = None
        if command[1:3] == _SUPERVISOR and stream_output is True:
            process = await self._start(command[3], options["cwd"], options["env"])
        if process is None:
            return await run_process(
                command,
                stream_output=stream_output,
                task_status=task_status,
                task_status_handler=task_status_handler,
                **options,
            )
        if task_status is not None:
            value: Any = process.pid
            if task_status_handler is not None:
                value = task_status_handler(process)
            task_status.started(value)
        await process.finish()
        return process

    async def _start(
        self, config: str, folder: Path, environment: dict[str, str]
    ) -> "_Process | None":
        """Fork a run; None: there is no run server, and nothing was started."""
        async with self._one_at_a_time:
            server = await self._current_server(environment)
            if server is None:
                return None
            return await server.fork(config, folder, environment)

    async def _current_server(self, environment: dict[str, str]) -> "_RunServer | None":
        variables = {
            name: value
            for name, value in environment.items()
            if not name.startswith(PER_RUN)
        }
        needed = (await asyncio.to_thread(_installed_version), variables)
        server = self._server
        if server is not None:
            if server.serves == needed and server.is_alive():
                return server
            # Its runs go on, and it ends with the last one.
            server.leave()
            self._server = None
        if self._refused == needed:
            return None
        server = _RunServer(needed, variables)
        if not await server.is_ready():
            server.leave()
            self._refused = needed
            logger.warning(
                "The run server did not start, so runs start more slowly: each run "
                "imports Prefect and StashHog itself"
            )
            return None
        self._server = server
        return server


class _RunServer:
    """The process that forks runs.

    Args:
        serves: The version of the code and the variables that it is started for.
        variables: Its environment.
    """

    def __init__(self, serves: object, variables: dict[str, str]) -> None:
        self.serves = serves
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [
                    # The path of a run begins with the folder of its deployment.
                    *(sys.executable, "-P", "-m", "stashhog.services.run_server"),
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                env=variables,
                cwd=os.sep,
                stdin=subprocess.DEVNULL,
                # Ctrl-C in a terminal is for the worker.
                start_new_session=True,
            )

    async def is_ready(self) -> bool:
        """Wait until it has imported what runs need."""
        loop = asyncio.get_running_loop()
        with anyio.move_on_after(_READY_SECONDS), suppress(OSError):
            return await loop.sock_recv(self._socket, len(READY)) == READY
        return False

    def is_alive(self) -> bool:
        """Tell whether it can fork runs."""
        return self._process.poll() is None

    def leave(self) -> None:
        """Have it end with the last of its runs."""
        self._socket.close()
        # Or it would stay a zombie until the worker ends.
        threading.Thread(target=self._process.wait, daemon=True).start()

    async def fork(
        self, config: str, folder: Path, environment: dict[str, str]
    ) -> "_Process | None":
        """Start a run; None: the server has ended, and nothing was started.

        Raises:
            TimeoutError: It is unknown whether the run has started.
        """
        request = {
            "config": config,
            "cwd": str(folder),
            "environment": environment,
        }
        packet = json.dumps(request).encode()
        ours, theirs = zip(*(os.pipe() for _ in range(3)), strict=True)
        output, errors, state = [await _reader(descriptor) for descriptor in ours]
        try:
            socket.send_fds(self._socket, [packet], theirs)
        except OSError:
            # It has ended, or the environment is larger than a packet.
            return None
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        # Whoever stops the worker now must not leave a run behind that nobody knows.
        with anyio.fail_after(_READY_SECONDS, shield=True):
            number = await state.readline()
        return _Process(int(number), output, errors, state) if number else None


class _Process:
    """A run's process, as Prefect knows one from `anyio.open_process`."""

    def __init__(
        self,
        pid: int,
        output: asyncio.StreamReader,
        errors: asyncio.StreamReader,
        state: asyncio.StreamReader,
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._output = output
        self._errors = errors
        self._state = state

    async def finish(self) -> None:
        """Pass on what the run prints, until its process has ended."""
        async with anyio.create_task_group() as group:
            group.start_soon(_pass_on, self._output, sys.stdout)
            group.start_soon(_pass_on, self._errors, sys.stderr)
            try:
                status = await self._state.readline()
            except BaseException:
                # The worker is stopped: Prefect ends its runs with it.
                self._kill()
                raise
            if status:
                self.returncode = int(status)
                return
            # The run server was killed. Nobody else could tell how the run ends.
            self._kill()
            self.returncode = -signal.SIGKILL

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


async def _reader(descriptor: int) -> asyncio.StreamReader:
    """Return what reads from a pipe, and closes the pipe at its end."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    pipe = os.fdopen(descriptor, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    return reader


async def _pass_on(source: asyncio.StreamReader, sink: TextIO) -> None:
    while text := await source.read(_READ_BYTES):
        # The rest is still read if nobody takes it: the run would wait for ever.
        with suppress(OSError, ValueError):
            sink.buffer.write(text)
            sink.flush()
