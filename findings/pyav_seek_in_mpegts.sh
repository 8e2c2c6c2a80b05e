#!/bin/sh
# A backward seek in an MPEG transport stream ends after the time that was asked for.
#
# `container.seek(t)` looks for the last keyframe at or before t, and in MP4 and Matroska
# it finds that one. MPEG-TS has no index: the seek ends at the position in the file where
# t passes by, and what can be decoded from there is the next keyframe, up to a whole
# group of pictures late. Behind the last keyframe nothing comes at all. No call fails.
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

SECONDS, RATE, GROUP = 20, 25, 125
noise = np.random.default_rng(1)
ASKED = (2.0, 7.0, 12.0, 18.0)


def write(name):
    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"g": str(GROUP), "sc_threshold": "0", "bf": "0"}
        for number in range(SECONDS * RATE):
            gray = noise.integers(0, 256, (360, 320), np.uint8)
            frame = av.VideoFrame.from_ndarray(gray, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def seconds_after(name, asked):
    """Return when the first picture after a seek is shown; None: there is none."""
    with av.open(name) as container:
        stream = container.streams.video[0]
        begin = stream.start_time * stream.time_base
        container.seek(int((asked + begin) / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            return round(float(frame.pts * stream.time_base - begin), 2)
        return None


landed = {}
for name in ("film.mp4", "film.mkv", "film.ts"):
    write(name)
    landed[name] = [seconds_after(name, asked) for asked in ASKED]
    print(f"av {av.__version__}, {name}: asked for {ASKED} s, landed at {landed[name]} s")
assert landed["film.mp4"] == landed["film.mkv"] == [0.0, 5.0, 10.0, 15.0], landed
for asked, at in zip(ASKED, landed["film.ts"]):
    assert at is None or at > asked, landed
assert landed["film.ts"][-1] is None, landed
PYTHON
