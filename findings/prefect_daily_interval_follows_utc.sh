#!/bin/sh
# A daily interval of Prefect does not keep its hour when clocks change.
#
# By its documentation, a daily interval in a time zone that fires at 9 goes on to fire at
# 9 when clocks change. Prefect keeps the hour from one run to the next, but counts
# from the anchor to the first of them in hours of UTC. Planned on the day before the
# change, the run of the Monday behind it is at 9, and planned on that Monday it
# is at 10. As Prefect plans anew all the time, a schedule that was made in winter
# is an hour late all summer. A week is the same; cron has 9 on all days.
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
from zoneinfo import ZoneInfo

import prefect
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule

ZONE = ZoneInfo("America/New_York")


def planned(schedule, month: int, day: int, number: int = 1) -> list[str]:
    """Return the times that are planned on a day of 2026, in the time zone."""
    start = datetime.datetime(2026, month, day, tzinfo=ZONE)
    found = asyncio.run(schedule.get_dates(n=number, start=start))
    return [f"{date.astimezone(ZONE):%d.%m. %H:%M}" for date in found]


def at_nine(days: int, month: int) -> IntervalSchedule:
    anchor = datetime.datetime(2026, month, 1, 9, tzinfo=ZONE)
    interval = datetime.timedelta(days=days)
    return IntervalSchedule(interval=interval, anchor_date=anchor, timezone=ZONE.key)


daily = at_nine(1, month=1)
before, behind = planned(daily, 3, 7, number=3), planned(daily, 3, 9)
july, december = planned(daily, 7, 1), planned(at_nine(1, month=7), 12, 1)
weekly = planned(at_nine(7, month=1), 7, 1)
cron = planned(CronSchedule(cron="0 9 * * *", timezone=ZONE.key), 7, 1)
print(f"Prefect {prefect.__version__}: planned before {before}, behind {behind}")
print(f"made in winter {july}, weekly {weekly}, made in summer {december}, cron {cron}")
assert before == ["07.03. 09:00", "08.03. 09:00", "09.03. 09:00"], before
assert behind == ["09.03. 10:00"] and july == ["01.07. 10:00"], (behind, july)
assert weekly == ["02.07. 10:00"] and december == ["01.12. 08:00"], (weekly, december)
assert cron == ["01.07. 09:00"], cron
PYTHON
