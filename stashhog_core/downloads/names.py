"""File names: which are let into the library, and how odd ones are written down."""

import os

from stashhog_core.errors import ItemError
from stashhog_core.paths import has_control_character, printable

LONGEST_NAME_BYTES = 255
_LONGEST_EXTENSION_BYTES = 32


def check_name(name: str) -> str:
    """Return `name` if it can name one file or folder; it is never changed.

    How long a name may be differs: where it is placed, it is cut.

    Raises:
        ItemError: It is empty, `.`, `..`, or holds a slash or a control character (a
            line break would forge lines in logs and lists).
    """
    is_plain = name.isascii() and name.isprintable() and "/" not in name
    if is_plain and name.strip("."):
        # Nearly all names: no need to look closer.
        return name
    if name in {"", ".", ".."} or "/" in name:
        raise ItemError("The name is no plain file name", where=printable(name))
    if has_control_character(name):
        raise ItemError("The name holds a control character", where=printable(name))
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        raise ItemError(
            "The name holds half a character", where=printable(name)
        ) from error
    return name


def split_names(relative_path: str) -> tuple[str, ...]:
    """Return the names that a relative path (with `/`) is made of, each checked.

    Raises:
        ItemError: A name is not allowed; an absolute path begins with an empty one.
    """
    return tuple([check_name(name) for name in relative_path.split("/")])


def with_mark(name: str, mark: str, longest_bytes: int = LONGEST_NAME_BYTES) -> str:
    """Return `name` with `.mark` before its extension, cut to the longest length."""
    stem, extension = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    if len(os.fsencode(extension)) > _LONGEST_EXTENSION_BYTES:
        stem, extension = name, ""
    tail = f".{mark}{extension}"
    kept = os.fsencode(stem)[: longest_bytes - len(os.fsencode(tail))]
    # A cut inside a character would make a name that is not UTF-8 out of one that is.
    return (kept.decode("utf-8", "ignore") if _is_utf8(stem) else os.fsdecode(kept)) + (
        tail
    )


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
