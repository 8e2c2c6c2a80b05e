"""File names: which are let into the library, and how odd ones are written down."""

import os
import re
from pathlib import Path

from stashhog_core.errors import ItemError

LONGEST_NAME_BYTES = 255
_LONGEST_EXTENSION_BYTES = 32
_ESCAPED_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")


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
    if not name.isprintable() and any(map(_is_control, name)):
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


def printable(text: str) -> str:
    r"""Return `text` as plain Unicode on one line, for the ledger and for reports.

    Bytes that are no UTF-8 become `\xff`, control characters `\x0a`.
    """
    if text.isprintable():
        return text
    raw = text.encode(
        "utf-8", "surrogateescape" if _is_bytes(text) else "surrogatepass"
    )
    plain = raw.decode("utf-8", "backslashreplace")
    return "".join(
        f"\\x{ord(letter):02x}" if _is_control(letter) else letter for letter in plain
    )


def from_printable(text: str) -> Path:
    """Return the path that `printable` was given.

    A name that really holds the four characters of such an escape is not told apart,
    unless a file of that name exists.
    """
    path = Path(text)
    if "\\x" not in text or path.exists():
        return path
    raw = _ESCAPED_BYTE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), text)
    return Path(raw)


def _is_control(letter: str) -> bool:
    return letter < " " or letter == "\x7f"


def _is_bytes(text: str) -> bool:
    """Tell whether all its odd characters stand for bytes of a file name."""
    return not any(
        "\ud800" <= letter <= "\udfff" and not "\udc80" <= letter <= "\udcff"
        for letter in text
    )


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
