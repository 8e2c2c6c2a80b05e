"""JSON for programs: indented, each value as it is."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec


def json_list(rows: Iterable[Any]) -> Iterator[str]:
    """Yield a list as JSON for programs, row by row: there may be very many."""
    before = "[\n  "
    for row in rows:
        yield before + as_json(row).replace("\n", "\n  ")
        before = ",\n  "
    yield "[]\n" if before.startswith("[") else "\n]\n"


def as_json(value: Any) -> str:
    """Return a value as JSON for programs."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        # A quarter of the time that `json` takes to indent.
        return msgspec.json.format(text, indent=2)
    except ValueError:
        # A number that JSON lacks, such as NaN, or half a character.
        return json.dumps(value, indent=2, ensure_ascii=False, default=str)
