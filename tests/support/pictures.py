"""Pictures that tests make: PNG files of any size, and of any content."""

import struct
import zlib


def png(width: int, height: int, *, grey: int = 0, padding: int = 0) -> bytes:
    """Return a PNG of one shade of grey.

    Args:
        width: In pixels.
        height: In pixels.
        grey: 0 (black) to 255.
        padding: Bytes that a chunk of text adds.
    """
    rows = (b"\0" + bytes([grey]) * width) * height
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        *([(b"tEXt", b"c\0" + b"x" * padding)] if padding else []),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
