#!/bin/sh
# The picture that PyAV gives as "gray" is not the brightness that the video holds.
#
# A video in yuv420p keeps the brightness as a plane of its own, so one expects
# `frame.to_ndarray(format="gray")` to be this plane, and `from_ndarray(gray, "gray")`
# to bring it back. FFmpeg takes gray for a format of the full range: the usual 16 to 235
# are stretched to 0 to 255, and the values beyond are cut off. Thresholds that were
# found on the plane are wrong by up to 20 steps, and blacks below 16 become equal.
# `numpy.asarray(frame.planes[0])` gives the plane.
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

HELD = (4, 16, 63, 126, 200, 235, 250)
seen = {}
for light in HELD:
    plain = np.full((180, 160), 128, np.uint8)
    plain[:120] = light
    frame = av.VideoFrame.from_ndarray(plain, format="yuv420p")
    plane = int(np.asarray(frame.planes[0])[0])
    seen[light] = (plane, int(frame.to_ndarray(format="gray")[0, 0]))
print(f"av {av.__version__}, brightness: (plane, gray) {seen}")
assert [plane for plane, _ in seen.values()] == list(HELD), seen
for light, (_, gray) in seen.items():
    stretched = min(255, max(0, (light - 16) * 255 / 219))
    assert abs(gray - stretched) <= 1, seen
PYTHON
