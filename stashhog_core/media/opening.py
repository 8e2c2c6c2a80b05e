"""Opening a video file that nobody vouches for."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from stashhog_core.errors import ItemError

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
}
# Recordings and streams may begin with half a minute of sound alone. A format without
# a table of contents then says nothing of its picture before that.
_LONGER = {"probesize": "100000000", "analyzeduration": "120000000"}


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
        raise ItemError("no picture in it")
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
        raise ItemError("no decoder on this machine supports the format of the video")
    codec = stream.codec_context
    if codec.width * codec.height > MOST_PIXELS:
        raise ItemError(
            f"its pictures of {codec.width}x{codec.height} are too large to be decoded"
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


def measured_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the length in seconds by reading packets to the end, without decoding.

    A file that takes too long to read through yields None: a length that is too short
    would be taken for the truth. The container is left at its end.
    """
    deadline = time.monotonic() + _MEASURE_LIMIT_SECONDS
    base = stream.time_base
    if not base:
        return None
    first: int | None = None
    last = 0
    try:
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            first = packet.pts if first is None else min(first, packet.pts)
            last = max(last, packet.pts + (packet.duration or 0))
            if time.monotonic() > deadline:
                return None
    except av.error.FFmpegError:
        # The file breaks off: what there is of it has this length.
        pass
    if first is None or last <= first:
        return None
    return float((last - first) * base)
