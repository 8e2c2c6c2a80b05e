"""Proof that an indexed file is gone, and not merely out of reach."""

from pathlib import Path

from stashhog_core.library.discover import signed
from stashhog_core.library.names import from_text


def is_gone(path: str, device: int) -> bool:
    """Tell whether nothing is at a path of the index, on the device it was on.

    Where that device is not mounted, or a folder cannot be read, nothing is proved.

    Args:
        path: As the index has it.
        device: Likewise.
    """
    here = Path(from_text(path))
    try:
        here.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return _device_above(here) == device
    except OSError:
        return False
    return False


def _device_above(path: Path) -> int | None:
    """Return the device of the nearest folder above that exists."""
    for folder in path.parents:
        try:
            return signed(folder.stat().st_dev)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
    return None
