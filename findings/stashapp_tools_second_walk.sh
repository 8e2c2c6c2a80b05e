#!/bin/sh
# The second walk through a Stash library with one filter sees the last page only.
#
# With a callback, `find_scenes` of stashapp-tools gets page after page of the scenes that
# a filter describes, so one expects that the same call gives the same scenes again.
# The method counts the pages in the dictionary that the caller passed. After a walk the
# filter holds the last page, and the next walk with it begins there. Nothing warns, and
# the number of pages is right. A copy of the filter for each walk gives all scenes.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet stashapp-tools==0.2.59
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from stashapi.stashapp import StashInterface

SCENES = [{"id": str(number)} for number in range(1, 8)]
ID = {"name": "id", "type": {"kind": "SCALAR", "name": "ID"}}
TYPES = [{"kind": "OBJECT", "name": "Scene", "fields": [ID]}]


class Stash(BaseHTTPRequestHandler):
    """Answers as Stash does, as far as the walk asks."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "__schema" in asked["query"]:
            data = {"__schema": {"types": TYPES}}
        elif "apiKey" in asked["query"]:
            data = {"configuration": {"general": {"apiKey": ""}}}
        elif "findScenes" in asked["query"]:
            wanted = asked["variables"]["filter"]
            size = wanted["per_page"]
            start = (wanted.get("page", 1) - 1) * size
            page = SCENES[start : start + size]
            data = {"findScenes": {"count": len(SCENES), "scenes": page}}
        else:
            data = {"version": {"version": "v0.30.1", "hash": "0", "build_time": ""}}
        answer = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Stash)
threading.Thread(target=server.serve_forever, daemon=True).start()
quiet = logging.getLogger("quiet")
connection = {"Host": "127.0.0.1", "Port": server.server_port, "Logger": quiet}
stash = StashInterface(connection)


def walk(wanted):
    seen = []
    stash.find_scenes(
        filter=wanted, callback=lambda page: seen.extend(scene["id"] for scene in page)
    )
    return seen


wanted = {"per_page": 3, "sort": "id"}
copied = [walk(dict(wanted)), walk(dict(wanted))]
walks = [walk(wanted), walk(wanted)]
version = importlib.metadata.version("stashapp-tools")
print(f"stashapp-tools {version}: first walk {walks[0]}, second walk {walks[1]}")
print(f"the filter of the caller is {wanted}")
every = [scene["id"] for scene in SCENES]
assert copied == [every, every], copied
assert walks == [every, ["7"]], walks
assert wanted["page"] == 3, wanted
PYTHON
