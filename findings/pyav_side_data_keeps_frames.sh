#!/bin/sh
# A look at the side data of a video frame keeps the frame's pixels in memory.
#
# One expects that a loop over decoded frames holds one frame at a time. After a look at
# `frame.side_data`, to find the display matrix for example, frame and side data hold
# each other, so a frame goes only when Python's collector of reference circles runs. The
# collector counts objects and not megabytes: after a hundred frames it has not run.
# Reading the side data of the first frame only, or `frame.rotation`, keeps nothing.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import gc

import av
import numpy as np

with av.open("film.mp4", "w") as container:
    stream = container.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
    for number in range(100):
        gray = np.full((1620, 1920), number, np.uint8)
        frame = av.VideoFrame.from_ndarray(gray, format="yuv420p")
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode(None):
        container.mux(packet)


def megabytes():
    with open("/proc/self/status") as status:
        resident = next(line for line in status if line.startswith("VmRSS"))
    return int(resident.split()[1]) // 1000


grown = {}
for look in ("nothing", "rotation", "side_data"):
    gc.collect()
    before = megabytes()
    with av.open("film.mp4") as container:
        for frame in container.decode(video=0):
            if look != "nothing":
                getattr(frame, look)
    grown[look] = megabytes() - before
unreachable = gc.collect()
print(f"av {av.__version__}: memory grew by {grown} MB; {unreachable} objects in circles")
assert grown["nothing"] < 50 and grown["rotation"] < 50, grown
assert grown["side_data"] > 150, grown
assert unreachable > 100, unreachable
PYTHON
