#!/bin/sh
# dateparser finds dates in the technical parts of a release's name.
#
# A name such as `Studio.2024-01-15.Anna.1080p.10bit.mp4` is searched for its date part
# by part, so one expects None of the parts that hold no date. dateparser tries many
# languages, and some letters are a word for a time in one of them: `1080p` is 18 hours
# ago, `10bit` a day in March, and `S01` the first of the month. The option
# REQUIRE_PARTS does not help with `1080p`, which has a year, a month and a day.
# With `languages=["en"]`, only the date is one.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dateparser==1.5.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import datetime

import dateparser

NOW = datetime.datetime(2026, 7, 15, 12)
PARTS = ("Studio", "2024-01-15", "Anna", "1080p", "720p", "10bit", "S01", "60fps")


def dates(settings: dict, languages: list[str] | None = None) -> dict[str, str]:
    settings = settings | {"RELATIVE_BASE": NOW}
    found = {}
    for part in PARTS:
        if date := dateparser.parse(part, languages=languages, settings=settings):
            found[part] = str(date)
    return found


plain = dates({})
strict = dates({"REQUIRE_PARTS": ["year", "month", "day"]})
english = dates({}, ["en"])
print(f"dateparser {dateparser.__version__}: {plain}")
print(f"with REQUIRE_PARTS {strict}; in English {english}")
date = {"2024-01-15": "2024-01-15 00:00:00"}
heights = {"1080p": "2026-07-14 18:00:00", "720p": "2026-07-15 00:00:00"}
assert strict == date | heights, strict
others = {"10bit": "2026-03-10 00:00:00", "S01": "2026-07-01 00:00:00"}
assert plain == date | heights | others, plain
assert english == date, english
PYTHON
