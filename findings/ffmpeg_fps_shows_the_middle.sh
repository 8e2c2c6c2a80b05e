#!/bin/sh
# The picture that FFmpeg's `fps` filter gives for second 0 is from second 5.
#
# `fps=1/10` makes one picture for each ten seconds: for sprites and their WebVTT one
# expects the pictures of seconds 0, 10, 20 and so on. The filter rounds the time of each
# picture to the nearest multiple, and the last one that falls to a multiple wins. So the
# picture that counts as second 0 is the one just before second 5, and that of second 10
# is from second 15: each tile shows what comes half an interval later. `round=up` gives
# the pictures of the times that they bear.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.3.5
"$folder/venv/bin/python" - <<'PYTHON'
from fractions import Fraction

import av
import numpy

RATE, SECONDS = 10, 40


def pictures(how: str) -> dict[int, float]:
    """Return second → the second of which the filter gives the picture for it."""
    graph = av.filter.Graph()
    start = graph.add_buffer(
        width=32, height=32, format="gray", time_base=Fraction(1, RATE)
    )
    middle, end = graph.add("fps", how), graph.add("buffersink")
    start.link_to(middle)
    middle.link_to(end)
    graph.configure()
    found: dict[int, float] = {}

    def pull() -> None:
        while True:
            try:
                frame = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            # The two upper left dots say which picture it is.
            number = frame.to_ndarray()[0, :2].astype(int)
            found[int(frame.time)] = float(number[0] * 200 + number[1]) / RATE

    for number in range(RATE * SECONDS):
        dots = numpy.zeros((32, 32), numpy.uint8)
        dots[0, :2] = divmod(number, 200)
        frame = av.VideoFrame.from_ndarray(dots, "gray")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        graph.push(frame)
        pull()
    graph.push(None)
    pull()
    return found


plain, up = pictures("fps=1/10"), pictures("fps=1/10:round=up")
version = ".".join(map(str, av.library_versions["libavfilter"]))
print(f"PyAV {av.__version__}, libavfilter {version}: {plain}; round=up {up}")
assert [plain[second] for second in (0, 10, 20)] == [4.9, 14.9, 24.9], plain
assert [up[second] for second in (0, 10, 20)] == [0.0, 10.0, 20.0], up
PYTHON
