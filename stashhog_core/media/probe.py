"""What a video file says of itself, read with PyAV."""

import logging
from dataclasses import dataclass
from pathlib import Path

from av.error import FFmpegError

from stashhog_core.errors import ItemError
from stashhog_core.media.opening import (
    codec_name,
    has_decoder,
    header_duration,
    open_video,
    picture_stream,
    reason,
)

logger = logging.getLogger(__name__)

UNREADABLE = "It cannot be read as video"
"""How the reason of every failed `probe` begins."""


@dataclass(frozen=True)
class MediaFacts:
    """Facts of a video file; None where the file, or no decoder here, says them.

    Width and height are those of the stored picture, before any rotation.
    """

    container: str
    duration_seconds: float | None
    width: int | None
    height: int | None
    frame_rate: float | None
    video_codec: str | None
    audio_codec: str | None


def probe(path: Path) -> MediaFacts:
    """Read the headers of a video file; no frame is decoded.

    Raises:
        ItemError: It cannot be read as video: missing, damaged, or without a picture.
            A cover picture inside an audio file is not a video.
    """
    try:
        with open_video(str(path)) as container:
            stream = picture_stream(container)
            sounds = container.streams.audio
            rate = stream.average_rate
            size = (stream.width, stream.height) if has_decoder(stream) else (0, 0)
            return MediaFacts(
                container=container.format.name,
                duration_seconds=header_duration(container, stream),
                width=size[0] or None,
                height=size[1] or None,
                frame_rate=float(rate) if rate else None,
                video_codec=codec_name(stream),
                audio_codec=codec_name(sounds[0]) if sounds else None,
            )
    except ItemError as error:
        raise ItemError(f"{UNREADABLE}: {error}") from error
    except (FFmpegError, OSError, ValueError) as error:
        # PyAV passes on names that are not UTF-8 as ValueError.
        raise ItemError(f"{UNREADABLE}: {reason(error)}") from error
    except Exception as error:
        # Nobody foresaw it, so it says nothing of the file: it stays that file's error,
        # in other words than those of a file that is given up.
        logger.exception("Reading %s failed", path)
        raise ItemError(
            f"Reading it failed ({type(error).__name__}: {error})"
        ) from error
