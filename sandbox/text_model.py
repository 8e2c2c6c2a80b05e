"""A stand-in for a text model that speaks OpenAI's chat interface.

`python -m sandbox.text_model --port 8001` answers POST /v1/chat/completions: of the
offered names it finds those that stand in the texts, letter for letter.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.serving import Served, StandInServer

CHARACTERS_PER_TOKEN = 4
MODEL = "stand-in"
_REFUSED = JSONResponse({"error": {"message": "Incorrect API key"}}, 401)


class TextStandIn(StandInServer):
    """A running stand-in on loopback, for a `with` block.

    Attributes:
        requests: The bodies it got, in order.
        headers: Those they came with.
        key: The key it asks for; None: none.
        says: Makes an answer's text of a question; None: as described above.
        fault: Answers instead of the model; None: nothing is wrong.
        seconds: How long it takes.
    """

    def __init__(self, port: int = 0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.key: str | None = None
        self.says: Callable[[dict[str, Any]], str] | None = None
        self.fault: Callable[[], Response] | None = None
        self.seconds = 0.0
        self._served = Served("text model", port)

    @property
    def url(self) -> str:
        """The base address of its interface."""
        return f"{self._served.url}/v1"

    async def _complete(self, request: Request) -> Response:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.headers.append(dict(request.headers))
        self.requests.append(json.loads(await request.body()))
        await run_in_threadpool(time.sleep, self.seconds)
        if self.fault is not None:
            return self.fault()
        if self.key is not None and key != self.key:
            return _REFUSED
        body = self.requests[-1]
        question = json.loads(body["messages"][-1]["content"])
        text = (self.says or found_in_texts)(question)
        return JSONResponse(completion(text, tokens_in=tokens(body["messages"])))

    def _models(self, request: Request) -> Response:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.key is not None and key != self.key:
            return _REFUSED
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "sandbox"}
        return JSONResponse({"object": "list", "data": [model]})

    def start(self) -> None:
        """Start answering; the port stays the same over restarts."""
        routes = [
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        self._served.start(Starlette(routes=routes))


def found_in_texts(question: dict[str, Any]) -> str:
    """Return the offered names that stand in the texts, as an answer."""
    text = " ".join(question["texts"].values())
    return json.dumps(
        {
            kind: [
                {"name": name, "quote": name, "confidence": 0.9}
                for name in names
                if name.casefold() in text.casefold()
            ]
            for kind, names in question["offered"].items()
        }
    )


def completion(
    text: str | None,
    *,
    tokens_in: int = 100,
    finish_reason: str = "stop",
    refusal: str | None = None,
) -> dict[str, Any]:
    """Return the body of an answer."""
    tokens_out = len(text or "") // CHARACTERS_PER_TOKEN
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": refusal},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


def tokens(messages: list[dict[str, str]]) -> int:
    """Return about how many tokens a question has."""
    return sum(len(m["content"]) for m in messages) // CHARACTERS_PER_TOKEN


def main() -> None:
    """Run until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8001)
    server = TextStandIn(parser.parse_args().port)
    server.start()
    print(f"Text model on {server.url}")
    server.join()


if __name__ == "__main__":
    main()
