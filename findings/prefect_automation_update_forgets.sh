#!/bin/sh
# An automation of Prefect that is written again, unchanged, forgets what it waits for.
#
# A proactive trigger waits: after event A it fires if B does not come within N seconds.
# Programs that set up a server write their automations each time, by name, so that each
# exists once. One expects that an update with the same values changes nothing. But the
# server then drops what the trigger has seen: A came before the update, B never comes,
# and the automation does not fire, not even later. With runs that have died with their
# machine, and a set-up that follows when the machine is up again, nobody marks them.
#
# Two runs with the same events; between A and the end of the time, one of the two
# automations is updated with the values that it has.
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
server=
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.9.1
cd "$folder"
port=$(python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
export PREFECT_HOME="$folder/home" PREFECT_API_URL="http://127.0.0.1:$port/api"
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
"$folder/venv/bin/prefect" server start --port "$port" > server.log 2>&1 &
server=$!
cat > wait.py <<'PYTHON'
import time
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import prefect
from prefect.automations import AutomationCore
from prefect.client.orchestration import get_client
from prefect.states import Running

SECONDS = 15


def automation(name):
    return AutomationCore.model_validate(
        {
            "name": name,
            "trigger": {
                "type": "event",
                "posture": "Proactive",
                "match": {"prefect.resource.id": "prefect.flow-run.*"},
                "for_each": ["prefect.resource.id"],
                "after": [f"{name}.began"],
                "expect": [f"{name}.ended"],
                "threshold": 1,
                "within": SECONDS,
            },
            "actions": [{"type": "change-flow-run-state", "state": "CRASHED"}],
        }
    )


@prefect.flow
def work():
    pass


def send(client, event, run):
    resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
    occurred = datetime.now(UTC).isoformat()
    one = {"id": str(uuid4()), "occurred": occurred, "event": event}
    client.request("POST", "/events", json=[{**one, "resource": resource}])


with get_client(sync_client=True) as client:
    for _ in range(240):
        try:
            if client.api_healthcheck() is None:
                break
        except httpx.HTTPError:
            pass
        time.sleep(1)
    ids = {name: client.create_automation(automation(name)) for name in ("left", "written")}
    # The server reads new automations now and then.
    time.sleep(10)
    runs = {}
    for name in ids:
        runs[name] = client.create_flow_run(work).id
        client.set_flow_run_state(runs[name], Running(), force=True)
        send(client, f"{name}.began", runs[name])
    time.sleep(5)
    client.update_automation(ids["written"], automation("written"))
    time.sleep(6 * SECONDS)
    states = {name: client.read_flow_run(run).state_name for name, run in runs.items()}
    # Afterwards it works: what was updated is not broken.
    again = client.create_flow_run(work).id
    client.set_flow_run_state(again, Running(), force=True)
    send(client, "written.began", again)
    time.sleep(6 * SECONDS)
    states["later"] = client.read_flow_run(again).state_name
print(f"Prefect {prefect.__version__}: {states}")
PYTHON
output=$("$folder/venv/bin/python" wait.py)
echo "$output"
test "$output" = "Prefect 3.9.1: {'left': 'Crashed', 'written': 'Running', 'later': 'Crashed'}"
