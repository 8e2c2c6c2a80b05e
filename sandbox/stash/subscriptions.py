"""News of jobs over the websocket: the subscription `jobsSubscribe`.

Like the real server it shows no jobs that are there at the start, tells of changes
ten times a second at most, and gives the end of a job in REMOVE only.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from graphql import FieldNode, GraphQLError, OperationDefinitionNode, parse
from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.stash.jobs import JobQueue

PROTOCOL = "graphql-transport-ws"
_INTERVAL_SECONDS = 0.1
_UNEXPECTED = 1002

Shown = dict[str, Any]


class Subscriptions:
    """Answers websockets of one stand-in.

    Args:
        jobs: Its job queue.
        is_allowed: Tells whether a connection carries the right key.
    """

    def __init__(self, jobs: JobQueue, is_allowed: Callable[[WebSocket], bool]) -> None:
        self._jobs = jobs
        self._is_allowed = is_allowed

    async def answer(self, socket: WebSocket) -> None:
        """Talk to one client until it goes."""
        if not self._is_allowed(socket):
            # Before it is accepted, this refuses the handshake.
            await socket.close()
            return
        await socket.accept(subprotocol=PROTOCOL)
        telling: set[asyncio.Task[None]] = set()
        try:
            with suppress(WebSocketDisconnect):
                await self._talk(socket, telling)
        finally:
            for task in telling:
                task.cancel()

    async def _talk(self, socket: WebSocket, telling: set[asyncio.Task[None]]) -> None:
        is_open = False
        while True:
            message = json.loads(await socket.receive_text())
            match message["type"]:
                case "connection_init":
                    is_open = True
                    await _send(socket, {"type": "connection_ack"})
                case "ping":
                    await _send(socket, {"type": "pong"})
                case "subscribe" if is_open:
                    await self._subscribe(socket, message, telling)
                case _:
                    await socket.close(_UNEXPECTED, "unexpected message")
                    return

    async def _subscribe(
        self,
        socket: WebSocket,
        message: dict[str, Any],
        telling: set[asyncio.Task[None]],
    ) -> None:
        number = message["id"]
        try:
            field = _subscribed(message["payload"]["query"])
        except GraphQLError as error:
            payload = [error.formatted]
            await _send(socket, {"id": number, "type": "error", "payload": payload})
            return
        known = self._live()
        telling.add(asyncio.create_task(self._tell(socket, number, field, known)))

    async def _tell(
        self, socket: WebSocket, number: str, field: FieldNode, known: dict[str, Shown]
    ) -> None:
        name = (field.alias or field.name).value
        while True:
            now = self._live()
            for kind, job in self._changes(known, now):
                news = _selected(field, {"type": kind, "job": job})
                payload = {"data": {name: news}}
                await _send(socket, {"id": number, "type": "next", "payload": payload})
            known = now
            await asyncio.sleep(_INTERVAL_SECONDS)

    def _changes(
        self, before: dict[str, Shown], now: dict[str, Shown]
    ) -> Iterator[tuple[str, Shown]]:
        for number, job in now.items():
            if number not in before:
                yield "ADD", job
            elif before[number] != job:
                yield "UPDATE", job
        for number, job in before.items():
            if number not in now:
                yield "REMOVE", self._jobs.find(int(number)) or job

    def _live(self) -> dict[str, Shown]:
        return {job["id"]: job for job in self._jobs.queue() or ()}


def _subscribed(query: str) -> FieldNode:
    """Return the field that a document subscribes to.

    Raises:
        GraphQLError: It cannot be read, or is no subscription to jobs.
    """
    operation = parse(query).definitions[0]
    if isinstance(operation, OperationDefinitionNode):
        field = operation.selection_set.selections[0]
        if isinstance(field, FieldNode) and field.name.value == "jobsSubscribe":
            return field
    raise GraphQLError("only jobsSubscribe can be subscribed to")


def _selected(field: FieldNode, value: Any) -> Any:
    """Return those parts of `value` that the field asks for."""
    if field.selection_set is None or value is None:
        return value
    return {
        (part.alias or part.name).value: _selected(part, value[part.name.value])
        for part in field.selection_set.selections
        if isinstance(part, FieldNode)
    }


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    # The real server ends each message with a line feed.
    await socket.send_text(json.dumps(message) + "\n")
