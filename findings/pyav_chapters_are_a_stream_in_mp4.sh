#!/bin/sh
# Chapters in an MP4 file are a stream in PyAV that cannot be copied.
#
# Chapters are read with `container.chapters()`, so one expects that a film with them
# has the same streams as without. MP4 keeps chapters in a track of their own. FFmpeg
# gives them as chapters, and lists the track as a data stream besides. A loop that
# copies all streams, which works for films without chapters and for Matroska with
# chapters, ends with an error when the copy begins. Leaving out the data streams and
# passing the chapters to `set_chapters` works.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from fractions import Fraction

import av

CHAPTERS = [
    {
        "id": number,
        "start": number * 1000,
        "end": (number + 1) * 1000,
        "time_base": Fraction(1, 1000),
        "metadata": {"title": title},
    }
    for number, title in enumerate(("Garden", "House"))
]


def write(name: str, chapters: list[dict]) -> None:
    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        container.set_chapters(chapters)
        for number in range(50):
            frame = av.VideoFrame(160, 128, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def copy(name: str, kinds: tuple[str, ...]) -> int | str:
    """Return the number of chapters in a copy; a text: why there is none."""
    try:
        with av.open(name) as source, av.open("copy.mp4", "w") as target:
            wanted = [stream for stream in source.streams if stream.type in kinds]
            made = {
                stream.index: target.add_stream_from_template(stream)
                for stream in wanted
            }
            target.set_chapters(source.chapters())
            for packet in source.demux(wanted):
                if packet.dts is not None:
                    packet.stream = made[packet.stream.index]
                    target.mux(packet)
    except av.InvalidDataError as error:
        return str(error)
    with av.open("copy.mp4") as container:
        return len(container.chapters())


found = {}
for name, chapters in (
    ("plain.mp4", []),
    ("film.mkv", CHAPTERS),
    ("film.mp4", CHAPTERS),
):
    write(name, chapters)
    with av.open(name) as container:
        kinds = [stream.type for stream in container.streams]
        read = len(container.chapters())
    found[name] = (kinds, read, copy(name, ("video", "data")), copy(name, ("video",)))
    print(f"av {av.__version__}, {name}: {found[name]}")
assert found["plain.mp4"] == (["video"], 0, 0, 0), found
assert found["film.mkv"] == (["video"], 2, 2, 2), found
kinds, read, everything, video = found["film.mp4"]
assert (kinds, read, video) == (["video", "data"], 2, 2), found
assert isinstance(everything, str), found
PYTHON
