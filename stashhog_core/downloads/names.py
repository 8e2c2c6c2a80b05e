"""Names in the library: which are allowed, and what a download is called there."""

import os

from stashhog_core.downloads.sources import Entry
from stashhog_core.errors import ItemError
from stashhog_core.paths import has_control_character, is_hidden, printable

LONGEST_NAME_BYTES = 255
_LONGEST_EXTENSION_BYTES = 32
_RENAME = "rename the file where it was downloaded"

Names = tuple[str, ...]
"""A file's or folder's place below the library root."""


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
        raise ItemError(
            "The name is no plain file name", where=printable(name), remedy=_RENAME
        )
    if has_control_character(name):
        raise ItemError(
            "The name holds a control character", where=printable(name), remedy=_RENAME
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        raise ItemError(
            "The name holds half a character", where=printable(name), remedy=_RENAME
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


class LibraryLayout:
    """A template such as `{category}/{name}`.

    Args:
        template: Parts with `/` between them; the last one holds `{name}`. A part that
            comes out empty, as that of no category, is left away; a category with
            slashes makes several folders.
    """

    def __init__(self, template: str) -> None:
        self._parts = template.split("/")

    def folder(self, entry: Entry) -> Names:
        """Return the folder for a download of several files.

        Raises:
            ItemError: It would have a name that is not allowed.
        """
        name = check_name(entry.name)
        values = {"category": entry.category, "name": name, "hash": entry.key}
        names: list[str] = []
        for part in self._parts:
            text = part.format_map(values)
            if text:
                names += map(_visible, split_names(text))
        return tuple(names)

    def file(self, entry: Entry, file_name: str) -> Names:
        """Return the place of a download that is a single file, extension kept.

        Raises:
            ItemError: It would have a name that is not allowed.
        """
        *folders, name = self.folder(entry)
        stem, dot, extension = file_name.rpartition(".")
        if stem and not name.casefold().endswith(f"{dot}{extension}".casefold()):
            name = f"{name}{dot}{extension}"
        if len(os.fsencode(name)) > LONGEST_NAME_BYTES:
            # Too long with the extension: its own name may fit.
            name = file_name
        return (*folders, check_name(name))


def _visible(name: str) -> str:
    """Return a name that is not hidden: players and Stash would pass it over."""
    return check_name(name.removeprefix(".")) if is_hidden(name) else name
