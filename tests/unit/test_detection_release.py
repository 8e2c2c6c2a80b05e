"""Detector `release`: date and code in a file's name."""

from datetime import date

import pytest

from stashhog_core.detection.release import propose
from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts

TODAY = date(2026, 1, 1)


def found(name: str, **facts: str) -> dict[str, str]:
    file = PrimaryFile(f"/data/{name}.mp4", 60.0, 640, 360, 25.0, "h264", "aac", None)
    scene = SceneFacts(id=1, file=file, **facts)  # type: ignore[arg-type]
    return {p.field: p.proposed.as_text for p in propose(scene, TODAY)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Vixen - 2021-05-03 - Summer Day", "2021-05-03"),
        ("vixen.21.05.03.jade.kush", "2021-05-03"),
        ("2021_05_03 Summer", "2021-05-03"),
        ("Summer Day 2021-13-03", None),
        ("Summer Day 2021-02-30", None),
        ("Summer Day 2027-01-01", None),
        ("03.05.2021 Summer Day", None),
        ("10.20.30 counting", None),
        ("2021-05-03 and 2020-05-03", None),
        ("12021-05-031", None),
    ],
)
def test_date(name: str, expected: str | None) -> None:
    """Year, month, day and in the past; what may be meant otherwise is none."""
    assert found(name).get("date") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ABC-123 Summer Day", "ABC-123"),
        ("Summer Day [XYZ-042]", "XYZ-042"),
        ("Summer ABC-123 Day", None),
        ("EP-12 Summer", None),
        ("abc-123", None),
    ],
)
def test_code(name: str, expected: str | None) -> None:
    """A code stands first or in brackets; words for parts and sizes are none."""
    assert found(name).get("code") == expected


def test_what_the_scene_has_is_left() -> None:
    """A date or code that is set was set by someone who knew."""
    assert found("ABC-123 2021-05-03", date="2020", code="X-1") == {}
