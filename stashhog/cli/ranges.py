"""Ranges of numbers in words: `1 to 10` where Typer would write `1<=x<=10`."""

from functools import partial
from typing import TypeVar

from stashhog_core.ids import MAX_ID

Command = TypeVar("Command")


def with_ranges_in_words(command: Command) -> Command:
    """Return the command or group; its help has the ranges of its numbers in words."""
    for inner in getattr(command, "commands", {}).values():
        with_ranges_in_words(inner)
    for parameter in getattr(command, "params", ()):
        low, high = (getattr(parameter, name, None) for name in ("min", "max"))
        if low is not None or high is not None:
            # Typer has no public way. Without this method its own words come back.
            parameter._get_number_range_help_str = partial(range_in_words, low, high)
    return command


def range_in_words(low: float | None, high: float | None) -> str:
    """Return a range in words; the largest id is no limit that anybody meets."""
    if high is None or high >= MAX_ID:
        return "" if low is None else f"at least {low:g}"
    return f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
