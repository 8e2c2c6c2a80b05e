#!/bin/sh
# Prefect takes the UTC time in a recurrence rule for the time of the time zone.
#
# In a rule as calendars write it, `DTSTART:20260101T023000Z` is half past two in UTC by
# the `Z` at its end, so one expects runs at that moment: 21:30 in New York, in winter.
# With a time zone beside the rule, Prefect reads the hour without the `Z`, and runs the
# flow at 02:30 in New York, five hours later than the rule says. The rule without the
# `Z` gives the same runs. An anchor of an interval that is in UTC is kept as it is.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.8.8 'fastapi<0.151' 'sqlalchemy<2.1'
cd "$folder"
PREFECT_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import datetime

import prefect
from prefect.server.schemas.schedules import IntervalSchedule, RRuleSchedule

ZONE = "America/New_York"
START = datetime.datetime(2026, 1, 10, tzinfo=datetime.UTC)


def first(schedule) -> str:
    [found] = asyncio.run(schedule.get_dates(n=1, start=START))
    return f"{found.astimezone(datetime.UTC):%H:%M}"


def by_rule(mark: str, zone: str) -> str:
    text = f"DTSTART:20260101T023000{mark}\nRRULE:FREQ=DAILY"
    return first(RRuleSchedule(rrule=text, timezone=zone))


anchor = datetime.datetime(2026, 1, 1, 2, 30, tzinfo=datetime.UTC)
day = datetime.timedelta(days=1)
interval = first(IntervalSchedule(interval=day, anchor_date=anchor, timezone=ZONE))
found = {"with Z": by_rule("Z", ZONE), "without": by_rule("", ZONE)}
found |= {"with Z, zone UTC": by_rule("Z", "UTC"), "interval": interval}
print(f"Prefect {prefect.__version__}, in UTC: {found}")
assert list(found.values()) == ["07:30", "07:30", "02:30", "02:30"], found
PYTHON
