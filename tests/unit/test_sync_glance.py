"""When a glance shows that nothing has changed, and when only a listing can tell."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stashhog_core.stash.payloads import Glance, KindGlance
from stashhog_core.sync.glance import (
    KINDS,
    KeptGlance,
    adds_up,
    reason_to_list,
    shows_no_change,
    why_unusable,
)

HOUR = timedelta(hours=1)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
STARTED = "2026-06-01T08:00:00.123456789+02:00"
LATER = "2026-06-01T14:00:01.987654321+02:00"
ROWS = KindGlance(10, "2026-06-01T09:00:00+02:00", 12)


def kept_glance(**facts: Any) -> KeptGlance:
    """Return a glance taken at noon; Stash runs in Berlin."""
    return replace(
        KeptGlance(
            kinds=dict.fromkeys(KINDS, ROWS),
            clock=NOON,
            uptime_seconds=1000.0,
            log_time=STARTED,
            listed_at=NOON,
            has_missing=False,
        ),
        **facts,
    )


def glance(minutes: float = 5, **rows: KindGlance) -> Glance:
    """Return the same glance some minutes later, but for these kinds."""
    return Glance(
        kinds={**dict.fromkeys(KINDS, ROWS), **rows},
        log_times=(LATER, STARTED),
        clock=NOON + timedelta(minutes=minutes),
    )


def why(kept: KeptGlance, now: Glance, minutes: float = 5) -> str | None:
    """Return why everything is listed, so many minutes later by our own clock."""
    return reason_to_list(kept, now, 1000 + 60 * minutes, HOUR)


def test_same_glance_shows_no_change() -> None:
    """Nothing is listed if the library is the same and was left alone long before."""
    assert why(kept_glance(), glance()) is None
    assert shows_no_change(kept_glance(), glance())


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(ROWS._replace(total=11), id="number"),
        pytest.param(ROWS._replace(newest_text="2026-06-01T13:00:00+02:00"), id="time"),
        pytest.param(ROWS._replace(newest_id=13), id="id"),
    ],
)
def test_each_part_of_a_glance_shows_a_change(kind: str, changed: KindGlance) -> None:
    """Number, newest time and highest id of each kind count by themselves."""
    now = glance(**{kind: changed})

    assert why(kept_glance(), now) is None
    assert not shows_no_change(kept_glance(), now)


@pytest.mark.parametrize(
    "lower",
    [
        ROWS._replace(total=9),
        ROWS._replace(newest_text="2026-06-01T08:59:59+02:00"),
        ROWS._replace(newest_id=11),
    ],
)
def test_anything_lower_wants_a_listing(lower: KindGlance) -> None:
    """Rows were removed, or Stash has a backup of its database, or another clock."""
    assert why(kept_glance(), glance(marker=lower))


@pytest.mark.parametrize(
    ("newest", "is_conclusive"),
    [
        # 14:00 in Berlin, less three hours.
        pytest.param("2026-06-01T10:59:59+02:00", True, id="long before"),
        pytest.param("2026-06-01T11:00:00+02:00", False, id="three hours before"),
        pytest.param("2026-06-01T14:00:00+02:00", False, id="that second"),
        pytest.param("2099-01-01T00:00:00+02:00", False, id="in the future"),
    ],
)
def test_recent_changes_may_hide_later_ones(newest: str, is_conclusive: bool) -> None:
    """Within three hours, a later change may have the same time, or an earlier one."""
    kept = kept_glance(kinds={**kept_glance().kinds, "tag": KindGlance(1, newest, 1)})
    now = glance(tag=KindGlance(1, newest, 1))

    assert kept.lowest_since == "2026-06-01T11:00:00"
    assert shows_no_change(kept, now) == is_conclusive


@pytest.mark.parametrize(
    ("minutes_of_stash", "minutes_of_ours", "is_listed"),
    [
        pytest.param(30, 30, False, id="both clocks run alike"),
        pytest.param(0, 0, False, id="no time has passed"),
        pytest.param(30, 25, False, id="five minutes apart"),
        pytest.param(30, 24.9, True, id="more than five minutes apart"),
        pytest.param(30, 5, True, id="Stash's clock was put on"),
        pytest.param(5, 30, True, id="Stash's clock was put back"),
        pytest.param(-1, -1, True, id="both clocks were put back"),
    ],
)
def test_clock_that_was_set_wants_a_listing(
    minutes_of_stash: float, minutes_of_ours: float, is_listed: bool
) -> None:
    """Stash's clock is compared with one that nobody sets."""
    found = why(kept_glance(), glance(minutes_of_stash), minutes_of_ours)

    assert (found is not None) == is_listed


def test_another_process_wants_a_listing() -> None:
    """A line of the log that is no longer there leaves open which process answers."""
    restarted = replace(glance(), log_times=(LATER,))

    assert "started again" in (why(kept_glance(), restarted) or "")


def test_listing_is_due_after_the_interval() -> None:
    """Once in the interval everything is listed, by Stash's clock."""
    assert why(kept_glance(), glance(59), 59) is None
    assert "too long ago" in (why(kept_glance(), glance(60), 60) or "")
    assert why(kept_glance(listed_at=NOON - HOUR), glance())


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"clock": None}, "does not tell its time"),
        ({"log_times": ()}, "log is empty"),
        ({"log_times": ("at noon",)}, "log is empty"),
        ({"log_times": ("2026-06-01T12:00:00",)}, "log is empty"),
        ({"log_times": ("2026-06-01T16:00:00+02:00",)}, "earlier than that of its log"),
        ({"kinds": {"scene": ROWS}}, "does not list files"),
    ],
)
def test_unusable_glances(facts: dict[str, Any], words: str) -> None:
    """A glance without a clock, a log or a kind shows nothing, and says why."""
    assert why_unusable(glance()) is None
    assert words in (why_unusable(replace(glance(), **facts)) or "")


def test_log_may_be_five_minutes_ahead_of_the_answer() -> None:
    """The time of the newest line is compared with that of the answer, generously."""
    ahead = "2026-06-01T12:10:00+00:00"

    assert why_unusable(replace(glance(minutes=5), log_times=(ahead,))) is None
    assert why_unusable(replace(glance(minutes=4.9), log_times=(ahead,)))


def test_kept_glance_survives_as_json() -> None:
    """What is kept in the database is the same when it is read."""
    assert KeptGlance.from_facts(kept_glance().facts()) == kept_glance()


@pytest.mark.parametrize(
    ("total", "newest_id", "changed", "is_enough"),
    [
        pytest.param(10, 12, {3, 12}, True, id="changed"),
        pytest.param(12, 14, {13, 14}, True, id="created"),
        pytest.param(11, 14, {14}, True, id="one of those created was removed"),
        pytest.param(11, 14, {3, 13, 14}, False, id="created, and one removed"),
        pytest.param(9, 12, set(), False, id="removed"),
        pytest.param(10, 13, {13}, False, id="removed and created"),
        pytest.param(11, 13, set(), False, id="created with an old time"),
        pytest.param(10, 12, {13}, True, id="created after the glance"),
        pytest.param(11, 14, {13}, False, id="the last one is gone"),
    ],
)
def test_numbers_prove_that_nothing_else_changed(
    total: int, newest_id: int, changed: set[int], is_enough: bool
) -> None:
    """Before and created rows must be all that there are, up to the highest id."""
    now = KindGlance(total, "", newest_id)

    assert adds_up(KindGlance(10, "", 12), now, changed) == is_enough
