#!/bin/sh
# imageio-ffmpeg gives more pictures of a film than it counts, and than the film holds.
#
# `count_frames_and_secs` counts the pictures of a film, so one expects that many from
# `read_frames`, and that the picture with the number n is the same as in PyAV. FFmpeg
# repeats pictures until there is one for each step of the rate. Of the recording of a
# screen, in which a picture stands as long as nothing moves, `read_frames` gives many
# times as many pictures, and no call tells which of them are copies. With
# `output_params=["-fps_mode", "passthrough"]` they are the pictures of the film.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imageio-ffmpeg==0.8.1 av==18.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import imageio_ffmpeg

TIMES = {"even.mkv": range(20), "screen.mkv": [*range(10), *range(100, 110)]}
found = {}
for name, times in TIMES.items():
    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        stream.options = {"bf": "0"}
        for time in times:
            frame = av.VideoFrame(160, 128, "yuv420p")
            frame.pts = time
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(name) as container:
        held = sum(1 for _ in container.decode(video=0))
    counted, _ = imageio_ffmpeg.count_frames_and_secs(name)

    def given(**options: list[str]) -> int:
        frames = imageio_ffmpeg.read_frames(name, **options)
        next(frames)  # what imageio-ffmpeg knows of the film
        return sum(1 for _ in frames)

    passed = given(output_params=["-fps_mode", "passthrough"])
    found[name] = (held, counted, passed, given())
    print(
        f"imageio-ffmpeg {imageio_ffmpeg.__version__}, {name}: holds {held} pictures, "
        f"counted {counted}, passed through {passed}, given {found[name][-1]}"
    )
assert all(numbers[:3] == (20, 20, 20) for numbers in found.values()), found
assert found["even.mkv"][-1] == 20, found
assert found["screen.mkv"][-1] > 100, found
PYTHON
