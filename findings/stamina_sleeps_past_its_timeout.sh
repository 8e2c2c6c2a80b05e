#!/bin/sh
# stamina sleeps past its `timeout`, and then makes one more call.
#
# `timeout` is documented as the longest time for all retries together, so one expects
# that the error comes out as soon as the next pause would end after it. stamina looks
# at the clock only when a call has failed, and sleeps the whole pause: with a timeout
# of half a second and a server that asks for two seconds of rest (`Retry-After`, given
# back by the `on` hook), the second call comes after two seconds. `wait_max` does not
# shorten such a pause either: a server that asks for an hour gets the hour.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet stamina==26.1.0 httpx==0.28.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import time

import httpx
import stamina

TIMEOUT, REST = 0.5, 2
stamina.instrumentation.set_on_retry_hooks(())


def rest(error: Exception) -> bool | float:
    """Wait as long as the server says."""
    if isinstance(error, httpx.HTTPStatusError):
        return float(error.response.headers["Retry-After"])
    return False


def answer(request: httpx.Request) -> httpx.Response:
    calls.append(time.monotonic() - begin)
    return httpx.Response(429, headers={"Retry-After": str(REST)})


client = httpx.Client(transport=httpx.MockTransport(answer))
calls, begin = [], time.monotonic()
try:
    for attempt in stamina.retry_context(on=rest, timeout=TIMEOUT, wait_max=0.1):
        with attempt:
            client.get("http://stash.example/graphql").raise_for_status()
except httpx.HTTPStatusError:
    ended = time.monotonic() - begin
version = importlib.metadata.version("stamina")
shown = [round(at, 1) for at in calls]
print(f"stamina {version}: timeout {TIMEOUT} s, calls at {shown} s, over at {ended:.1f} s")
assert len(calls) == 2, calls
assert calls[1] >= REST > TIMEOUT and ended >= REST, (calls, ended)
PYTHON
