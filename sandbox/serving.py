"""Serving an application from a thread: started and stopped at once."""

import asyncio
import contextlib
import socket
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, Self

import uvicorn

_START_SECONDS = 300
_GRACE_SECONDS = 1.0
_POLL_SECONDS = 0.002
_CHECK_SECONDS = 0.1


class Served:
    """An application that answers while it is started.

    The port stays the same over restarts.

    Args:
        name: Of its thread.
        port: 0 takes a free one.
        host: The address to listen at.
        options: Further ones of `uvicorn.Config`.
    """

    def __init__(
        self, name: str, port: int = 0, host: str = "127.0.0.1", **options: Any
    ) -> None:
        self._name = name
        self._host = host
        self._port = port
        self._options = options

    @property
    def url(self) -> str:
        """Address on this machine without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    def start(self, app: Any) -> None:
        """Start answering; return when it does."""
        # Named as TCP, or asyncio leaves Nagle's delay on: 40 ms an answer.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._host, self._port))
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(app, log_level="error", lifespan="off", **self._options)
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name=self._name, daemon=True
        )
        self._thread.start()
        if not self._server.answers.wait(_START_SECONDS):
            raise RuntimeError(f"{self._name} did not start")

    def stop(self) -> None:
        """Answer nothing more; return when the port is free."""
        self._server.end()
        self._thread.join()
        self._listener.close()

    def join(self) -> None:
        """Wait until it is stopped from elsewhere."""
        # Not by joining: a signal that comes meanwhile has Python 3.11 take the thread
        # for ended, and what follows then pulls the socket from under it.
        while self._thread.is_alive():
            time.sleep(_CHECK_SECONDS)


class StandInServer(ABC):
    """A stand-in that answers while it is entered."""

    _served: Served

    @abstractmethod
    def start(self) -> None:
        """Start answering; the port stays the same over restarts."""

    def stop(self) -> None:
        """Be away."""
        self._served.stop()

    def join(self) -> None:
        """Wait until it is stopped from elsewhere."""
        self._served.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """Told when to end: uvicorn's own server looks every 0.1 s, and then waits 0.1 s.

    Tests start and stop hundreds of them.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = threading.Event()

    def end(self) -> None:
        """Have the thread end; may be called from any thread, and again."""
        self.should_exit = True
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
            self._loop.call_soon_threadsafe(self._ending.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self.answers.set()
        # Each tenth tick brings the answers' date up to date.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A connection that was accepted a moment ago is only a task of the loop. Python
        # 3.11 forgets that one, open, if its server is closed before the task's first
        # step, and its client would wait for an answer that nobody gives.
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listener in server.sockets:
                loop.remove_reader(listener.fileno())
        await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        state = self.server_state
        current = asyncio.current_task()
        deadline = time.monotonic() + _GRACE_SECONDS
        closed: set[object] = set()
        while state.connections or asyncio.all_tasks() != {current}:
            for connection in state.connections - closed:
                closed.add(connection)
                connection.shutdown()
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL_SECONDS)
        for task in state.tasks:
            task.cancel()
