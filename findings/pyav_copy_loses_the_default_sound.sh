#!/bin/sh
# A film that PyAV copies without encoding plays another sound track than before.
#
# `add_stream_from_template` makes a stream like the given one, so one expects a copy of
# all packets to have the languages of the tracks, and the same track as the default.
# PyAV copies how the stream is encoded, and nothing else. In MP4, FFmpeg then makes the
# first sound track the default, and in Matroska no track is: a player begins with the
# commentary, and has no languages to choose from. `metadata` and `disposition` of the
# new streams have to be set by hand.
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
from av.stream import Disposition

SILENCE = np.zeros((2, 1024), np.float32)


def write(name: str) -> None:
    """Write a film whose second sound track is the default."""
    with av.open(name, "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 160, 128, "yuv420p"
        sounds = []
        for language in ("eng", "deu"):
            sounds.append(container.add_stream("aac", rate=48_000, layout="stereo"))
            sounds[-1].metadata["language"] = language
        sounds[1].disposition = Disposition.default
        for number in range(25):
            frame = av.VideoFrame(160, 128, "yuv420p")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for sound in sounds:
            for number in range(45):
                frame = av.AudioFrame.from_ndarray(SILENCE, "fltp", "stereo")
                frame.sample_rate, frame.pts = 48_000, 1024 * number
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))


def copy(name: str, copied: str, by_hand: bool) -> None:
    with av.open(name) as source, av.open(copied, "w") as target:
        streams = []
        for stream in source.streams:
            made = target.add_stream_from_template(stream)
            if by_hand:
                made.metadata.update(stream.metadata)
                made.disposition = stream.disposition
            streams.append(made)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)


def sounds(name: str) -> list[tuple[str | None, bool]]:
    """Return the language of each sound track, and whether it is the default."""
    with av.open(name) as container:
        return [
            (
                stream.metadata.get("language"),
                bool(stream.disposition & Disposition.default),
            )
            for stream in container.streams.audio
        ]


found = {}
for name in ("film.mp4", "film.mkv"):
    write(name)
    copy(name, f"copy-{name}", by_hand=False)
    copy(name, f"full-{name}", by_hand=True)
    assert sounds(name) == sounds(f"full-{name}") == [("eng", False), ("deu", True)]
    found[name] = sounds(f"copy-{name}")
    print(f"av {av.__version__}, {name}: {sounds(name)}, the copy: {found[name]}")
assert found["film.mp4"] == [("und", True), ("und", False)], found
assert found["film.mkv"] == [(None, False), (None, False)], found
PYTHON
