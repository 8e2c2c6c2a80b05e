"""Reading videos and making small media of them, with PyAV."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

COVER_WIDTH = 640
_THUMB_WIDTH = 80
_PREVIEW_WIDTH = 160
_PREVIEW_RATE = 8
_SPRITE_SIDE = 9
_PHASH_SIDE = 5
_DECODE_ALL_SECONDS = 60
_DCT_SIZE = 32
# Four kinds of media are made of each of the nine sample videos.
_DECODED_KEPT = 40


class MediaError(Exception):
    """The file cannot be read as a video, or too little of it can."""


@dataclass(frozen=True)
class VideoFacts:
    """What a probe tells of a file."""

    duration: float
    format: str
    video_codec: str
    audio_codec: str
    width: int
    height: int
    frame_rate: float
    bit_rate: int


def probe(path: Path) -> VideoFacts:
    """Return the facts of a video file.

    Raises:
        MediaError: It cannot be opened, or has no video in it.
    """
    with _opened(path) as container:
        if not container.streams.video:
            raise MediaError(f"no video stream in {path}")
        video = container.streams.video[0]
        if video.codec_context is None:
            raise MediaError(f"no decoder for the picture of {path}")
        if not video.width or not video.height:
            raise MediaError(f"no picture size in {path}")
        audio = container.streams.audio[0] if container.streams.audio else None
        return VideoFacts(
            duration=round(_duration(container), 2),
            format=_format(container.format.name, path),
            video_codec=video.codec_context.codec.canonical_name,
            audio_codec=(
                audio.codec_context.codec.canonical_name
                # A stream without a decoder has no context.
                if audio and audio.codec_context
                else ""
            ),
            width=video.width,
            height=video.height,
            frame_rate=round(float(video.average_rate or video.base_rate or 0), 2),
            bit_rate=container.bit_rate or 0,
        )


def write_cover(video: Path, target: Path) -> None:
    """Write one frame of `video` as a JPEG.

    As in Stash, a clip of a single frame gets none.
    """
    if _is_one_frame(video):
        raise MediaError("exit status 234")
    frame = _sampled(video, 1, COVER_WIDTH)[0]
    with _whole(target) as part:
        frame.save(part, "JPEG", quality=80)


def write_preview(video: Path, target: Path, segments: int) -> None:
    """Write a short MP4 of `segments` stretches of the video."""
    if segments < 1:
        raise MediaError(f"cannot make a preview of {segments} segments")
    frames = _sampled(video, segments * 2, _PREVIEW_WIDTH)
    with _whole(target) as part, av.open(str(part), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=_PREVIEW_RATE, options={"preset": "ultrafast"}
        )
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        for at, image in enumerate(frames):
            frame = VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, _PREVIEW_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_image_preview(video: Path, target: Path) -> None:
    """Write a short animated WebP.

    Of a clip of a single frame, Stash's ffmpeg leaves a file with nothing in it.
    """
    if _is_one_frame(video):
        with _whole(target) as part:
            part.write_bytes(b"RIFF\0\0\0\0")
        return
    frames = _sampled(video, 6, _THUMB_WIDTH)
    with _whole(target) as part:
        frames[0].save(
            part, "WEBP", save_all=True, append_images=frames[1:], duration=250
        )


def write_frame(video: Path, target: Path, seconds: float) -> None:
    """Write the frame at a moment as a JPEG; past the end counts as the end."""
    with _opened(video) as container:
        _seek(container, max(seconds, 0.0))
        image = _image(_first_frame(container, video), COVER_WIDTH)
    with _whole(target) as part:
        image.save(part, "JPEG", quality=80)


def write_sprite(video: Path, sprite: Path, vtt: Path) -> None:
    """Write a sheet of thumbnails, and the times they stand for."""
    count = _SPRITE_SIDE**2
    frames = _sampled(video, count, _THUMB_WIDTH)
    width, height = frames[0].size
    sheet = Image.new("RGB", (width * _SPRITE_SIDE, height * _SPRITE_SIDE))
    lines = ["WEBVTT", ""]
    step = probe(video).duration / count
    for at, frame in enumerate(frames):
        row, column = divmod(at, _SPRITE_SIDE)
        corner = (column * width, row * height)
        sheet.paste(frame, corner)
        lines += [
            f"{_vtt_time(at * step)} --> {_vtt_time((at + 1) * step)}",
            f"{sprite.name}#xywh={corner[0]},{corner[1]},{width},{height}",
            "",
        ]
    with _whole(sprite) as part:
        sheet.save(part, "JPEG", quality=60)
    with _whole(vtt) as part:
        part.write_text("\n".join(lines), encoding="utf-8")


def perceptual_hash(video: Path) -> str:
    """Return 64 bits that barely change when the video is encoded anew.

    They are the signs of the lowest frequencies of a sheet of frames. As in Stash,
    the hexadecimal digits are not padded, and clips of a second fail.
    """
    if probe(video).duration <= 1:
        raise MediaError("decoding image: image: unknown format")
    frames = _sampled(video, _PHASH_SIDE**2, _THUMB_WIDTH)
    width, height = frames[0].size
    sheet = Image.new("L", (width * _PHASH_SIDE, height * _PHASH_SIDE))
    for at, frame in enumerate(frames):
        row, column = divmod(at, _PHASH_SIDE)
        sheet.paste(frame.convert("L"), (column * width, row * height))
    pixels = np.asarray(sheet.resize((_DCT_SIZE, _DCT_SIZE)), dtype=np.float64)
    places = np.arange(_DCT_SIZE)
    waves = np.cos(np.pi * (2 * places[None, :] + 1) * places[:, None] / 2 / _DCT_SIZE)
    low = (waves @ pixels @ waves.T)[:8, :8].ravel()
    bits = "".join("1" if value > np.median(low) else "0" for value in low)
    return f"{int(bits, 2):x}"


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: {error}") from error


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Give a path to write to; what was written appears at `target` at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _sampled(path: Path, count: int, width: int) -> list[Image.Image]:
    """Return `count` frames spread over the video; the last stands in for lost ones."""
    try:
        with path.open("rb") as file:
            content = _Content(hashlib.file_digest(file, "sha256").digest(), path)
    except OSError as error:
        raise MediaError(f"{path}: {error}") from error
    return [frame.copy() for frame in _decoded(content, count, width)]


@dataclass(frozen=True)
class _Content:
    """A file, which equals each other one of the same bytes."""

    digest: bytes
    path: Path = field(compare=False)


@lru_cache(_DECODED_KEPT)
def _decoded(content: _Content, count: int, width: int) -> list[Image.Image]:
    """Do the work of `_sampled` once: stand-ins of many tests get the same videos."""
    path = content.path
    with _opened(path) as container:
        duration = _duration(container)
        times = [(at + 0.5) * duration / count for at in range(count)]
        frames = (
            _frames_by_decoding(container, times, width)
            if duration <= _DECODE_ALL_SECONDS
            else _frames_by_seeking(container, times, width)
        )
    if not frames:
        raise MediaError(f"no frame of {path} could be decoded")
    return frames + [frames[-1]] * (count - len(frames))


def _frames_by_decoding(
    container: av.container.InputContainer, times: list[float], width: int
) -> list[Image.Image]:
    images: list[Image.Image] = []
    video = container.streams.video[0]
    video.thread_type = "AUTO"
    start: float | None = None
    last: VideoFrame | None = None
    for last in container.decode(video):
        start = (last.time or 0.0) if start is None else start
        reached = (last.time or 0.0) - start
        due = sum(1 for seconds in times[len(images) :] if seconds <= reached)
        if due:
            images += [_image(last, width)] * due
    if last is not None and len(images) < len(times):
        images.append(_image(last, width))
    return images


def _frames_by_seeking(
    container: av.container.InputContainer, times: list[float], width: int
) -> list[Image.Image]:
    images = []
    for seconds in times:
        _seek(container, seconds)
        frame = next(container.decode(container.streams.video[0]), None)
        if frame is not None:
            images.append(_image(frame, width))
    return images


def _is_one_frame(path: Path) -> bool:
    with _opened(path) as container:
        packets = container.demux(container.streams.video[0])
        # The last packet of all is an empty one.
        return sum(1 for packet in islice(packets, 3) if packet.size) == 1


def _seek(container: av.container.InputContainer, seconds: float) -> None:
    seconds = min(seconds, max(_duration(container) - 0.1, 0))
    container.seek(int(seconds * av.time_base))


def _first_frame(container: av.container.InputContainer, path: Path) -> VideoFrame:
    frame = next(container.decode(container.streams.video[0]), None)
    if frame is None:
        raise MediaError(f"no frame of {path} could be decoded")
    return frame


def _image(frame: VideoFrame, width: int) -> Image.Image:
    # Encoders want even sides.
    width = min(width, frame.width) // 2 * 2
    height = max(round(frame.height * width / frame.width) // 2 * 2, 2)
    small = frame.reformat(width=width, height=height, format="rgb24")
    return Image.fromarray(small.to_ndarray())


def _duration(container: av.container.InputContainer) -> float:
    return (container.duration or 0) / av.time_base


def _format(name: str, path: Path) -> str:
    if name.startswith("matroska"):
        return "webm" if path.suffix.lower() == ".webm" else "matroska"
    return "mp4" if name.startswith("mov") else name


def _vtt_time(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:02d}:{minutes:02d}:{rest:06.3f}"
