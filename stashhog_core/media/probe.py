"""What a video file says of itself, read with PyAV."""

from dataclasses import dataclass
from pathlib import Path

import av
import av.error
from av.stream import Disposition

from stashhog_core.errors import ItemError

UNREADABLE = "It cannot be read as video"
"""How the reason of every failed `probe` begins."""

_OPEN_TIMEOUT_SECONDS = 30.0


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
        with av.open(str(path), timeout=_OPEN_TIMEOUT_SECONDS) as container:
            pictures = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic
            ]
            if not pictures:
                raise ItemError(f"{UNREADABLE}: no picture in it")
            stream = pictures[0]
            sounds = container.streams.audio
            rate = stream.average_rate
            return MediaFacts(
                container=container.format.name,
                duration_seconds=_duration_seconds(container, stream),
                width=stream.width,
                height=stream.height,
                frame_rate=float(rate) if rate else None,
                video_codec=stream.codec_context.name,
                audio_codec=sounds[0].codec_context.name if sounds else None,
            )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        # PyAV passes on names that are not UTF-8 as ValueError.
        reason = getattr(error, "strerror", None) or str(error)
        raise ItemError(f"{UNREADABLE}: {reason}") from error


def _duration_seconds(
    container: "av.container.InputContainer", stream: "av.VideoStream"
) -> float | None:
    """Return the length by the container, else by the stream; None if unknown."""
    if container.duration is not None and container.duration > 0:
        return float(container.duration / av.time_base)
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None
