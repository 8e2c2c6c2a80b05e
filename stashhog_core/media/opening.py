"""Opening a video file that nobody vouches for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
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


@contextmanager
def open_video(address: str) -> Iterator[InputContainer]:
    """Open a file; its metadata need not be valid UTF-8.

    Args:
        address: A path, or `/dev/fd/N` for an open file: that form also reaches names
            that are not UTF-8, and cannot be exchanged for another file meanwhile.

    Raises:
        FFmpegError, OSError, ValueError: It cannot be opened.
    """
    with av.open(
        address,
        mode="r",
        timeout=OPEN_TIMEOUT_SECONDS,
        metadata_errors="replace",
        options=dict(_OPTIONS),
    ) as container:
        yield container


def picture_stream(container: InputContainer) -> VideoStream:
    """Return the first video stream that is not cover art.

    Raises:
        ItemError: There is none.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise ItemError("no picture in it")


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
