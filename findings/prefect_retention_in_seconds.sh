#!/bin/sh
# Of two retention periods of Prefect's server, only one takes a number of seconds.
#
# PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD says how long old runs are kept, and
# PREFECT_SERVER_EVENTS_RETENTION_PERIOD how long events are. The same service deletes
# both, so one expects both variables to be written alike. The first takes 172800, as
# seconds. The second refuses that text, and then no Prefect program starts, as the
# settings are read on import. Both take P2D, the duration in the form of ISO 8601.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.9.1
cd "$folder"
export PREFECT_HOME="$folder/home" PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
cat > read.py <<'PYTHON'
import sys

import prefect
from prefect.settings import get_current_settings

server = get_current_settings().server
kept = {
    "RUNS": server.services.db_vacuum.retention_period,
    "EVENTS": server.events.retention_period,
}[sys.argv[1]]
print(f"Prefect {prefect.__version__}: {kept}")
PYTHON
runs=PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD
events=PREFECT_SERVER_EVENTS_RETENTION_PERIOD
expected="Prefect 3.9.1: 2 days, 0:00:00"
python="$folder/venv/bin/python"

for given in P2D 172800; do
    output=$(env "$runs=$given" "$python" read.py RUNS)
    echo "runs $given: $output"
    test "$output" = "$expected"
done
output=$(env "$events=P2D" "$python" read.py EVENTS)
echo "events P2D: $output"
test "$output" = "$expected"
if env "$events=172800" "$python" read.py EVENTS > refused 2>&1; then
    echo "events 172800: taken" >&2
    exit 1
fi
tail -n 3 refused
grep -q "Input should be a valid timedelta" refused
