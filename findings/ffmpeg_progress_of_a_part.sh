#!/bin/sh
# ffmpeg-progress-yield stops at a sixth of its bar when a sixth of a film is made.
#
# It runs a command of FFmpeg and gives its progress in percent, so one expects
# that the numbers come near 100 at the end of the work. They are the time in the new
# film divided by the length of the first input. A command that makes 10 seconds of a film
# of a minute, by `-t`, `-to` or `-ss`, as for a preview, stands at 17 when it is
# done, and the last number is 100 whatever came before. The time that is left, worked
# out from these numbers, is six times too long. `duration_override=10` is right.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ffmpeg-progress-yield==1.1.4 imageio-ffmpeg==0.8.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import subprocess

import imageio_ffmpeg
from ffmpeg_progress_yield import FfmpegProgress

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
MINUTE = ["-f", "lavfi", "-i", "testsrc=d=60:s=160x120:r=25", "-c:v", "mpeg4"]
subprocess.run([FFMPEG, "-v", "error", *MINUTE, "minute.mkv"], check=True)


def last(before: list[str], behind: list[str], **options: int) -> list[int]:
    """Return the last two numbers, in percent."""
    command = [FFMPEG, "-y", *before, "-i", "minute.mkv", *behind, "-c:v", "mpeg4", "new.mp4"]
    numbers = FfmpegProgress(command).run_command_with_progress(**options)
    return [round(number) for number in numbers][-2:]


found = {
    "whole": last([], []),
    "-t 10": last([], ["-t", "10"]),
    "-to 10": last([], ["-to", "10"]),
    "-ss 50": last(["-ss", "50"], []),
    "duration_override": last([], ["-t", "10"], duration_override=10),
}
version = importlib.metadata.version("ffmpeg-progress-yield")
print(f"ffmpeg-progress-yield {version}: last numbers {found}")
assert found["whole"] == found["duration_override"] == [100, 100], found
assert found["-t 10"] == found["-to 10"] == found["-ss 50"] == [17, 100], found
PYTHON
