#!/bin/sh
# On days when clocks change, Prefect's cron schedules do not keep the time they show.
#
# With `30 2 * * *` in New York one expects a run at 03:30 in spring, as cron and systemd
# do it, or none: 02:30 does not exist on that day. Prefect places the run at 01:30, an
# hour early. With `30 * * * *` in autumn one expects a run every hour: the hour from 01:00
# to 02:00 comes twice, and Prefect leaves the second one out, so that two hours pass
# between two runs of an hourly schedule.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.8.8 'fastapi<0.151' 'sqlalchemy<2.1' tzdata
cd "$folder"
PREFECT_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import prefect
from prefect.server.schemas.schedules import CronSchedule

NEW_YORK = ZoneInfo("America/New_York")


def runs(cron: str, start: datetime, number: int) -> list[datetime]:
    schedule = CronSchedule(cron=cron, timezone=NEW_YORK.key)
    return asyncio.run(schedule.get_dates(number, start=start))


spring = runs("30 2 * * *", datetime(2027, 3, 14, tzinfo=NEW_YORK), 1)[0]
autumn = runs("30 * * * *", datetime(2026, 11, 1, 1, tzinfo=NEW_YORK), 2)
hours = [run.astimezone(UTC).hour for run in autumn]
print(f"Prefect {prefect.__version__}")
print(f"30 2 * * * on 14 March 2027: {spring.astimezone(NEW_YORK):%H:%M}")
print(f"30 * * * * on 1 November 2026: hours {hours} UTC follow each other")
assert spring.astimezone(NEW_YORK).strftime("%H:%M") == "01:30", spring
assert hours == [5, 7], autumn
PYTHON
