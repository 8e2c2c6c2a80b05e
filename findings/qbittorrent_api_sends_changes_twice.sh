#!/bin/sh
# qbittorrent-api sends a change twice, and then says that it was made before.
#
# A call that fails raises, and whether to try again depends on what it does, so one
# expects one request for each change. qbittorrent-api repeats any request that is
# answered with 500 and above. A proxy answers 504 when it is tired of waiting, while
# qBittorrent goes on: the second request then comes to a server that has done the work,
# and the error is that of the second one. The category that the call has made is told
# to be there already. `_retries=0` and `HTTPADAPTER_ARGS` leave this repetition on, and
# a loop that tries three times makes six requests.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet qbittorrent-api==2026.10.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import qbittorrentapi

asked: list[str] = []
made: set[bytes] = set()


class Proxy(BaseHTTPRequestHandler):
    """Stands before a slow qBittorrent, which knows categories as the real one does."""

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"]))
        status, cookie = 200, None
        if self.path.endswith("/auth/login"):
            cookie = "SID=1; path=/"
        else:
            asked.append(self.path.rpartition("/")[2])
            status = 409 if form in made else 504
            made.add(form)
        self.send_response(status)
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"Ok.")

    def do_GET(self):
        version = b"v5.1.0" if self.path.endswith("app/version") else b"2.11.4"
        self.send_response(200)
        self.send_header("Content-Length", str(len(version)))
        self.end_headers()
        self.wfile.write(version)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = qbittorrentapi.Client(
    host=f"http://127.0.0.1:{server.server_port}",
    username="name",
    password="word",
    HTTPADAPTER_ARGS={"max_retries": 0},
)
client.auth_log_in()
told = {}
for name, options in (("done", {}), ("kept", {"_retries": 0})):
    try:
        client.torrents_create_category(name, **options)
    except qbittorrentapi.APIError as error:
        told[name] = type(error).__name__
version = importlib.metadata.version("qbittorrent-api")
print(f"qbittorrent-api {version}: two calls, {len(asked)} requests, errors {told}")
assert asked == ["createCategory"] * 4, asked
assert told == {"done": "Conflict409Error", "kept": "Conflict409Error"}, told
PYTHON
