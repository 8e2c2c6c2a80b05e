#!/bin/sh
# PyAV tells FFmpeg to invent times, and those of H.264 in AVI files go to and fro.
#
# A decoder gives pictures in the order in which they are shown, so one expects
# `frame.time` to rise, and picture 0 to have the time 0. AVI holds no times of showing.
# PyAV switches on FFmpeg's flag `genpts`, which its documentation of `av.open` does not
# say; FFmpeg then invents times from the order in the file. Without B-frames every
# picture comes one too late, and with B-frames the times go back and forth. The option
# `fflags=-genpts` leaves the times empty, and `frame.dts` rises as expected.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import numpy as np


def write(name: str, bframes: int) -> None:
    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.options = {"bf": str(bframes)}
        for number in range(100):
            plain = np.full((180, 160), 20 + 2 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(plain, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read(name: str, options: dict[str, str]) -> tuple[list[int], list, list]:
    """Return the numbers that the pictures show, and their two times in frames."""
    with av.open(name, options=options) as container:
        frames = list(container.decode(video=0))
        grays = [int(np.asarray(frame.planes[0])[0]) for frame in frames]
    numbers = [round((gray - 20) / 2) for gray in grays]
    return numbers, [frame.pts for frame in frames], [frame.dts for frame in frames]


for bframes, expected in ((0, [1, 2, 3, 4, 5]), (3, [1, 4, 3, 5, 2])):
    write("film.avi", bframes)
    write("film.mkv", bframes)
    numbers, shown, _ = read("film.avi", {})
    print(f"av {av.__version__}, bf={bframes}: pictures {numbers[:5]}, pts {shown[:5]}")
    assert numbers == sorted(numbers), numbers
    assert shown[:5] == expected, shown

    _, shown, decoded = read("film.avi", {"fflags": "-genpts"})
    print(f"    with fflags=-genpts: pts {shown[:5]}, dts {decoded[:5]}")
    known = [time for time in decoded if time is not None]
    assert set(shown) == {None}, shown
    assert len(known) > 90 and known == sorted(known), decoded

    _, shown, _ = read("film.mkv", {})
    assert shown == sorted(shown) and shown[0] == 0, shown
PYTHON
