"""Small real videos for tests, made with PyAV."""

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
