#!/bin/sh
# Reading one stream of a file ends in an IndexError if another stream begins on the way.
#
# MPEG program streams (and others whose headers list no streams) may bring a further
# stream in the middle, such as the sound of one part of a recording. One expects that
# `container.demux(video=0)` and `container.decode(video=0)` end after the last picture.
# With PyAV they give all packets and then raise "list index out of range": PyAV's table
# of the wanted streams is as long as the list of streams was at the beginning, and is
# read beyond its end for the new stream. What stands there is a matter of chance, so
# this script has the C library fill new memory with a value that is not zero.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$folder"
MALLOC_PERTURB_=165 "$folder/venv/bin/python" - <<'PYTHON'
import av
import numpy as np

random = np.random.default_rng(0)
packets = []
with av.open("film.mpg", "w", format="mpeg") as container:
    film = container.add_stream("mpeg2video", rate=25)
    film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
    sound = container.add_stream("mp2", rate=44100, layout="mono")
    for number in range(60 * 25):
        noise = random.integers(0, 255, (180, 160), np.uint8)
        frame = av.VideoFrame.from_ndarray(noise, format="yuv420p")
        frame.pts = number
        packets += film.encode(frame)
    packets += film.encode(None)
    # Three seconds of sound in the middle of a minute.
    for number in range(30 * 44100 // 1152, 33 * 44100 // 1152):
        silence = np.zeros((1, 1152), np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 44100, number * 1152
        packets += sound.encode(frame)
    packets += sound.encode(None)
    packets.sort(key=lambda packet: float((packet.dts or 0) * packet.time_base))
    for packet in packets:
        container.mux(packet)

with av.open("film.mpg") as container:
    known = [stream.type for stream in container.streams]
    pictures, problem = 0, None
    try:
        for _ in container.decode(video=0):
            pictures += 1
    except IndexError as error:
        problem = str(error)
print(f"av {av.__version__}: streams {known}, {pictures} of 1500 pictures, then {problem!r}")
assert known == ["video"]
assert problem == "list index out of range", problem
PYTHON
