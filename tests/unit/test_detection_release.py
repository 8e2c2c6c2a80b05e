"""Detector `release`: date and code in a file's name."""

from datetime import date

import pytest

from stashhog_core.detection.release import (
    Order,
    StudioHabits,
    propose,
    verified_orders,
)
from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts
from stashhog_core.plans.proposals import Proposal

TODAY = date(2026, 1, 1)


def proposals(
    name: str, habits: StudioHabits | None = None, **facts: str
) -> list[Proposal]:
    file = PrimaryFile(f"/data/{name}.mp4", 60.0, 640, 360, 25.0, "h264", "aac", None)
    scene = SceneFacts(id=1, file=file, **facts)  # type: ignore[arg-type]
    return propose(scene, TODAY, None if habits is None else lambda: habits)


def found(
    name: str, habits: StudioHabits | None = None, **facts: str
) -> dict[str, str]:
    return {p.field: p.proposed.as_text for p in proposals(name, habits, **facts)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Vixen - 2021-05-03 - Summer Day", "2021-05-03"),
        ("vixen.21.05.03.jade.kush", "2021-05-03"),
        ("2021_05_03 Summer", "2021-05-03"),
        ("Summer Day 2021-13-03", None),
        ("Summer Day 2021-02-30", None),
        ("Summer Day 2027-01-01", None),
        ("03.05.2021 Summer Day", "2021-05-03"),
        ("31.05.2021 Summer Day", "2021-05-31"),
        ("05-31-2021 Summer Day", "2021-05-31"),
        ("3.5.2021 Summer Day", "2021-05-03"),
        ("Summer Day_19-11-02_HD", "2019-11-02"),
        ("Summer Day 31-12-98", "1998-12-31"),
        ("Summer Day 20210503", "2021-05-03"),
        ("3rd May 2021 Summer Day", "2021-05-03"),
        ("Summer Day, Sept. 3, 2021", "2021-09-03"),
        ("Vol 10.11.12", None),
        ("Summer Day 1.10.11.12", None),
        ("192.168.10.11", None),
        ("10.20.30 counting", None),
        ("2021-05-03 and 2020-05-03", None),
        ("12021-05-031", None),
    ],
)
def test_date(name: str, expected: str | None) -> None:
    """Every order that a person can read, in the past; numbers that count are none."""
    assert found(name).get("date") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ABC-123 Summer Day", "ABC-123"),
        ("Summer Day [XYZ-042]", "XYZ-042"),
        ("Summer ABC-123 Day", None),
        ("EP-12 Summer", None),
        ("abc-123", None),
        ("[Vixen] ABC-123 Summer", "ABC-123"),
        ("Vixen - ABC-123 - Summer", "ABC-123"),
        ("FC2-PPV-1234567", "FC2-PPV-1234567"),
        ("TOP-10 Summer", None),
        ("COVID-19 Summer", None),
        ("WEB-720 Summer", None),
        ("ABC-2021 Summer", None),
    ],
)
def test_code(name: str, expected: str | None) -> None:
    """A code stands first, in brackets or alone; parts, sizes and years are none."""
    assert found(name).get("code") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("abc-123 summer", "ABC-123"),
        ("summer abc00124", "ABC-00124"),
        ("summer xyz-123", None),
        ("summer abc-1", None),
    ],
)
def test_code_like_the_studios_other_codes(name: str, expected: str | None) -> None:
    """Small letters, anywhere in the name; it is written as the studio writes codes."""
    habits = StudioHabits(codes=("ABC-0100", "ABC-101"))

    assert found(name, habits).get("code") == expected


def test_date_that_can_be_read_in_two_orders_is_less_sure() -> None:
    """The usual order is proposed, and the evidence has the other days."""
    (unclear,) = proposals("Summer Day 03.05.2021")
    (clear,) = proposals("Summer Day 31.05.2021")

    assert unclear.confidence < 0.8 < clear.confidence
    assert unclear.evidence["may also be"] == "2021-03-05"


@pytest.mark.parametrize(
    ("order", "name", "expected"),
    [
        ("mdy", "Summer Day 03.05.2021", "2021-03-05"),
        ("dmy", "Summer Day 03.05.2021", "2021-05-03"),
        ("mdy", "Summer Day 31.05.2021", "2021-05-31"),
    ],
)
def test_studio_proves_the_order_of_dates(
    order: Order, name: str, expected: str
) -> None:
    """With a proof the date is sure; an order that gives no day proves nothing."""
    (proposal,) = proposals(name, StudioHabits(orders={"year last": order}))

    assert proposal.proposed.as_text == expected
    assert proposal.confidence == 0.9


def test_order_is_verified_by_scenes_whose_dates_are_known() -> None:
    """By two scenes at least that agree; a day that is its own month proves nothing."""
    american = [
        ("/data/a 03.05.2021.mp4", "2021-03-05"),
        ("/data/b 04.06.2021.mp4", "2021-04-06"),
        ("/data/c 05.05.2021.mp4", "2021-05-05"),
    ]

    assert verified_orders(american) == {"year last": "mdy"}
    assert verified_orders(american[:1]) == {}
    assert verified_orders([*american, ("/data/d 03.05.2021.mp4", "2021-05-03")]) == {}


def test_what_the_scene_has_is_left() -> None:
    """A date or code that is set was set by someone who knew."""
    assert found("ABC-123 2021-05-03", date="2020", code="X-1") == {}
