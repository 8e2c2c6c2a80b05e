#!/bin/sh
# transmission-rpc starts all torrents when it is given an empty list of torrents.
#
# A program collects the torrents to start, and may find none, so one expects that
# nothing starts, or an error: `stop_torrent`, `remove_torrent` and others raise one.
# `start_torrent` sends a request without `ids`, which to Transmission means all
# torrents, those that a person has paused included. `get_torrents` does the same, and
# gives the whole list for no ids. aria2p gives all downloads for an empty list too.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transmission-rpc==7.0.12 aria2p==0.12.3
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import aria2p
import transmission_rpc

SESSION = {"rpc-version": 17, "rpc-version-semver": "5.3.0", "version": "4.0.6"}
asked = []


class Server(BaseHTTPRequestHandler):
    """Notes the requests, and answers as Transmission or aria2 without torrents."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request)
        if "jsonrpc" in request:
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": []}
        else:
            known = {"session-get": SESSION, "torrent-get": {"torrents": []}}
            arguments = known.get(request["method"], {})
            answer = {"result": "success", "arguments": arguments}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = transmission_rpc.Client(host="127.0.0.1", port=server.server_port)


def sent(call, *given, **options) -> list:
    """Return the requests of a call; the text of the error, if there are none."""
    asked.clear()
    try:
        call(*given, **options)
    except ValueError as error:
        assert not asked, asked
        return [str(error)]
    return list(asked)


[started] = sent(client.start_torrent, ids=[])
[one] = sent(client.start_torrent, ids=[7])
[listed] = sent(client.get_torrents, ids=[])
others = (client.stop_torrent, client.remove_torrent, client.verify_torrent)
refused = {sent(call, ids=[])[0] for call in others}
aria2 = aria2p.API(aria2p.Client("http://127.0.0.1", server.server_port))
methods = [request["method"] for request in sent(aria2.get_downloads, [])]
server.shutdown()
versions = [importlib.metadata.version(name) for name in ("transmission-rpc", "aria2p")]
print(f"transmission-rpc {versions[0]}: {started}; with one torrent: {one}")
print(f"get_torrents: {sorted(listed['arguments'])}; others: {refused}")
print(f"aria2p {versions[1]}: {methods}")
assert started["method"] == "torrent-start" and started["arguments"] == {}, started
assert one["arguments"] == {"ids": [7]}, one
assert "ids" not in listed["arguments"], listed
assert refused == {"request require ids"}, refused
assert methods == ["aria2.tellActive", "aria2.tellWaiting", "aria2.tellStopped"], methods
PYTHON
