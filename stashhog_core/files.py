"""Writing a file whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stashhog_core.errors import ConfigurationError

UNFINISHED = ".unfinished-"
"""What the names of files begin with that a killed process has left."""

_PRIVATE, _SHARED = 0o600, 0o666


@contextmanager
def written_whole(
    path: Path, *, private: bool = False, durable: bool = True
) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` when the block has ended well.

    Until then the file that was there stays, and so it does if the block raises. What a
    symbolic link leads to is replaced, and the link stays.

    Args:
        path: The file; its folder exists.
        private: Only this account may read it. Else the mask of the process decides.
        durable: A power failure leaves the old file or the new one. Without that it may
            leave an empty one, which does for what is made again when it is missing.

    Raises:
        OSError: It cannot be written.
    """
    target = path.resolve()
    part = target.with_name(UNFINISHED + secrets.token_hex(8))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(part, flags, _PRIVATE if private else _SHARED)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                # A rename may reach the disk before what was written.
                os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(
    path: Path, content: str | bytes, *, private: bool = False, durable: bool = True
) -> None:
    """Write a file as `written_whole` does; a text as UTF-8.

    Raises:
        OSError: It cannot be written.
    """
    with written_whole(path, private=private, durable=durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def unwritable(
    what: str, path: Path, error: OSError, instead: str = "another file"
) -> ConfigurationError:
    """Return the error for a file that somebody has named and that cannot be written.

    Args:
        what: The noun of the sentence, such as `The report`.
        path: The file.
        error: Why.
        instead: What to choose.
    """
    return ConfigurationError(
        f"{what} cannot be written",
        where=str(path),
        remedy=f"choose {instead} ({error.strerror or error})",
    )
