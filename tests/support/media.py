"""Small real videos, and small real models that look at pictures."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from PIL import Image, ImageDraw, ImageFont


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
        silence = np.zeros((1, 1024), np.float32)
        packets += _sound(sound, silence, "fltp", 0, silent_seconds + 2)
        _mux_by_time(container, packets)
    return path


def write_noise(path: Path, codec: str) -> Path:
    """Write two seconds of noise without sound.

    Args:
        path: The file; its extension says the container.
        codec: Encoder of the pictures.
    """
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        film = container.add_stream(codec, rate=25)
        film.width, film.height = 160, 120
        film.pix_fmt = (film.codec.video_formats or ["yuv420p"])[0].name
        film.gop_size = 10
        for number in range(50):
            picture = random.integers(0, 255, (120, 160, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(film.encode(frame))
        container.mux(film.encode(None))
    return path


def _sound(
    stream: AudioStream, piece: Any, kind: str, begin: int, end: int
) -> list[Packet]:
    """Return packets that repeat one piece of sound.

    Args:
        stream: Where they go.
        piece: The piece: samples of one channel.
        kind: FFmpeg's name of the format of the samples.
        begin: First second.
        end: The second after the last one.
    """
    samples = piece.shape[1]
    packets = []
    for number in range(begin * 44100 // samples, end * 44100 // samples):
        frame = av.AudioFrame.from_ndarray(piece, format=kind, layout="mono")
        frame.sample_rate, frame.pts = 44100, number * samples
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _mux_by_time(container: OutputContainer, packets: list[Packet]) -> None:
    """Write packets in the order of time, as muxers of streams want them."""
    packets.sort(key=lambda packet: float((packet.dts or 0) * packet.time_base))
    for packet in packets:
        container.mux(packet)


def write_dolby_vision(path: Path) -> Path:
    """Write a second of H.265 whose pictures carry Dolby Vision data, and no headers.

    No encoder here makes the data, so each picture gets the shortest valid one: a
    mapping of each colour to itself.
    """
    bits = _Bits()
    # Kind, format, profile, level; then the sequence: number types and depths.
    bits.add((8, 25), (6, 2), (11, 18), (4, 1), (4, 0), (1, 1))
    bits.add((1, 0), (2, 0)).add_counts(23).add((2, 1), (1, 0))
    bits.add_counts(2, 2, 4).add((1, 0), (3, 0), (1, 0), (1, 1))
    # No further data, no mapping of an earlier picture; a line for each colour.
    bits.add((1, 0), (1, 0)).add_counts(0, 0, 0)
    for _ in range(3):
        bits.add_counts(0).add((10, 0), (10, 1023))
    bits.add_counts(0, 0)
    for _ in range(3):
        bits.add_counts(0, 0).add((1, 0))
        bits.add_counts(0).add((23, 0)).add_counts(1).add((23, 0))
    content = bits.to_bytes()
    content += _crc(content[1:]).to_bytes(4, "big") + b"\x80"
    unit = b"\0\0\0\1" + bytes([62 << 1, 1]) + _escaped(content)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p10le"
        stream.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
        packets = []
        for _ in range(10):
            packets += stream.encode(av.VideoFrame(160, 120, "yuv420p10le"))
        for packet in [*packets, *stream.encode(None)]:
            longer = av.Packet(bytes(packet) + unit)
            longer.stream, longer.time_base = stream, packet.time_base
            longer.pts, longer.dts = packet.pts, packet.dts
            longer.duration, longer.is_keyframe = packet.duration, packet.is_keyframe
            container.mux(longer)
    return path


class _Bits:
    """A text of bits, with numbers as H.265 writes them."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, *fields: tuple[int, int]) -> "_Bits":
        """Add values, each with its number of bits."""
        self._text += "".join(f"{value:0{bits}b}" for bits, value in fields)
        return self

    def add_counts(self, *values: int) -> "_Bits":
        """Add values of no fixed number of bits."""
        for value in values:
            digits = f"{value + 1:b}"
            self._text += "0" * (len(digits) - 1) + digits
        return self

    def to_bytes(self) -> bytes:
        """Return whole bytes, the last one filled up with zeros."""
        length = -(-len(self._text) // 8)
        return int(self._text.ljust(8 * length, "0"), 2).to_bytes(length, "big")


def _crc(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 * (crc >> 31)) & 0xFFFFFFFF
    return crc


def _escaped(content: bytes) -> bytes:
    """Return the content with a 3 where it would look like the start of a unit."""
    escaped = bytearray()
    for byte in content:
        if byte <= 3 and escaped[-2:] == b"\0\0":
            escaped.append(3)
        escaped.append(byte)
    return bytes(escaped)


def write_with_late_sound(path: Path) -> Path:
    """Write MPEG-PS with three seconds of sound in the middle of a minute of noise.

    Neither the beginning nor the end of the file shows that there is sound.
    """
    random = np.random.default_rng(0)
    with av.open(str(path), "w", format="mpeg") as container:
        film = container.add_stream("mpeg2video", rate=25)
        film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
        sound = container.add_stream("mp2", rate=44100, layout="mono")
        packets = []
        for number in range(60 * 25):
            noise = random.integers(0, 255, (180, 160), np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="yuv420p")
            frame.pts = number
            packets += film.encode(frame)
        packets += film.encode(None)
        packets += _sound(sound, np.zeros((1, 1152), np.int16), "s16", 30, 33)
        _mux_by_time(container, packets)
    return path


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


FLOAT, UINT8, FLOAT16 = 1, 2, 10
Dimension = int | str


def write_mean_colour_model(
    path: Path,
    shape: Sequence[Dimension] = ("n", 3, 8, 8),
    *,
    element: int = FLOAT,
    scale: float = 1.0,
    offset: float = 0.0,
    sigmoid: bool = False,
    repeats: int = 1,
) -> Path:
    """Write a model of three outputs: the mean of each colour, in the input's order.

    Args:
        path: The file.
        shape: Of the input; names are open dimensions.
        element: Number type of the input.
        scale: Factor of the mean.
        offset: Added to it.
        sigmoid: Whether the outputs are probabilities of these values.
        repeats: Copies of the three outputs, one after another.
    """
    rows_and_columns = [*range(2, len(shape))] if shape[1] == 3 else [1, 2]
    nodes = [
        _node("Cast", ["pictures"], "floats", _integer("to", FLOAT)),
        _node(
            "ReduceMean",
            ["floats"],
            "mean",
            _integers("axes", rows_and_columns) + _integer("keepdims", 0),
        ),
        _node("Mul", ["mean", "scale"], "scaled"),
        _node("Add", ["scaled", "offset"], "values"),
        _node("Sigmoid" if sigmoid else "Identity", ["values"], "three"),
        _node("Concat", ["three"] * repeats, "scores", _integer("axis", 1)),
    ]
    graph = (
        b"".join(_field(1, node) for node in nodes)
        + _text(2, "mean colour")
        + _field(5, _scalar("scale", scale))
        + _field(5, _scalar("offset", offset))
        + _field(11, _value("pictures", element, shape))
        + _field(12, _value("scores", FLOAT, (shape[0], 3 * repeats)))
    )
    opset = _number(2, 13)
    path.write_bytes(_number(1, 8) + _field(7, graph) + _field(8, opset))
    return path


def _node(kind: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
    return (
        b"".join(_text(1, name) for name in inputs)
        + _text(2, output)
        + _text(4, kind)
        + attributes
    )


def _integer(name: str, value: int) -> bytes:
    return _field(5, _text(1, name) + _number(3, value) + _number(20, 2))


def _integers(name: str, values: list[int]) -> bytes:
    written = b"".join(_number(8, value) for value in values)
    return _field(5, _text(1, name) + written + _number(20, 7))


def _scalar(name: str, value: float) -> bytes:
    return _number(2, FLOAT) + _text(8, name) + _field(9, struct.pack("<f", value))


def _value(name: str, element: int, shape: Sequence[Dimension]) -> bytes:
    dimensions = b"".join(
        _field(1, _number(1, d) if isinstance(d, int) else _text(2, d)) for d in shape
    )
    tensor = _number(1, element) + _field(2, dimensions)
    return _text(1, name) + _field(2, _field(1, tensor))


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
