#!/bin/sh
# vcrpy's `body` matcher takes a form with an empty value for one without that value.
#
# With `match_on=["method", "uri", "body"]` one expects that a recorded answer is played
# to the same question only. vcrpy parses forms before it compares them, and the parser
# drops empty values. qBittorrent answers `category=` with the torrents without a
# category, and a form without `category` with all of them. The test of a program that
# asks the wrong one of these questions passes. In JSON, `true` and 1 are the same to
# the matcher as well. `raw_body` tells all of these apart.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet vcrpy==9.4.2 httpx==0.28.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import vcr
from vcr.errors import CannotOverwriteExistingCassetteException


class Server(BaseHTTPRequestHandler):
    """Answers with what it is asked."""

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(asked)))
        self.end_headers()
        self.wfile.write(asked)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}/api/v2/torrents/info"


def played(body: str, recorded: dict, asked: dict) -> str | None:
    """Return the answer to a question other than the recorded one; None: refused."""
    recorder = vcr.VCR(match_on=["method", "uri", body])
    cassette = f"{body}-{recorded}.yaml"
    with recorder.use_cassette(cassette):
        httpx.post(URL, **recorded)
    with recorder.use_cassette(cassette, record_mode="none"):
        try:
            return httpx.post(URL, **asked).text
        except CannotOverwriteExistingCassetteException:
            return None


CASES = {
    "empty value": ({"data": {"sort": "a", "category": ""}}, {"data": {"sort": "a"}}),
    "other value": ({"data": {"sort": "a"}}, {"data": {"sort": "b"}}),
    "true and 1": ({"json": {"keep": True}}, {"json": {"keep": 1}}),
}
found = {
    body: {case: played(body, *pair) for case, pair in CASES.items()}
    for body in ("body", "raw_body")
}
version = importlib.metadata.version("vcrpy")
for body, answers in found.items():
    print(f"vcrpy {version}, {body}: {answers}")
assert found["body"]["empty value"] == "sort=a&category=", found
assert found["body"]["true and 1"] == '{"keep":true}', found
assert found["body"]["other value"] is None, found
assert set(found["raw_body"].values()) == {None}, found
PYTHON
