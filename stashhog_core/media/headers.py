"""What the headers of a video file say, read with PyAV.

Files come from strangers: a reader opens no other file or address, and stops in time.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from stashhog_core.errors import ItemError

UNREADABLE = "The file cannot be read as a video"
"""How the reason of every failed `probe` begins."""

OPEN_TIMEOUT_SECONDS = 20.0
MOST_PIXELS = 8192 * 8192
"""Larger pictures are decompression bombs until proven otherwise."""

_MEASURE_LIMIT_SECONDS = 10.0
# Play lists (hls, dash, concat) and picture sequences are left out: they would make
# the reader open other files and addresses.
_FORMATS = ",".join(
    (
        "3gp,3g2,mj2,m4a,mp4,mov,mov,mp4,m4a,3gp,3g2,mj2",
        "matroska,webm",
        "avi,asf,asf_o,flv,live_flv,kux",
        "mpeg,mpegts,mpegtsraw,mpegvideo,vob,dv,mxf,gxf,wtv,rm,ogg,nut,nuv,ivf",
        "h264,hevc,av1,obu,m4v,mjpeg,vc1,yuv4mpegpipe,avs,avs2,avs3,vvc,evc",
        "amv,swf,smk,bink,roq,wmv,xmv,4xm,film_cpk,dxa,gif,mp3,aac,flac,wav",
    )
)
_OPTIONS = {
    "format_whitelist": _FORMATS,
    "protocol_whitelist": "file,fd",
    "probesize": "5000000",
    "analyzeduration": "5000000",
    # PyAV has FFmpeg invent the times that a file does not hold. For H.264 in AVI they
    # are wrong, and go to and fro; ffmpeg takes the times of decoding instead.
    "fflags": "-genpts",
}
# Recordings and streams may begin with half a minute of sound alone. A format without
# a table of contents then says nothing of its picture before that.
_LONGER = {"probesize": "100000000", "analyzeduration": "120000000"}
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_DOLBY_TAGS = ("dvh1", "dvhe", "dva1", "dvav", "dav1")
_MOST_LISTED = 200
"""Streams and chapters beyond it are left out: a hostile file may claim millions."""

_LONGEST_TEXT = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoFacts:
    """Facts of a video file; None where it does not say, or no decoder here knows it.

    Width and height are those of the stored picture, before rotation; `pixel_aspect`
    is the width of a pixel for a height of 1. `streams` are all of them, cover art
    included, `subtitles` and `chapters` repeat what concerns them.
    """

    container: str
    duration_seconds: float | None
    bit_rate: int | None
    video_codec: str | None
    profile: str | None
    width: int | None
    height: int | None
    pixel_aspect: float | None
    frame_rate: float | None
    real_frame_rate: float | None
    hdr: str | None
    audio_codec: str | None
    audio_channels: int | None
    created: datetime | None
    streams: tuple[dict[str, Any], ...]
    subtitles: tuple[str, ...]
    chapters: tuple[dict[str, Any], ...]


def probe(path: Path) -> VideoFacts:
    """Return what the headers of a video file say; no frame is decoded.

    A file whose headers give no length has none: it is not read to its end.

    Raises:
        ItemError: It cannot be read as video: missing, damaged, or without a picture.
            A cover picture inside an audio file is not a video.
    """
    try:
        with open_video(str(path)) as container:
            stream = picture_stream(container)
            return read_facts(container, stream, container.size, measure_length=False)
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
            f"Reading the file failed ({type(error).__name__}: {error})",
            remedy="see the log of the run",
        ) from error


def read_facts(
    container: InputContainer,
    stream: VideoStream,
    size_bytes: int,
    *,
    measure_length: bool = True,
) -> VideoFacts:
    """Return what the headers of an open file say.

    Args:
        container: The file.
        stream: Its `picture_stream`.
        size_bytes: Its size, from which a missing bit rate is computed.
        measure_length: Read a file to its end if its headers give no length.
    """
    duration = header_duration(container, stream)
    if duration is None and measure_length:
        duration = _measured_duration(container, stream)
    codec = stream.codec_context if has_decoder(stream) else None
    sounds = container.streams.audio
    sound = sounds[0] if sounds else None
    bit_rate = container.bit_rate or None
    if bit_rate is None and duration:
        bit_rate = int(size_bytes * 8 / duration)
    return VideoFacts(
        container=container.format.name,
        duration_seconds=duration if duration and math.isfinite(duration) else None,
        bit_rate=bit_rate if bit_rate and 0 < bit_rate < 2**62 else None,
        video_codec=codec_name(stream),
        profile=_text(stream.profile),
        width=(codec.width or None) if codec else None,
        height=(codec.height or None) if codec else None,
        pixel_aspect=_ratio(stream.sample_aspect_ratio),
        frame_rate=_ratio(stream.average_rate),
        real_frame_rate=_ratio(stream.base_rate),
        hdr=_hdr(stream),
        audio_codec=codec_name(sound) if sound else None,
        audio_channels=sound.channels if sound and has_decoder(sound) else None,
        created=_created(container.metadata),
        streams=tuple(_streams(container)),
        subtitles=tuple(
            _text(s.language) or "und" for s in container.streams.subtitles
        )[:_MOST_LISTED],
        chapters=tuple(_chapters(container)),
    )


def _ratio(value: Fraction | None) -> float | None:
    # 0/0 and 1/0 come as None or as zero: unknown.
    return float(value) if value else None


def _text(value: object) -> str | None:
    """Return a text that the database takes: no NUL, no lone surrogate, not endless."""
    if not value:
        return None
    text = str(value).replace("\x00", "")[:_LONGEST_TEXT]
    return text.encode("utf-8", "replace").decode() or None


def _hdr(stream: VideoStream) -> str | None:
    if not has_decoder(stream):
        return None
    codec = stream.codec_context
    if str(codec.codec_tag).lower() in _DOLBY_TAGS:
        return "Dolby Vision"
    return _HDR_TRANSFERS.get(int(codec.color_trc or 0))


def _streams(container: InputContainer) -> Iterator[dict[str, Any]]:
    for stream in list(container.streams)[:_MOST_LISTED]:
        codec: Any = stream.codec_context if has_decoder(stream) else None
        facts: dict[str, Any] = {
            "index": stream.index,
            "type": stream.type,
            "codec": codec_name(stream),
            "language": _text(stream.language),
            "title": _text(stream.metadata.get("title")),
            "default": bool(stream.disposition & Disposition.default),
            "forced": bool(stream.disposition & Disposition.forced),
            "cover": bool(stream.disposition & Disposition.attached_pic),
        }
        if stream.type == "video" and codec:
            facts |= {"width": codec.width, "height": codec.height}
        if stream.type == "audio" and codec:
            facts |= {"channels": codec.channels, "sample_rate": codec.sample_rate}
        yield {name: value for name, value in facts.items() if value is not None}


def _chapters(container: InputContainer) -> Iterator[dict[str, Any]]:
    for chapter in container.chapters()[:_MOST_LISTED]:
        base = chapter["time_base"]
        if not base:
            continue
        yield {
            "start": float(chapter["start"] * base),
            "end": float(chapter["end"] * base),
            "title": _text(chapter["metadata"].get("title")) or "",
        }


def _created(metadata: dict[str, str]) -> datetime | None:
    text = metadata.get("creation_time", "").replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # Cameras without a clock write the start of an epoch.
    return moment if moment.year > 1970 else None


@contextmanager
def open_video(address: str) -> Iterator[InputContainer]:
    """Open a file; its metadata need not be valid UTF-8.

    A file whose beginning shows no picture, or not how large it is, is opened once more
    and read further.

    Args:
        address: A path, or `/dev/fd/N` for an open file: that form also reaches names
            that are not UTF-8, and cannot be exchanged for another file meanwhile.

    Raises:
        FFmpegError, OSError, ValueError: It cannot be opened.
    """
    with ExitStack() as opened:
        container = opened.enter_context(_open(address, _OPTIONS))
        if not _shows_picture(container):
            opened.close()
            container = opened.enter_context(_open(address, {**_OPTIONS, **_LONGER}))
        yield container


def _open(address: str, options: Mapping[str, str]) -> InputContainer:
    return av.open(
        address,
        mode="r",
        timeout=OPEN_TIMEOUT_SECONDS,
        metadata_errors="replace",
        options=dict(options),
    )


def _shows_picture(container: InputContainer) -> bool:
    try:
        stream = picture_stream(container)
    except ItemError:
        return False
    return not has_decoder(stream) or bool(stream.width and stream.height)


def picture_stream(container: InputContainer) -> VideoStream:
    """Return the first video stream that is not cover art.

    A stream that can be decoded comes before one that cannot.

    Raises:
        ItemError: There is none.
    """
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise ItemError("the video has no picture")
    return next(filter(has_decoder, streams), streams[0])


def has_decoder(stream: Stream) -> bool:
    """Tell whether the stream can be decoded here.

    PyAV gives a stream whose format its FFmpeg does not know, or cannot decode, no
    codec context at all, whatever its types say. All that is asked of the context,
    width and height included, must ask this first.
    """
    return getattr(stream, "codec_context", None) is not None


def codec_name(stream: Stream) -> str | None:
    """Return the name of the stream's format, such as `av1`; None: it is unknown here.

    The context's own name is that of the decoder, such as `libdav1d`.
    """
    if not has_decoder(stream):
        return None
    return str(stream.codec_context.codec.canonical_name)


def picture_decoder(stream: VideoStream) -> VideoCodecContext:
    """Return the decoder of pictures.

    Raises:
        ItemError: There is none here, or the pictures are too large to be decoded.
    """
    if not has_decoder(stream):
        raise ItemError(
            "no decoder on this machine supports the format of the video",
            remedy="convert the video to a common format, such as H.264",
        )
    codec = stream.codec_context
    if codec.width * codec.height > MOST_PIXELS:
        raise ItemError(
            f"the pictures of {codec.width}x{codec.height} pixels "
            "are too large to be decoded",
            remedy="convert the video to a smaller size",
        )
    return codec


def reason(error: Exception) -> str:
    """Say in a few words what a reader of media complained of."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def header_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the length in seconds by the headers; None if they do not say."""
    if container.duration is not None and container.duration > 0:
        return float(container.duration / av.time_base)
    if stream.duration is not None and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    return None


def _measured_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the length in seconds by reading packets to the end, without decoding.

    A file that takes too long to read through yields None: a length that is too short
    would be taken for the truth. The container is left at its end. Bare streams have no
    clock, only pictures of a known length.
    """
    deadline = time.monotonic() + _MEASURE_LIMIT_SECONDS
    base = stream.time_base
    if not base:
        return None
    first: int | None = None
    last = timeless = 0
    try:
        for packet in container.demux(stream):
            if packet.pts is None:
                timeless += packet.duration or 0
                continue
            first = packet.pts if first is None else min(first, packet.pts)
            last = max(last, packet.pts + (packet.duration or 0))
            if time.monotonic() > deadline:
                return None
    except (FFmpegError, IndexError):
        # The file breaks off: what there is of it has this length. `IndexError` is
        # explained in the sampler.
        pass
    if first is None:
        return float(timeless * base) or None
    if last <= first:
        return None
    return float((last - first) * base)
