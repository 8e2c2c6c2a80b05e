#!/bin/sh
# guessit reads the date in the name of a release backwards, up to years to come.
#
# Releases of single scenes carry the date as year, month and day, with two digits of
# the year: `Studio.24.01.15.Name`. guessit reads `2024.01.15` in this order, so one
# expects the same of the short form. guessit puts the year last: a scene of 15 January
# 2024 is one of 24 January 2015, and a scene of New Year's Eve one of the year 2031.
# Nothing tells that the date was in doubt. The option `date_year_first` gives the
# dates that were meant.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet guessit==4.4.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from guessit import guessit

DATES = ("2024.01.15", "24.01.15", "24.12.31", "12.11.10")


def read(date: str, **options: bool) -> str:
    return str(guessit(f"Studio.{date}.Anna.Garden.XXX.1080p.mp4", options)["date"])


plain = {date: read(date) for date in DATES}
told = {date: read(date, date_year_first=True) for date in DATES}
version = importlib.metadata.version("guessit")
print(f"guessit {version}: {plain}")
print(f"with date_year_first: {told}")
assert list(plain.values()) == [
    "2024-01-15",
    "2015-01-24",
    "2031-12-24",
    "2010-11-12",
], plain
assert list(told.values()) == [
    "2024-01-15",
    "2024-01-15",
    "2024-12-31",
    "2012-11-10",
], told
PYTHON
