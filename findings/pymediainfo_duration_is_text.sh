#!/bin/sh
# pymediainfo gives the duration of a track as a number or as text, by the kind of file.
#
# `track.duration` is a number of milliseconds in all examples, so one expects a number
# of every file. pymediainfo makes a number of what MediaInfo writes without a fraction,
# and leaves the rest as text. Of MP4 MediaInfo writes `2000`, and of the tracks of
# Matroska `2000.000000`. A comparison with a number works until the first Matroska file
# comes. One with another track never fails: as text, a film of ten seconds is
# shorter than a film of two. Of MPEG-TS, the duration of the whole file is text.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pymediainfo==7.0.1 av==18.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import av
from pymediainfo import MediaInfo

found = {}
for name, seconds in (("a.mp4", 2), ("a.mkv", 2), ("b.mkv", 10), ("a.ts", 2)):
    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for number in range(25 * seconds):
            frame = av.VideoFrame(160, 128, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    media = MediaInfo.parse(name)
    file, video = media.general_tracks[0].duration, media.video_tracks[0].duration
    found[name] = (file, video)
    version = importlib.metadata.version("pymediainfo")
    print(f"pymediainfo {version}, {name}: the file {file!r}, its video {video!r}")
assert found["a.mp4"] == (2000, 2000), found
assert found["a.mkv"] == (2000, "2000.000000"), found
assert found["b.mkv"] == (10_000, "10000.000000"), found
assert found["b.mkv"][1] < found["a.mkv"][1], found
assert isinstance(found["a.ts"][0], str), found
PYTHON
