"""Detector `release`: the date and the studio's code in the name of a file."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime

from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.plans.proposals import Proposal, set_text

NAME = "release"
VERSION = "1"

FIRST_YEAR = 1960

# 2021-05-03, and 21.05.03 as in release names: year, month, day. Dates in other orders
# are ambiguous and not recognized.
_DATE = re.compile(
    r"(?<!\d)(?:(?P<year>(?:19|20)\d\d)(?P<a>[-._ ])(?P<month>\d\d)(?P=a)(?P<day>\d\d)"
    r"|(?<=[a-z][._ ])(?P<short>\d\d)(?P<b>[._ ])(?P<month2>\d\d)(?P=b)(?P<day2>\d\d))"
    r"(?!\d)",
    re.IGNORECASE,
)
# ABC-123 at the start or in brackets.
_CODE = re.compile(r"(?:^|[\[(])(?P<code>[A-Z]{2,6}-\d{2,5})(?=$|[\])]|[ ._-](?!\d))")
_NO_CODES = frozenset({"MP", "HD", "FHD", "UHD", "DVD", "CD", "PART", "EP", "VOL"})


def propose(scene: SceneFacts, today: date | None = None) -> list[Proposal]:
    """Return the date and the code of the file name, if the scene lacks them."""
    name = scene.file_name
    proposals = []
    if not scene.date:
        found = list(_dates(name, today or datetime.now(UTC).date()))
        # With two different dates it is unclear which date is meant.
        if len({day for day, _ in found}) == 1:
            day, span = found[0]
            evidence = {"rule": "date in the file name", "text": name, "span": span}
            proposals.append(set_text("date", "", day.isoformat(), 0.9, NAME, evidence))
    if not scene.code and (match := _CODE.search(name)):
        code = match["code"]
        if code.partition("-")[0] not in _NO_CODES:
            evidence = {
                "rule": "code in the file name",
                "text": name,
                "span": list(match.span("code")),
            }
            proposals.append(set_text("code", "", code, 0.85, NAME, evidence))
    return proposals


def _dates(name: str, today: date) -> Iterator[tuple[date, list[int]]]:
    for match in _DATE.finditer(name):
        year = int(match["year"] or f"20{match['short']}")
        month = int(match["month"] or match["month2"])
        day = int(match["day"] or match["day2"])
        try:
            found = date(year, month, day)
        except ValueError:
            continue
        if year >= FIRST_YEAR and found <= today:
            yield found, list(match.span())
