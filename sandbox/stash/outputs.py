"""Where generated media lies, by the hash of the file or the id of the scene."""

from pathlib import Path


class Outputs:
    """Paths under the folder of generated media."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def cover(self, scene_id: int) -> Path:
        """Return the path of a scene's cover."""
        return self._folder / "covers" / f"{scene_id}.jpg"

    def preview(self, oshash: str) -> Path:
        """Return the path of a preview video."""
        return self._folder / "screenshots" / f"{oshash}.mp4"

    def image_preview(self, oshash: str) -> Path:
        """Return the path of an animated preview."""
        return self._folder / "screenshots" / f"{oshash}.webp"

    def sprite(self, oshash: str) -> Path:
        """Return the path of a sheet of thumbnails."""
        return self._folder / "vtt" / f"{oshash}_sprite.jpg"

    def vtt(self, oshash: str) -> Path:
        """Return the path of the times of that sheet."""
        return self._folder / "vtt" / f"{oshash}_thumbs.vtt"

    def marker(self, oshash: str, seconds: float, suffix: str) -> Path:
        """Return the path of marker media: two in one second share it."""
        return self._folder / "markers" / oshash / f"{int(seconds)}{suffix}"

    def rename(self, old: str, new: str) -> None:
        """Give the media of a replaced file to its new hash, stale as they are."""
        for make in (self.preview, self.image_preview, self.sprite, self.vtt):
            if make(old).exists():
                make(old).replace(make(new))

    def remove(self, scene_id: int, oshash: str) -> None:
        """Delete what was made for a scene."""
        self.cover(scene_id).unlink(missing_ok=True)
        for make in (self.preview, self.image_preview, self.sprite, self.vtt):
            make(oshash).unlink(missing_ok=True)
