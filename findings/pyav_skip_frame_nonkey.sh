#!/bin/sh
# A decoder that is told to skip all but keyframes skips keyframes too, or nothing.
#
# `skip_frame = "NONKEY"` is the documented way to go through the keyframes of a video.
# Of a valid H.264 video with open groups of pictures (20 packets that are flagged as
# keyframes), PyAV returns three, the last one first.
# Of VP9 it decodes all pictures. Handing over only the flagged packets, and emptying
# the decoder after each, gives every keyframe of both.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av


def film(name: str, codec: str, options: dict[str, str]) -> str:
    with av.open(name, "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.gop_size = 25
        stream.options = options
        for _ in range(500):
            container.mux(stream.encode(av.VideoFrame(160, 120, "yuv420p")))
        container.mux(stream.encode(None))
    return name


def skipping(path: str) -> list[float]:
    with av.open(path) as container:
        container.streams.video[0].codec_context.skip_frame = "NONKEY"
        return [frame.time for frame in container.decode(video=0)]


def one_by_one(path: str) -> int:
    count = 0
    with av.open(path) as container:
        context = container.streams.video[0].codec_context
        for packet in container.demux(video=0):
            if packet.size and packet.is_keyframe:
                count += len([*context.decode(packet), *context.decode(None)])
                context.flush_buffers()
    return count


options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
path = film("film.mp4", "libx264", options)
times = skipping(path)
print(f"av {av.__version__}: H.264, {len(times)} of {one_by_one(path)}: {times}")
assert one_by_one(path) == 20
assert len(times) < 10
assert times != sorted(times)

path = film("film.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"})
print(f"VP9: {len(skipping(path))} pictures, {one_by_one(path)} of them keyframes")
assert len(skipping(path)) == 500
assert one_by_one(path) == 20
PYTHON
