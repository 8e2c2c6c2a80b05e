#!/bin/sh
# imageio's `imread(film, index=n)` gives wrong pictures of films that begin after 0 s.
#
# Going through a film with `imiter` gives all pictures in their order, so one expects
# the picture with the number n from `imread(film, index=n, plugin="pyav")`. imageio
# makes a time of the number, counted from second 0. But parts of longer recordings
# begin at any time, and MPEG-TS usually at 1.4 s. In a part that begins at 4 s, every
# number gives the first picture, and in MPEG-TS one that stands near. No call fails,
# and in a film that begins at 0 s all numbers are right.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imageio==2.38.1 av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import imageio
import imageio.v3 as iio
import numpy as np

ASKED = range(0, 35, 5)


def write(name: str, begin: int) -> None:
    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        stream.options = {"bf": "0", "g": "10", "qp": "1"}
        for number in range(40):
            plain = np.full((192, 160), 128, np.uint8)
            plain[:128] = 20 + 4 * number
            frame = av.VideoFrame.from_ndarray(plain, format="yuv420p")
            frame.pts = begin + number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def numbers(pictures: list[np.ndarray]) -> list[int]:
    """Return the numbers that the pictures show."""
    lights = [int(picture[0, 0, 0]) * 219 / 255 + 16 for picture in pictures]
    return [round((light - 20) / 4) for light in lights]


found = {}
BEGINS = {"film.mp4": 0, "part.mp4": 100, "part.mkv": 100, "film.ts": 0}
for name, begin in BEGINS.items():
    write(name, begin)
    assert numbers(list(iio.imiter(name, plugin="pyav"))) == list(range(40))
    found[name] = numbers(
        [iio.imread(name, index=index, plugin="pyav") for index in ASKED]
    )
    print(f"imageio {imageio.__version__}, av {av.__version__}, {name}: {found[name]}")
assert found["film.mp4"] == list(ASKED), found
assert found["part.mp4"] == found["part.mkv"] == [0] * len(ASKED), found
assert found["film.ts"] != list(ASKED), found
PYTHON
