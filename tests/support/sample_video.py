"""Small real videos for tests, made with PyAV."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    *,
    seconds: float = 3,
    width: int = 320,
    height: int = 180,
    seed: int = 0,
    frames_per_second: int = 10,
) -> Path:
    """Write a silent H.264 video; each `seed` gives other pictures, so other hashes."""
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=frames_per_second)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for _ in range(round(seconds * frames_per_second)):
            coarse = random.integers(0, 255, (height // 20, width // 20, 3), np.uint8)
            picture = np.kron(coarse, np.ones((20, 20, 1), np.uint8))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_colours(
    path: Path,
    parts: Sequence[tuple[float, tuple[int, int, int]]],
    *,
    width: int = 64,
    height: int = 36,
    picture_seconds: float = 1,
    letters: bool = False,
) -> Path:
    """Write plain colours one after another; every picture is a keyframe.

    Args:
        path: The file; its extension says the container.
        parts: Seconds, and (red, green, blue). None: a file without a picture.
        width: Pixels.
        height: Pixels.
        picture_seconds: Time between two pictures.
        letters: A bright corner, so that no picture counts as flat.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = 1
        stream.options = {"preset": "ultrafast"}
        if not parts:
            container.start_encoding()
        second = 0.0
        for seconds, colour in parts:
            picture = np.full((height, width, 3), colour, np.uint8)
            if letters:
                picture[: height // 4, : width // 4] = 255
            for _ in range(round(seconds / picture_seconds)):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = round(second)
                second += picture_seconds
                container.mux(stream.encode(frame))
        if parts:
            container.mux(stream.encode(None))
    return path


def write_song(path: Path, *, cover: bool) -> Path:
    """Write a file with sound, and a picture as its cover if wanted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44100)
        if cover:
            art = container.add_stream("mjpeg", rate=1)
            art.width, art.height, art.pix_fmt = 64, 64, "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
            image = np.zeros((64, 64, 3), np.uint8)
            container.mux(art.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        silence.sample_rate = 44100
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    return path


def write_film(path: Path, *, silent_seconds: int = 0, codec: str = "libx264") -> Path:
    """Write two seconds of pictures with sound; the sound begins earlier if wanted.

    Args:
        path: The file; its extension says the container.
        silent_seconds: Seconds of sound before the first picture.
        codec: Encoder of the pictures.
    """
    with av.open(str(path), "w") as container:
        film = container.add_stream(codec, rate=10)
        film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
        if codec == "libx264":
            film.options = {"preset": "ultrafast"}
        sound = container.add_stream("aac", rate=44100, layout="mono")
        packets = []
        for number in range(20):
            picture = np.full((120, 160, 3), number * 10, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number + silent_seconds * 10
            packets += film.encode(frame)
        packets += film.encode(None)
        for number in range((silent_seconds + 2) * 44100 // 1024):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.sample_rate, silence.pts = 44100, number * 1024
            packets += sound.encode(silence)
        packets += sound.encode(None)
        # Muxers of streams take packets in the order of time.
        packets.sort(key=lambda packet: float((packet.dts or 0) * packet.time_base))
        for packet in packets:
            container.mux(packet)
    return path
