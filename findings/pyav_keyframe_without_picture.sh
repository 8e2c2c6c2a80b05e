#!/bin/sh
# A packet that is flagged as a keyframe may hold no picture that can be shown.
#
# One expects that decoding can begin at any packet with `is_keyframe`, and that a seek
# to such a packet gives its picture first. Of H.264 with periodic intra refresh, as
# encoders for streams and game recordings make it, the flag stands on packets from
# which a picture is built up bit by bit. Handed over alone, such a packet gives nothing,
# without an error. After a seek, the first picture comes most of a second later than
# the packet that the seek found, although everything before it was read.
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

noise = np.random.default_rng(1).integers(0, 256, (360, 320), np.uint8)
for name, refresh in (("usual.mp4", 0), ("refresh.mp4", 1)):
    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        settings = f"intra-refresh={refresh}:keyint=50:bframes=0:scenecut=0"
        stream.options = {"x264-params": settings}
        for number in range(250):
            moved = np.roll(noise, 3 * number, 1)
            frame = av.VideoFrame.from_ndarray(moved, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def alone(name: str) -> tuple[list[float], list[float]]:
    """Return the times of flagged packets, and of those that give a picture alone."""
    flagged, shown = [], []
    with av.open(name) as container:
        context = container.streams.video[0].codec_context
        for packet in container.demux(video=0):
            if packet.size and packet.is_keyframe:
                at = float(packet.pts * packet.time_base)
                flagged.append(at)
                if [*context.decode(packet), *context.decode(None)]:
                    shown.append(at)
                context.flush_buffers()
    return flagged, shown


def after_seek(name: str, second: int) -> float:
    with av.open(name) as container:
        container.seek(second * av.time_base)
        return next(container.decode(video=0)).time


for name in ("usual.mp4", "refresh.mp4"):
    flagged, shown = alone(name)
    first = [after_seek(name, second) for second in (2, 4, 6)]
    print(f"av {av.__version__}, {name}: flagged at {flagged}, pictures at {shown}")
    print(f"    seeks to 2, 4 and 6 s give {first}")
    assert flagged == [0.0, 2.0, 4.0, 6.0, 8.0], flagged
    if name == "usual.mp4":
        assert shown == flagged and first == [2.0, 4.0, 6.0], (shown, first)
    else:
        assert shown == [0.0], shown
        assert all(at > 0.5 + asked for at, asked in zip(first, (2, 4, 6))), first
PYTHON
