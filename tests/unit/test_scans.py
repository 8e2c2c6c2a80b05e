"""The words for a scan's state."""

import pytest

from stashhog.scans import status_word


@pytest.mark.parametrize(
    ("state_type", "state_name", "word"),
    [
        (None, None, "pending"),
        ("SCHEDULED", "Late", "pending"),
        ("PENDING", "Pending", "pending"),
        ("RUNNING", "Running", "running"),
        ("CANCELLING", "Cancelling", "running"),
        ("COMPLETED", "Completed", "complete"),
        ("COMPLETED", "CompletedWithErrors", "complete"),
        ("FAILED", "Failed", "failed"),
        ("FAILED", "TimedOut", "timeout"),
        ("CRASHED", "Crashed", "failed"),
        ("CANCELLED", "Cancelled", "cancelled"),
    ],
)
def test_each_state_has_its_word(
    state_type: str | None, state_name: str | None, word: str
) -> None:
    """Prefect's states map to the six words of the specification."""
    assert status_word(state_type, state_name) == word
