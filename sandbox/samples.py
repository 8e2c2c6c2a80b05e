"""Sample videos with title cards, and the names a library knows beforehand.

All names are made up. A card has a studio line, a "Starring" line and a "Tags" line.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from PIL import Image, ImageDraw, ImageFont

from sandbox.stash.finding import find_named
from sandbox.stash.library import Library
from sandbox.stash.naming import create

BLUE_HARBOR = "Blue Harbor Films"
NORTHLIGHT = "Northlight Studio"
PAPER_KITE = "Paper Kite Pictures"
STUDIOS: dict[str, tuple[str, ...]] = {
    BLUE_HARBOR: ("BlueHarbor",),
    NORTHLIGHT: (),
    PAPER_KITE: ("PKP",),
}
"""Studios the library knows → their aliases."""

ADA, BRUNO, CLARA, DARIO, EDITH = (
    "Ada Winter",
    "Bruno Castle",
    "Clara Meadow",
    "Dario Stone",
    "Edith Rivers",
)
PERFORMERS: dict[str, tuple[str, ...]] = {
    ADA: ("Ada W.",),
    BRUNO: (),
    CLARA: ("Clara M.",),
    DARIO: (),
    EDITH: (),
}
"""Performers the library knows → their aliases."""

CONTENT_TAGS: dict[str, tuple[str, ...]] = {
    "Outdoor": ("Outside", "Open Air"),
    "Interview": (),
    "Dancing": ("Dance",),
    "Kitchen": (),
    "Night": (),
}
"""Tags the library knows → their aliases."""

TECHNICAL_TAGS: dict[str, tuple[str, ...]] = {
    "480p": ("SD",),
    "720p": ("HD",),
    "1080p": ("Full HD",),
    "Portrait": ("Vertical Video",),
    "60 fps": ("60fps",),
    "Silent": ("No Sound",),
    "Short": (),
}
"""Tags for facts of a file that the library knows → their aliases."""

_FONT_SHARE = 11
"""A line of text is as high as the picture's shorter side divided by this."""

_SAMPLE_RATE = 48_000
_CARD_SECONDS = 2.0


@dataclass(frozen=True)
class Card:
    """What stands on a title card."""

    title: str
    studio: str | None = None
    performers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The lines as they are drawn."""
        lines = [self.studio] if self.studio else []
        lines.append(self.title)
        if self.performers:
            lines.append(f"Starring {' & '.join(self.performers)}")
        if self.tags:
            lines.append(f"Tags: {', '.join(self.tags)}")
        return lines


@dataclass(frozen=True)
class Encoding:
    """How a sample is written."""

    video: str = "libx264"
    audio: str | None = "aac"
    width: int = 640
    height: int = 360
    rate: int = 25
    seconds: float = 4.0


@dataclass(frozen=True)
class Sample:
    """A file of the sample set.

    Attributes:
        path: Where it lies.
        studio: Studio that its card or its name says; None: none.
        performers: Performers that its card or its name says.
        tags: Content tags that its card says.
        technical_tags: Tags that follow from the file's facts.
        on_card: Whether the names stand on a title card; else only in the file's name.
        is_corrupt: Whether it cannot be opened.
        sidecars: Files that belong to it.
    """

    path: Path
    studio: str | None = None
    performers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    technical_tags: tuple[str, ...] = ()
    on_card: bool = True
    is_corrupt: bool = False
    sidecars: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Plan:
    name: str
    card: Card | None
    encoding: Encoding
    technical_tags: tuple[str, ...]


_PLANS = (
    _Plan(
        "harbor-morning.mp4",
        Card("Harbor Morning", BLUE_HARBOR, (ADA,), ("Outdoor",)),
        Encoding(),
        ("Short",),
    ),
    _Plan(
        "late-kitchen.mkv",
        Card("Late Kitchen", NORTHLIGHT, (BRUNO, CLARA), ("Kitchen", "Night")),
        Encoding(width=1280, height=720, rate=24, seconds=3),
        ("720p", "Short"),
    ),
    _Plan(
        "first-dance.webm",
        Card("First Dance", PAPER_KITE, (CLARA,), ("Dancing",)),
        Encoding(video="libvpx", audio="libopus", seconds=3),
        ("Short",),
    ),
    _Plan(
        "old-reel.avi",
        Card("Old Reel", BLUE_HARBOR, (DARIO,)),
        Encoding(video="mpeg4", audio="libmp3lame", width=640, height=480),
        ("480p", "Short"),
    ),
    _Plan(
        "street-talk.mp4",
        Card("Street Talk", NORTHLIGHT, (EDITH,), ("Interview",)),
        Encoding(width=480, height=854, seconds=3),
        ("480p", "Portrait", "Short"),
    ),
    _Plan(
        "quiet-lake.mp4",
        Card("Quiet Lake", PAPER_KITE, (ADA,)),
        Encoding(audio=None),
        ("Silent", "Short"),
    ),
    _Plan(
        "fast-steps.mp4",
        Card("Fast Steps", BLUE_HARBOR, (BRUNO,), ("Dancing",)),
        Encoding(rate=60, seconds=3),
        ("60 fps", "Short"),
    ),
    _Plan(
        "Weekend Set/weekend-set.mp4",
        Card("Weekend Set", NORTHLIGHT, (ADA, EDITH), ("Outdoor",)),
        Encoding(seconds=3),
        ("Short",),
    ),
    _Plan(
        "Blue Harbor Films - Dario Stone - Night Ferry.mp4",
        None,
        Encoding(seconds=3),
        ("Short",),
    ),
)
_SUBTITLED = "Weekend Set/weekend-set.mp4"
_CORRUPT = "broken-download.mp4"


def make_samples(folder: Path) -> list[Sample]:
    """Write the sample set into a folder; files that are there are not written again.

    Returns:
        What each file is, and which names an analysis should find in it.
    """
    samples = []
    for plan in _PLANS:
        path = folder / plan.name
        if not path.exists():
            write_video(path, plan.encoding, plan.card)
        samples.append(_described(path, plan))
    samples.append(_corrupt(folder))
    return samples


def seed_library(library: Library) -> None:
    """Create what the cards name; what is there already stays as it is."""
    for kind, key, known, aliases_field in (
        ("studio", "studios", STUDIOS, "aliases"),
        ("performer", "performers", PERFORMERS, "alias_list"),
        ("tag", "tags", {**CONTENT_TAGS, **TECHNICAL_TAGS}, "aliases"),
    ):
        for name, aliases in known.items():
            criterion = {"name": {"value": name, "modifier": "EQUALS"}}
            found = find_named(library, kind.capitalize(), criterion)
            if not found[key].ids:
                create(library, kind, {"name": name, aliases_field: list(aliases)})


def write_video(path: Path, encoding: Encoding, card: Card | None = None) -> None:
    """Write a video: a title card if there is one, then a moving picture.

    The file appears at its path only when it is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        _encode(part, encoding, card, seed=path.name)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encode(path: Path, encoding: Encoding, card: Card | None, seed: str) -> None:
    with av.open(str(path), "w") as container:
        video = _video_stream(container, encoding)
        audio = _audio_stream(container, encoding)
        for frame in _pictures(encoding, card, seed):
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            for sound in _tone(encoding.seconds, audio):
                container.mux(audio.encode(sound))
            container.mux(audio.encode(None))


def _video_stream(
    container: av.container.OutputContainer, encoding: Encoding
) -> av.VideoStream:
    speed = _SPEED.get(encoding.video, {})
    stream = container.add_stream(encoding.video, encoding.rate, dict(speed))
    if not isinstance(stream, av.VideoStream):
        raise TypeError(f"{encoding.video} is no video codec")
    stream.width, stream.height = encoding.width, encoding.height
    stream.pix_fmt = "yuv420p"
    stream.bit_rate = 400_000
    return stream


def _audio_stream(
    container: av.container.OutputContainer, encoding: Encoding
) -> av.AudioStream | None:
    if encoding.audio is None:
        return None
    stream = container.add_stream(encoding.audio, _SAMPLE_RATE)
    if not isinstance(stream, av.AudioStream):
        raise TypeError(f"{encoding.audio} is no audio codec")
    stream.layout = "stereo"
    return stream


_SPEED: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "g": "25"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
}


def _pictures(encoding: Encoding, card: Card | None, seed: str) -> Iterator[VideoFrame]:
    shown = _drawn(card, encoding) if card else None
    card_frames = round(_CARD_SECONDS * encoding.rate) if card else 0
    for at in range(round(encoding.seconds * encoding.rate)):
        if shown is not None and at < card_frames:
            frame = VideoFrame.from_ndarray(np.asarray(shown), format="rgb24")
        else:
            frame = VideoFrame.from_ndarray(_moving(encoding, at, seed), format="rgb24")
        frame.pts, frame.time_base = at, Fraction(1, encoding.rate)
        yield frame


def _drawn(card: Card, encoding: Encoding) -> Image.Image:
    size = (encoding.width, encoding.height)
    image = Image.new("RGB", size, (16, 24, 40))
    draw = ImageDraw.Draw(image)
    height = min(size) // _FONT_SHARE
    lines = card.lines
    top = encoding.height // 2 - len(lines) * height
    for at, line in enumerate(lines):
        font = _fitting(line, height, encoding.width * 0.94)
        width = font.getlength(line)
        place = ((encoding.width - width) / 2, top + at * height * 2)
        draw.text(place, line, font=font, fill=(255, 255, 255))
    return image


def _fitting(line: str, height: int, width: float) -> ImageFont.FreeTypeFont:
    for size in range(height, 7, -1):
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise RuntimeError("Pillow was built without its scalable font")
        if font.getlength(line) <= width:
            return font
    raise ValueError(f"no room for {line!r} in {width:.0f} pixels")


def _moving(encoding: Encoding, at: int, seed: str) -> npt.NDArray[np.uint8]:
    """Return a gradient with a block that wanders: little to encode, never the same."""
    shade = sum(seed.encode()) % 128
    rows = np.linspace(shade, shade + 96, encoding.height, dtype=np.uint8)
    picture = np.repeat(rows[:, None], encoding.width, axis=1)
    picture = np.stack([picture, np.roll(picture, at, axis=0), picture[::-1]], axis=2)
    side = encoding.height // 6
    left = round(at * encoding.width / (encoding.seconds * encoding.rate))
    picture[side : 2 * side, left : left + side] = (240, 200, 80)
    return np.ascontiguousarray(picture)


def _tone(seconds: float, stream: av.AudioStream) -> Iterator[AudioFrame]:
    resampler = av.AudioResampler(format=stream.format, layout="stereo")
    size = stream.frame_size or 1024
    total = round(seconds * _SAMPLE_RATE)
    for start in range(0, total, size):
        places = np.arange(start, min(start + size, total))
        wave = np.sin(places * 2 * math.pi * 220 / _SAMPLE_RATE) * 6000
        both = np.repeat(wave.astype(np.int16), 2)[None, :]
        frame = AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        frame.sample_rate = _SAMPLE_RATE
        frame.pts, frame.time_base = start, Fraction(1, _SAMPLE_RATE)
        yield from resampler.resample(frame)


def _described(path: Path, plan: _Plan) -> Sample:
    if plan.card is None:
        return Sample(
            path,
            BLUE_HARBOR,
            (DARIO,),
            technical_tags=plan.technical_tags,
            on_card=False,
        )
    sidecars: tuple[Path, ...] = ()
    if plan.name == _SUBTITLED:
        subtitles = path.with_suffix(".en.srt")
        subtitles.write_text(
            "1\n00:00:02,000 --> 00:00:03,000\nThe weekend begins.\n", encoding="utf-8"
        )
        sidecars = (subtitles,)
    return Sample(
        path,
        plan.card.studio,
        plan.card.performers,
        plan.card.tags,
        plan.technical_tags,
        sidecars=sidecars,
    )


def _corrupt(folder: Path) -> Sample:
    """Write a download that broke off: an MP4 without its index."""
    path = folder / _CORRUPT
    if not path.exists():
        whole = (folder / _PLANS[0].name).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    return Sample(path, is_corrupt=True)
