"""What a video file says of itself, read with PyAV."""

from dataclasses import dataclass
from pathlib import Path

from av.error import FFmpegError

from stashhog_core.errors import ItemError
from stashhog_core.media.opening import (
    header_duration,
    open_video,
    picture_stream,
    reason,
)

UNREADABLE = "It cannot be read as video"
"""How the reason of every failed `probe` begins."""


@dataclass(frozen=True)
class MediaFacts:
    """Facts of a video file; None where the file does not say.

    Width and height are those of the stored picture, before any rotation.
    """

    container: str
    duration_seconds: float | None
    width: int
    height: int
    frame_rate: float | None
    video_codec: str
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
            return MediaFacts(
                container=container.format.name,
                duration_seconds=header_duration(container, stream),
                width=stream.width,
                height=stream.height,
                frame_rate=float(rate) if rate else None,
                video_codec=stream.codec_context.name,
                audio_codec=sounds[0].codec_context.name if sounds else None,
            )
    except ItemError as error:
        raise ItemError(f"{UNREADABLE}: {error}") from error
    except (FFmpegError, OSError, ValueError) as error:
        # PyAV passes on names that are not UTF-8 as ValueError.
        raise ItemError(f"{UNREADABLE}: {reason(error)}") from error
