"""Twenty videos of 2 to 60 minutes, still and moving, with and without title cards.

Only what title cards are looked for in costs time to write: the first and the last
minute, with a keyframe every two seconds. In between the picture is black.
"""

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZES = [(1280, 720)] * 2 + [(1920, 1080)] * 2 + [(3840, 2160)]
"""Sizes of five videos: of the kinds of one pair each."""

MINUTES = (2, 4, 7, 10, 15, 20, 25, 30, 45, 60)
_END_SECONDS, _STEP_SECONDS, _BLACK_STEP_SECONDS = 60, 2, 10
_FONTS = ("DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansCondensed-Bold.ttf")
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
_LINES_PER_CARD = (1, 2, 3, 4, 6, 9)
_LETTER_SHARES = (0.030, 0.037, 0.045, 0.06, 0.08)
"""Height of the letters by that of the picture: 16 to 43 of 540 pixels."""


@dataclass(frozen=True)
class Card:
    """What stands in the picture from `start` to before `end`, in seconds."""

    start: int
    end: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Video:
    """A video of the corpus: what it shows, and the cards in it."""

    path: str
    kind: str
    width: int
    height: int
    minutes: int
    cards: tuple[Card, ...]


def write_corpus(folder: Path) -> list[Video]:
    """Write the videos, unless the folder has them already."""
    index = folder / "corpus.json"
    if not index.exists():
        videos = [_write(folder, number) for number in range(20)]
        index.write_text(json.dumps([asdict(video) for video in videos]))
    return [
        Video(**{**video, "cards": tuple(Card(**card) for card in video["cards"])})
        for video in json.loads(index.read_text())
    ]


def _write(folder: Path, number: int) -> Video:
    draw = random.Random(number)
    moving, with_cards = number % 2 == 0, number // 2 % 2 == 0
    width, height = SIZES[number // 4]
    minutes = MINUTES[number * 7 % 10]
    seconds = minutes * 60
    cards = tuple(_cards(draw, seconds)) if with_cards else ()
    kind = f"{'moving' if moving else 'still'}, {'cards' if with_cards else 'no cards'}"
    path = folder / f"{number:02} {kind} {width}x{height} {minutes} min.mp4"
    scenery = _scenery(number, width * 3 // 2, height * 3 // 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1, _STEP_SECONDS))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.gop_size = 1
        stream.options = {"preset": "veryfast", "crf": "21"}
        grain = np.random.default_rng(number)
        for second in _seconds(seconds):
            if _END_SECONDS <= second < seconds - _END_SECONDS:
                picture = np.zeros((height, width, 3), np.uint8)
            else:
                picture = _picture(scenery, second, moving, width, height, grain)
                for card in cards:
                    if card.start <= second < card.end:
                        picture = _drawn(picture, card, number)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = second * 1000, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Video(str(path), kind, width, height, minutes, cards)


def _seconds(length: int) -> Iterator[int]:
    second = 0
    while second < length:
        yield second
        in_middle = _END_SECONDS <= second < length - _END_SECONDS
        second += _BLACK_STEP_SECONDS if in_middle else _STEP_SECONDS


def _cards(draw: random.Random, seconds: int) -> Iterator[Card]:
    """Yield a card of the studio, one over the picture, and the credits."""
    for start, long in ((0, 4), (draw.randrange(6, 30, 2), 4), (seconds - 12, 8)):
        lines = draw.choice(_LINES_PER_CARD)
        yield Card(start, start + long, tuple(_name(draw) for _ in range(lines)))


def _name(draw: random.Random) -> str:
    words = ["".join(draw.choices(_SYLLABLES, k=draw.choice((2, 3)))) for _ in "12"]
    return " ".join(word.title() for word in words)


def _scenery(seed: int, width: int, height: int) -> np.ndarray:
    """Return something as detailed as a photo: clouds of all sizes, and shapes."""
    noise = np.random.default_rng(seed)
    clouds = np.zeros((height, width, 3), np.float32)
    weight = 1.0
    for octave in range(2, 9):
        cells = 2**octave
        few = noise.random((cells, cells, 3), np.float32)
        clouds += weight * cv2.resize(few, (width, height), interpolation=3)
        weight *= 0.6
    clouds = (clouds - clouds.min()) / (clouds.max() - clouds.min()) * 255
    picture = clouds.astype(np.uint8)
    for _ in range(12):
        colour = [int(value) for value in noise.integers(0, 255, 3)]
        left, top = (int(noise.integers(0, side)) for side in (width, height))
        size = int(noise.integers(20, height // 3))
        if noise.random() < 0.5:
            cv2.circle(picture, (left, top), size // 2, colour, -1)
        else:
            cv2.rectangle(picture, (left, top), (left + size, top + size), colour, -1)
    return cv2.GaussianBlur(picture, (3, 3), 0)


def _picture(
    scenery: np.ndarray,
    second: int,
    moving: bool,
    width: int,
    height: int,
    grain: np.random.Generator,
) -> np.ndarray:
    """Return the part of the scenery that is seen: all of it in turn, or one part."""
    step = second % 40 if moving else second // 30 % 2 * 20
    left, top = width // 2 * step // 40, height // 2 * step // 40
    part = scenery[top : top + height, left : left + width].astype(np.int16)
    shade = grain.integers(-3, 4, (height // 4, width // 4, 1), dtype=np.int16)
    part += np.repeat(np.repeat(shade, 4, 0), 4, 1)
    return part.clip(0, 255).astype(np.uint8)


def _drawn(picture: np.ndarray, card: Card, number: int) -> np.ndarray:
    """Return the picture with a card: on black if it stands first, else over it."""
    image = Image.fromarray(picture)
    if card.start == 0:
        image.paste((12, 12, 30), (0, 0, *image.size))
    draw = ImageDraw.Draw(image)
    share = _LETTER_SHARES[(number + card.start) % len(_LETTER_SHARES)]
    size = round(image.height * share)
    font = ImageFont.truetype(_FONTS[(number + card.start) % len(_FONTS)], size)
    top = (image.height - len(card.lines) * size * 1.6) / 2
    for line in card.lines:
        left = (image.width - draw.textlength(line, font)) / 2
        away = max(1, size // 14)
        draw.text((left + away, top + away), line, (0, 0, 0), font)
        draw.text((left, top), line, (245, 245, 245), font)
        top += size * 1.6
    return np.asarray(image)


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]))
