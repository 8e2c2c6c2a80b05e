#!/bin/sh
# msgspec reads a time with nanoseconds as a later one than Python and pydantic do.
#
# Programs written in Go give times with up to nine digits behind the second, and
# Python's times have six, so one expects all readers to leave the rest away:
# `datetime.fromisoformat` and pydantic do so. msgspec rounds, and may come to the next
# second. Two readers of one answer disagree about whether an entry has changed, and a
# search for what is later than the newest known time passes over an entry that was
# written in the same microsecond.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet msgspec==0.23.0 pydantic==2.14.3
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import datetime

import msgspec
import pydantic

TIMES = ("2024-01-15T10:00:00.123456400Z", "2024-01-15T10:00:00.999999900Z")
reader = pydantic.TypeAdapter(datetime.datetime)
found = {
    "msgspec": [msgspec.convert(text, datetime.datetime) for text in TIMES],
    "msgspec, JSON": [
        msgspec.json.decode(f'"{text}"', type=datetime.datetime) for text in TIMES
    ],
    "Python": [datetime.datetime.fromisoformat(text) for text in TIMES],
    "pydantic": [reader.validate_python(text) for text in TIMES],
}
print(f"msgspec {msgspec.__version__}, pydantic {pydantic.VERSION}:")
for name, times in found.items():
    print(f"{name}: {[f'{time:%H:%M:%S.%f}' for time in times]}")
left_away = [
    datetime.datetime(2024, 1, 15, 10, 0, 0, microseconds, datetime.UTC)
    for microseconds in (123456, 999999)
]
rounded = [left_away[0], left_away[1] + datetime.timedelta(microseconds=1)]
assert found["msgspec"] == found["msgspec, JSON"] == rounded, found
assert found["Python"] == found["pydantic"] == left_away, found
PYTHON
