"""`.stashignore`: files of a library folder that keep names from Stash's scans.

Stash reads them by the rules of `.gitignore`: a pattern counts from the folder of its
file, the last pattern that matches decides, and `!` takes a name back.
"""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

NAME = ".stashignore"


def hidden_by(folder: Path, path: PurePosixPath) -> str | None:
    """Return the line that hides a path from Stash; None: it is not hidden.

    Args:
        folder: A folder, perhaps with a `.stashignore`.
        path: A file below the folder, relative to it.

    Raises:
        OSError: The file cannot be read.
    """
    file = folder / NAME
    if not file.is_file():
        return None
    lines = file.read_text(errors="replace").splitlines()
    # A folder that is hidden hides all that is below, whatever is said of that.
    for depth in range(1, len(path.parts) + 1):
        part = PurePosixPath(*path.parts[:depth])
        if line := deciding_line(lines, part, is_folder=depth < len(path.parts)):
            return line
    return None


def deciding_line(
    lines: Iterable[str], path: PurePosixPath, *, is_folder: bool
) -> str | None:
    """Return the line that hides this path itself; None: none, or it is taken back."""
    found = None
    for line in lines:
        pattern = line.rstrip()
        if not pattern or pattern.startswith("#"):
            continue
        is_back = pattern.startswith("!")
        pattern = pattern.removeprefix("!")
        if pattern.endswith("/") and not is_folder:
            continue
        if _compiled(pattern.removesuffix("/")).fullmatch(str(path)):
            found = None if is_back else line
    return found


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern as an expression for whole paths, by the rules of wildmatch."""
    # With a slash in it, a pattern is about the path from the folder; else a name.
    lead = "" if "/" in pattern else "(?:.*/)?"
    pattern = pattern.removeprefix("/")
    expression, at = "", 0
    while at < len(pattern):
        if stars := _STARS.match(pattern, at):
            begins = at == 0 or pattern[at - 1] == "/"
            at = stars.end()
            # Only as a whole part of the path do two stars mean any folders.
            if len(stars[0]) == 1 or not begins or pattern[at : at + 1] not in "/":
                expression += "[^/]*"
            elif at == len(pattern):
                expression += ".*"
            else:
                expression, at = expression + "(?:.*/)?", at + 1
        elif letters := _CLASS.match(pattern, at):
            # Of what is special to Python in a class, only the range is in git as well.
            inner = re.sub(r"([\\\[&~|^])", r"\\\1", letters["inner"])
            # No class of letters has the slash, also not one that is negated.
            expression += f"(?!/)[{'^' if letters['not'] else ''}{inner}]"
            at = letters.end()
        elif pattern[at] == "[":
            return _NOTHING
        else:
            is_escaped = pattern[at] == "\\" and at + 1 < len(pattern)
            at += is_escaped
            is_any = pattern[at] == "?" and not is_escaped
            expression += "[^/]" if is_any else re.escape(pattern[at])
            at += 1
    try:
        return re.compile(lead + expression, re.DOTALL)
    except re.error:
        # As git does, of a range that is none.
        return _NOTHING


_STARS = re.compile(r"\*+")
_CLASS = re.compile(r"\[(?P<not>[!^]?)(?P<inner>\]?[^\]]*)\]")
_NOTHING = re.compile(r"(?!)")
