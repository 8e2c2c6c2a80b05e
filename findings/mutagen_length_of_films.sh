#!/bin/sh
# The length that mutagen gives of a film is that of its sound, or made up.
#
# `info.length` is the length of the file in seconds, so one expects that of the film.
# Of MP4, mutagen takes it from the sound: a film of eight seconds whose sound ends
# after two has the length 2.0, and without sound the right one. Of what mutagen does not
# know, Matroska for example, `mutagen.File` gives None. But MPEG video (`.mpg`) is
# taken for MP3, with a length that is made of the size of the file and the bit rate of
# the sound.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mutagen==1.48.1 av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import mutagen
import numpy as np


SILENCE = {
    "aac": (np.zeros((2, 1024), np.float32), "fltp"),
    "mp2": (np.zeros((1, 2 * 1152), np.int16), "s16"),
}


def write(name: str, video: str, audio: str | None) -> float:
    """Write eight seconds of pictures with two of sound; return the film's length."""
    noise = np.random.default_rng(1).integers(0, 256, (180, 160), np.uint8)
    with av.open(name, "w") as container:
        stream = container.add_stream(video, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        sound = audio and container.add_stream(audio, rate=48_000, layout="stereo")
        for number in range(200):
            moved = np.roll(noise, number, 1)
            frame = av.VideoFrame.from_ndarray(moved, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            samples, form = SILENCE[audio]
            length = samples.size // 2
            for number in range(2 * 48_000 // length):
                frame = av.AudioFrame.from_ndarray(samples, form, "stereo")
                frame.sample_rate, frame.pts = 48_000, length * number
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    with av.open(name) as container:
        return container.duration / av.time_base


found = {}
for name, video, audio in (
    ("film.mp4", "libx264", "aac"),
    ("silent.mp4", "libx264", None),
    ("film.mkv", "libx264", "aac"),
    ("film.mpg", "mpeg1video", "mp2"),
):
    seconds = write(name, video, audio)
    file = mutagen.File(name)
    read = None if file is None else (type(file).__name__, round(file.info.length, 1))
    found[name] = read
    print(f"mutagen {mutagen.version_string}, {name} of {seconds:.1f} s: {read}")
    assert abs(seconds - 8) < 0.2, seconds
assert found["film.mp4"] == ("MP4", 2.0), found
assert found["silent.mp4"] == ("MP4", 8.0), found
assert found["film.mkv"] is None, found
kind, length = found["film.mpg"]
assert kind == "MP3" and abs(length - 8) > 1, found
PYTHON
