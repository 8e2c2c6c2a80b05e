"""What a run's state is called by those who ask for a scan's status."""

from typing import Literal

StatusWord = Literal["pending", "running", "complete", "failed", "timeout", "cancelled"]

_WORDS: dict[str, StatusWord] = {
    "SCHEDULED": "pending",
    "PENDING": "pending",
    "PAUSED": "pending",
    "RUNNING": "running",
    "CANCELLING": "running",
    "COMPLETED": "complete",
    "FAILED": "failed",
    "CRASHED": "failed",
    "CANCELLED": "cancelled",
}


def status_word(state_type: str | None, state_name: str | None) -> StatusWord:
    """Return the word for a Prefect state, by its type and name.

    A run without a state was only just created.
    """
    if state_name == "TimedOut":
        return "timeout"
    return _WORDS.get((state_type or "SCHEDULED").upper(), "failed")
