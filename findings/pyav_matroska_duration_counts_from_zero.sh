#!/bin/sh
# The duration of a Matroska video includes the time before its first picture.
#
# `container.duration` is the length of MP4 and MPEG-TS files, whatever time their first
# picture has, so one expects that half of it after `start_time` is the middle of the
# film. Two seconds of video that begin at second 10, as parts of a longer recording do,
# have the duration 2 in MP4 and 12 in Matroska, with the same `start_time`. There, the
# middle lies behind the end: a seek to it gives the last pictures, or none.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av

found = {}
for name in ("film.mp4", "film.ts", "film.mkv"):
    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.options = {"bf": "0", "g": "5"}
        for number in range(50):
            frame = av.VideoFrame(160, 120, "yuv420p")
            frame.pts = 250 + number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(name) as container:
        start = container.start_time / av.time_base
        length = container.duration / av.time_base
        middle = start + length / 2
        container.seek(int(middle * av.time_base))
        frame = next(container.decode(video=0), None)
        shown = frame and round(frame.time, 1)
    found[name] = (start, round(length, 1), middle, shown)
    print(
        f"av {av.__version__}, {name}: starts at {start} s, lasts {length} s, "
        f"middle {middle} s shows {shown} s"
    )
assert found["film.mp4"][:2] == found["film.ts"][:2] == (10.0, 2.0), found
assert found["film.mkv"][:2] == (10.0, 12.0), found
assert abs(found["film.mp4"][3] - 11) < 0.5, found
assert found["film.mkv"][3] is None or found["film.mkv"][3] > 11.5, found
PYTHON
