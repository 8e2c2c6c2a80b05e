r"""File names as text: reversible, whatever bytes they are of.

UTF-8 stays as it is, a byte that is none is written `\xNN`, a backslash as two.
"""

import os
import re

_ODD_BYTE = re.compile("[\udc80-\udcff]")
_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{2})")


def to_text(path: str) -> str:
    """Return the text of a path as `os` functions give it."""
    path = path.replace("\\", "\\\\")
    return _ODD_BYTE.sub(lambda odd: f"\\x{ord(odd[0]) - 0xDC00:02x}", path)


def from_text(text: str) -> str:
    """Return the path for `os` functions."""
    return _ESCAPE.sub(
        lambda escape: (
            "\\" if escape[1] == "\\" else chr(0xDC00 + int(escape[1][1:], 16))
        ),
        text,
    )


def to_bytes(text: str) -> bytes:
    """Return the path's own bytes."""
    return os.fsencode(from_text(text))
