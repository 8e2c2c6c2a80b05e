"""Showing names in the terminal."""

from rich.markup import escape

from stashhog_core.redaction import visible_lines


def plain(value: object) -> str:
    """Return a value as text for the terminal, whatever stands in it.

    Brackets are no markup, and no character steers the terminal or turns the line.
    """
    return escape(visible_lines(str(value)))
