"""Content hashes."""

import os
import struct
from pathlib import Path

_CHUNK_BYTES = 64 * 1024
_WORD_BYTES = 8


def oshash(path: Path) -> str:
    """Return the OpenSubtitles hash of a file, as Stash computes it.

    It is the size plus the sums of the first and last 64 KiB taken as little-endian
    64-bit words, modulo 2**64, in 16 hexadecimal digits. A file shorter than 64 KiB
    counts only whole words.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return oshash_of_open(file.fileno())


def oshash_of_open(descriptor: int) -> str:
    """Return the same of an open file, which keeps its place.

    Raises:
        OSError: The file cannot be read.
    """
    size = os.fstat(descriptor).st_size
    chunk = min(_CHUNK_BYTES, size - size % _WORD_BYTES)
    head = os.pread(descriptor, chunk, 0)
    tail = os.pread(descriptor, chunk, size - chunk)
    return f"{(size + _sum_words(head) + _sum_words(tail)) & (2**64 - 1):016x}"


def _sum_words(data: bytes) -> int:
    # A file that shrinks while it is read leaves a broken last word.
    words = len(data) // _WORD_BYTES
    return sum(struct.unpack_from(f"<{words}Q", data))
