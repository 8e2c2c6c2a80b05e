"""Small real videos with title cards, for tests."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Card = tuple[float, Sequence[str]]
"""Seconds it stands, and its lines; no lines: a black picture."""


def picture(lines: Sequence[str], width: int, height: int) -> Image.Image:
    """Draw a card: white letters on a dark ground; black without lines."""
    image = Image.new("RGB", (width, height), (16, 20, 48) if lines else (0, 0, 0))
    draw = ImageDraw.Draw(image)
    size = min(height // (len(lines) + 2), width // 14) if lines else 10
    for number, line in enumerate(lines):
        place = (width // 16, round(size * (1 + 1.4 * number)))
        draw.text(place, line, font=ImageFont.load_default(size=size), fill="white")
    return image


def write_cards(
    path: Path,
    cards: Sequence[Card],
    *,
    width: int = 640,
    height: int = 360,
    frames_per_second: int = 5,
    keyframe_seconds: float | None = None,
) -> Path:
    """Write the cards one after another; each begins with a keyframe.

    Args:
        path: The file; its extension says the container.
        cards: What is shown.
        width: Pixels.
        height: Pixels.
        frames_per_second: Pictures.
        keyframe_seconds: Further keyframes, so many seconds apart.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    every = round((keyframe_seconds or 0) * frames_per_second)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=frames_per_second)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "x264-params": "scenecut=0"}
        stream.codec_context.gop_size = 100_000
        number = 0
        for seconds, lines in cards:
            image = np.asarray(picture(lines, width, height))
            for within in range(round(seconds * frames_per_second)):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = number
                if within == 0 or (every and within % every == 0):
                    frame.pict_type = av.video.frame.PictureType.I
                for packet in stream.encode(frame):
                    container.mux(packet)
                number += 1
        for packet in stream.encode():
            container.mux(packet)
    return path
