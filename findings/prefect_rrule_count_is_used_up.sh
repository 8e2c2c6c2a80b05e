#!/bin/sh
# A schedule by a recurrence rule "ten times, daily" never starts a run in Prefect.
#
# An interval without an anchor begins when it is registered, so one expects of a rule
# without a beginning that the ten runs follow from then on. Prefect has every such rule
# begin on 1 January 2020, and writes that into the deployment: a COUNT was used up
# years ago. A rule that repeats weekly and names no day runs on Wednesdays at midnight,
# because that day was one. Nothing warns: the schedule is accepted and stays active.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.8.8 'fastapi<0.151' 'sqlalchemy<2.1' tzdata
cd "$folder"
PREFECT_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
from datetime import UTC, datetime, timedelta

import prefect
from prefect.server.schemas.actions import DeploymentScheduleCreate
from prefect.server.schemas.schedules import IntervalSchedule, RRuleSchedule

now = datetime.now(UTC)


def registered(schedule):
    return DeploymentScheduleCreate(schedule=schedule, active=True).schedule


def runs(schedule, number):
    return asyncio.run(registered(schedule).get_dates(number, start=now))


ten_times = RRuleSchedule(rrule="FREQ=DAILY;COUNT=10")
weekly = RRuleSchedule(rrule="FREQ=WEEKLY")
text = registered(ten_times).rrule
days = {(run.strftime("%A"), run.hour) for run in runs(weekly, 5)}
first = runs(IntervalSchedule(interval=timedelta(days=1)), 1)[0]
print(f"Prefect {prefect.__version__}: COUNT=10 gives {len(runs(ten_times, 10))} runs")
print(f"registered as {text!r}; weekly runs come on {days}")
print(f"an interval of a day begins {(first - now).total_seconds():.0f} s from now")
assert runs(ten_times, 10) == []
assert text.startswith("DTSTART:20200101T000000"), text
assert days == {("Wednesday", 0)}, days
assert abs(first - now) < timedelta(days=1, minutes=1)
PYTHON
