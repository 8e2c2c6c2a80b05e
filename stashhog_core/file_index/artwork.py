"""Where the pictures of a video are kept: named by its content, written whole."""

import re
from collections.abc import Iterator
from pathlib import Path

from stashhog_core.files import UNFINISHED, write_whole
from stashhog_core.media.pictures import SpriteSheet

FOLDER = "library"
"""Under STASHHOG_HOME."""

_NAME = re.compile(r"([0-9a-f]{16})(-sprites)?\.(jpg|vtt)")


class Artwork:
    """The pictures of the content with this oshash. Copies of a file share them."""

    def __init__(self, folder: Path, oshash: str) -> None:
        self._folder = folder / oshash[:2]
        self._oshash = oshash

    def keep_thumbnail(self, jpeg: bytes) -> str:
        """Write the thumbnail; return its path."""
        return self._keep(f"{self._oshash}.jpg", jpeg)

    def keep_sprites(self, sheet: SpriteSheet) -> str:
        """Write the sheet and its VTT; return the path of the VTT."""
        picture = f"{self._oshash}-sprites.jpg"
        self._keep(picture, sheet.jpeg)
        return self._keep(f"{self._oshash}-sprites.vtt", sheet.vtt(picture).encode())

    def _keep(self, name: str, content: bytes) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / name
        write_whole(target, content, durable=False)
        return str(target)


def stored_artwork(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield each stored picture and its oshash; None for what a killed worker left.

    Files with other names are not ours and left out.
    """
    for part in sorted(path for path in folder.glob("??") if path.is_dir()):
        for path in sorted(part.iterdir()):
            if path.name.startswith(UNFINISHED):
                yield path, None
            elif named := _NAME.fullmatch(path.name):
                yield path, named[1]
