"""Where in the library a download goes."""

import os

from stashhog_core.downloads.names import LONGEST_NAME_BYTES, check_name, split_names
from stashhog_core.downloads.outcome import Names
from stashhog_core.downloads.sources import Entry
from stashhog_core.paths import is_hidden


class Layout:
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
