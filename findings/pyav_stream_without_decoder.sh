#!/bin/sh
# PyAV gives a stream that its FFmpeg cannot decode no codec context.
#
# The types and most examples say that `stream.codec_context` is always there, and that
# `stream.name` and `stream.width` are passed on to it. With a valid file whose picture
# is tagged `dav1` (AV1 with Dolby Vision) the context is None, the attributes raise
# AttributeError, and only what the container itself knows can be read. And where there
# is a context, its name is that of the decoder, not of the format.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import av


def film(name: str, codec: str) -> Path:
    with av.open(name, "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame(160, 120, "yuv420p")))
        container.mux(stream.encode(None))
    return Path(name)


path = film("film.mp4", "libsvtav1")
with av.open(str(path)) as container:
    context = container.streams.video[0].codec_context
    names = context.name, context.codec.canonical_name
print(f"av {av.__version__}: AV1 is named {names[0]!r}, its format {names[1]!r}")
assert names == ("libdav1d", "av1"), names

path.write_bytes(path.read_bytes().replace(b"av01", b"dav1"))
with av.open(str(path)) as container:
    stream = container.streams.video[0]
    context, seconds = stream.codec_context, container.duration / av.time_base
    try:
        width = stream.width
    except AttributeError as error:
        width = f"AttributeError: {error}"
print(f"tagged dav1: context {context}, width {width}, length {seconds} s")
assert context is None
assert str(width).startswith("AttributeError")
assert seconds == 1.0
PYTHON
