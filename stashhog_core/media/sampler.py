"""Pictures of a video at chosen times, decoded from few packets.

A decoder that is told to skip all but keyframes is no help: of H.264 with open groups
of pictures it returns few frames, late and in reverse, and for VP9 it decodes
everything (PyAV 18.1, FFmpeg 62.28). The sampler hands over only the packets that are
flagged as keyframes, one at a time, and has the decoder start anew after each of them.
Where a video has none for long, the sampler decodes on.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Self

import av
from av.error import ExitError, FFmpegError
from av.format import Flags
from av.sidedata.sidedata import Type as SideData
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from stashhog_core.errors import ItemError
from stashhog_core.media.headers import (
    MOST_PIXELS,
    open_video,
    picture_decoder,
    picture_stream,
)

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    _Packet = Packet[VideoStream]

FARTHEST_SECONDS = 20.0
"""Encoders set keyframes at most half as far apart, unless told to set hardly any."""

EVEN_SECONDS = 5.0
"""Distance of the pictures where there are no keyframes."""

_LEAD_SECONDS = 10.0
"""In this time a video that refreshes its picture piece by piece has refreshed all."""

_MOST_LEAD_PACKETS = 600
_EARLIER_SECONDS = (0.0, 5.0, 30.0)
_SAME_DISTANCE_SECONDS, _SAME_SIZE = 0.01, 0.02
_USUAL_RATE = 25.0


class OutOfTimeError(ItemError):
    """The time that a sampler may take is used up."""


class Sampler:
    """Decodes pictures of one video, which is open until the end of the `with` block.

    Args:
        address: As for `open_video`.
        deadline: Second of the monotonic clock from which no more packet is read; None:
            there is no limit.

    Attributes:
        container: The open file.
        stream: Its pictures.
        decoded: Number of pictures decoded so far.
        shows_dolby_vision: Whether a picture decoded so far carries its data.

    Raises:
        ItemError: There is no picture in the file, or no decoder for the pictures here.
        OutOfTimeError: The deadline has passed; raised by all that reads pictures.
        FFmpegError, OSError, ValueError: The file cannot be opened.
    """

    def __init__(self, address: str, *, deadline: float | None = None) -> None:
        self._address = address
        self._deadline = math.inf if deadline is None else deadline
        self._opened = ExitStack()
        self._can_seek = True
        self.decoded = 0
        self.shows_dolby_vision = False
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _open(self) -> None:
        self._opened.close()
        self.container = self._opened.enter_context(open_video(self._address))
        try:
            self.stream = picture_stream(self.container)
        except BaseException:
            self._opened.close()
            raise
        self._untouched = True
        self._has_decoded = False

    def frames(
        self,
        start: float = 0.0,
        end: float = float("inf"),
        spacing: float = 0.0,
        uneventful_spacing: float = 0.0,
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (second, picture) from `start` to before `end`, in one pass.

        Seconds count from the start of the video. A file that breaks off yields what
        could be read.

        Args:
            start: Second of the first picture at the earliest.
            end: Second that no picture reaches.
            spacing: Least number of seconds between two pictures.
            uneventful_spacing: The same for a keyframe that comes when it is due and
                is as large as the one before.
        """
        rhythm = _Rhythm()
        packets = self._packets(start)
        due, shown, key, on_from = start, None, None, None
        is_last_resort = False
        while True:
            item = next(packets, None)
            if item is None:
                if on_from is not None:
                    for at, frame in self._decode(None, due):
                        if due <= at < end:
                            due = at + max(spacing, EVEN_SECONDS)
                            yield at, frame
                    return
                if shown is not None or is_last_resort:
                    return
                # A short video may have no keyframe, or only broken ones.
                is_last_resort, on_from = True, start
                packets = self._packets(on_from, drop_before=on_from - _LEAD_SECONDS)
                self._restart()
                continue
            second, packet = item
            if packet.is_keyframe and (on_from is None or second > on_from):
                if second >= end:
                    return
                key, on_from = second, None
                earliest = due
                if rhythm.goes_on(second, packet.size) and shown is not None:
                    earliest = max(due, shown + uneventful_spacing)
                found = None
                if second >= earliest:
                    found = self._picture(second, packet, packets)
                if found is not None and (is_last_resort or not found[1].is_corrupt):
                    shown = found[0]
                    due = shown + spacing
                    yield found
                continue
            if second >= end + FARTHEST_SECONDS:
                return
            if on_from is not None:
                for at, frame in self._decode(packet, second):
                    if due <= at < end:
                        due = at + max(spacing, EVEN_SECONDS)
                        yield at, frame
            elif second - max(key or 0.0, start - _LEAD_SECONDS) > FARTHEST_SECONDS:
                on_from = key if key is not None and key >= start else start
                packets = self._packets(on_from, drop_before=on_from - _LEAD_SECONDS)
                self._restart()
                if shown is not None:
                    due = shown + max(spacing, EVEN_SECONDS)

    def shown_seconds(self, duration_seconds: float | None) -> float | None:
        """Return how long pictures are shown, from the first one on.

        Args:
            duration_seconds: What the file says. A Matroska file counts from zero,
                whenever its first picture comes; other formats count from there.
        """
        start = (self.container.start_time or 0) / av.time_base
        if duration_seconds is None or "matroska" not in self.container.format.name:
            return duration_seconds
        return max(0.0, duration_seconds - start)

    def near(self, second: float) -> tuple[float, VideoFrame] | None:
        """Return (its second, the picture) at a keyframe before `second`.

        The picture is a later one if the file cannot be read from before `second`, and
        an earlier or later one that was decoded on if keyframes are far away. None:
        nothing can be decoded.
        """
        best: tuple[float, VideoFrame] | None = None
        for earlier in _EARLIER_SECONDS:
            since = max(0.0, second - earlier)
            # Before a broken keyframe there may be a whole one.
            found = self._keyframe(since, second if best is None else since)
            if best is None or (found is not None and not found[1].is_corrupt):
                best = found
            if (best is not None and not best[1].is_corrupt) or earlier >= second:
                break
        if best is None:
            # Some files can be read from their start only when they are opened anew.
            self._open()
            best = self._keyframe(0.0, second)
        if best is not None and abs(best[0] - second) <= FARTHEST_SECONDS:
            return best
        return self._decoded_on(second) or best

    def at_each(self, seconds: Sequence[float]) -> Iterator[VideoFrame | None]:
        """Yield the picture near each of the seconds, which are in order.

        A file that can only be read from its start, or that has hardly any keyframes,
        is read once.
        """
        for number, second in enumerate(seconds):
            found = self.near(second)
            far = found is not None and abs(found[0] - second) > FARTHEST_SECONDS
            if not self._can_seek or far:
                yield from self._in_one_pass(seconds[number:])
                return
            yield found and found[1]

    def _in_one_pass(self, seconds: Sequence[float]) -> Iterator[VideoFrame | None]:
        steps = [after - before for before, after in pairwise(seconds)]
        frames = self.frames(spacing=min(steps, default=0.0) / 2)
        following = next(frames, None)
        frame = following and following[1]
        for second in seconds:
            while following is not None and following[0] <= second:
                frame = following[1]
                following = next(frames, None)
            yield frame

    def exact(
        self, seconds: Sequence[float], *, read_on: bool
    ) -> Iterator[VideoFrame | None]:
        """Yield the picture that `ffmpeg -ss` shows for each of the seconds, in order.

        This is the first picture at or after the second, which is rounded to the
        nearest tick of the stream's clock. None: there is none, as after the end.

        Args:
            seconds: Seconds from the start of the video.
            read_on: Read the video once, instead of from a keyframe before each second.

        Raises:
            ItemError: The pictures of the video have no times.
        """
        base = self.stream.time_base or Fraction(1, av.time_base)
        start = self.container.start_time or 0
        frames: Iterator[tuple[int, VideoFrame]] | None = None
        last: tuple[int, VideoFrame] | None = None
        for second in seconds:
            micros = round(second * av.time_base) + start
            tick = math.floor(Fraction(micros, av.time_base) / base + Fraction(1, 2))
            found = None
            if frames is not None and read_on:
                found = last if last and last[0] >= tick else _at(tick, frames)
            if found is None:
                # In a damaged file, reading on may end earlier than seeking.
                frames = self._running(max(0.0, second - self._early))
                found = _at(tick, frames)
            last = found
            yield found and found[1]

    @property
    def _early(self) -> float:
        """Return by how much ffmpeg seeks too early, in seconds.

        The seconds of some formats are those of decoding, before those of showing.
        """
        shown = Flags(self.container.format.flags) & Flags.seek_to_pts
        return 0.0 if shown or not self._codec.has_b_frames else 3 / 23

    def _running(self, second: float) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (its time in ticks, the picture), decoded on from before a second."""
        end: tuple[float, None] = (0.0, None)
        packets = chain(self._packets(second), [end])
        self._restart()
        before: int | None = None
        for at, packet in packets:
            for _, frame in self._decode(packet, at):
                ticks = frame.dts if frame.pts is None else frame.pts
                if ticks is None:
                    # The last pictures of an AVI file come without a time.
                    if before is None:
                        raise ItemError("the pictures of the video have no times")
                    ticks = before + self._ticks_of_a_picture
                before = ticks
                yield ticks, frame

    @property
    def _ticks_of_a_picture(self) -> int:
        rate = self.stream.average_rate or Fraction(_USUAL_RATE)
        return max(1, round(1 / (rate * (self.stream.time_base or 1))))

    def _keyframe(self, start: float, second: float) -> tuple[float, VideoFrame] | None:
        """Return the last keyframe at or before `second` when read from `start`."""
        packets = self._packets(start)
        held: tuple[float, _Packet] | None = None
        for at, packet in packets:
            if packet.is_keyframe and (held is None or at <= second):
                held = at, packet
                if start == second and self._can_seek:
                    # A file that can be searched was left at the right place.
                    break
            if at > second + (_LEAD_SECONDS if held is None else 0):
                break
        if held is None:
            return None
        return self._picture(*held, packets)

    def _decoded_on(self, second: float) -> tuple[float, VideoFrame] | None:
        """Return the picture at `second`, decoded from a little before."""
        since = max(0.0, second - _LEAD_SECONDS)
        self._restart()
        last: tuple[float, VideoFrame] | None = None
        for number, (at, packet) in enumerate(self._packets(since, drop_before=since)):
            for found in self._decode(packet, at):
                last = found
                if found[0] >= second:
                    return found
            if number > _MOST_LEAD_PACKETS:
                break
        return last

    def _picture(
        self,
        second: float,
        packet: "_Packet",
        following: Iterator[tuple[float, "_Packet"]],
    ) -> tuple[float, VideoFrame] | None:
        """Return (its second, the picture) of a packet flagged as a keyframe.

        Some flagged packets only begin a picture, which the following ones complete.
        """
        self._restart()
        found = [*self._decode(packet, second), *self._decode(None, second)]
        self._restart()
        if found:
            return second, found[0][1]
        self._decode(packet, second)
        for number, (at, after) in enumerate(following):
            found = self._decode(after, at)
            if found or number > _MOST_LEAD_PACKETS:
                break
        self._restart()
        return found[0] if found else None

    def _decode(
        self, packet: "_Packet | None", second: float
    ) -> list[tuple[float, VideoFrame]]:
        """Decode on; a broken packet yields nothing."""
        self._has_decoded = True
        try:
            frames = self._codec.decode(packet)
        except (FFmpegError, ValueError):
            return []
        if frames and not self.decoded:
            data: Any = frames[0].side_data
            self.shows_dolby_vision = SideData.DOVI_METADATA in data
        self.decoded += len(frames)
        return [
            (second if frame.pts is None else self._seconds(frame.pts), frame)
            for frame in frames
        ]

    def _packets(
        self, second: float, drop_before: float = 0.0
    ) -> Iterator[tuple[float, "_Packet"]]:
        """Yield (second, packet) from about `second` on; from the start if need be."""
        if not (self._untouched and second == 0.0):
            self._go_to(second)
        self._untouched = False
        length = 1 / float(self.stream.average_rate or _USUAL_RATE)
        packets = self.container.demux(self.stream)
        at = -length
        while True:
            if time.monotonic() > self._deadline:
                raise OutOfTimeError("the time for reading the pictures is used up")
            try:
                packet = next(packets, None)
            except ExitError as error:
                raise OutOfTimeError("the disk or network does not answer") from error
            except (FFmpegError, IndexError):
                # The file breaks off here; or PyAV knows nothing of a stream that began
                # on the way, and stumbles over it at the end.
                return
            if packet is None:
                return
            if not packet.size:
                continue
            ticks = packet.dts if packet.pts is None else packet.pts
            # Bare streams have no clock; others leave out the time of some packets.
            at = at + length if ticks is None else self._seconds(ticks)
            if at >= drop_before:
                yield at, packet

    def _go_to(self, second: float) -> None:
        start = self.container.start_time or 0
        if self._can_seek:
            try:
                self.container.seek(int(second * av.time_base) + start)
            except (FFmpegError, OverflowError):
                # After a refused seek a container is at its end.
                self._can_seek = False
            else:
                return
        self._open()

    def _seconds(self, ticks: int) -> float:
        base = self.stream.time_base
        offset = (self.container.start_time or 0) / av.time_base
        return max(0.0, ticks * float(base or 0) - offset)

    def _restart(self) -> None:
        """Have the decoder forget all packets; a fresh decoder knows none."""
        if self._has_decoded:
            self._codec.flush_buffers()
            self._has_decoded = False

    @property
    def _codec(self) -> VideoCodecContext:
        codec = picture_decoder(self.stream)
        if not codec.is_open:
            # Starting threads costs more than they save on single pictures; files are
            # decoded side by side instead.
            codec.thread_count = 1
            codec.options = {"max_pixels": str(MOST_PIXELS)}
        return codec


class _Rhythm:
    """Tells which keyframes hardly show anything new, before they are decoded.

    Encoders set keyframes at an even distance, and further ones where the picture
    changes. How large a keyframe is depends on what the picture shows: even a line of
    text makes a difference.
    """

    def __init__(self) -> None:
        self._before, self._distance, self._size = -math.inf, math.nan, 0

    def goes_on(self, second: float, size: int) -> bool:
        """Tell whether distance and size are those of the keyframe before."""
        distance = second - self._before
        goes_on = (
            abs(distance - self._distance) < _SAME_DISTANCE_SECONDS
            and abs(size - self._size) <= _SAME_SIZE * self._size
        )
        self._before, self._distance, self._size = second, distance, size
        return goes_on


def _at(
    tick: int, frames: Iterator[tuple[int, VideoFrame]]
) -> tuple[int, VideoFrame] | None:
    return next((found for found in frames if found[0] >= tick), None)
