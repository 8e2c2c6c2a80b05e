"""Damaged videos: what can be read is read, and the rest is an error of the file."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.fuzzing import EXAMPLES, SEED
from tests.support.media import write_noise

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

CONTAINERS = {
    "mp4": "libx264",
    "mov": "prores",
    "mkv": "ffv1",
    "webm": "libvpx-vp9",
    "avi": "mpeg4",
    "ts": "libx264",
    "mpg": "mpeg2video",
    "flv": "flv",
    "wmv": "wmv2",
    "mxf": "mpeg2video",
    "3gp": "mpeg4",
    "nut": "mpeg4",
    "ivf": "libvpx",
    "h264": "libx264",
}
AT_ONCE = 100


def damaged(content: bytes, chance: Random) -> bytes:
    """Return a file with one to four faults, most of them near its ends."""
    broken = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        size = len(broken)
        near = chance.choice([256, 4096, size])
        place = chance.choice([0, max(0, size - near)]) + chance.randrange(near)
        length = chance.choice([1, 2, 4, 16, 400])
        part = slice(place, place + length)
        match chance.randrange(6):
            case 0:
                broken[part] = chance.randbytes(length)
            case 1:
                broken[part] = b"\0" * length
            case 2:
                broken[part] = b"\xff" * length
            case 3:
                del broken[part]
            case 4:
                broken[place:place] = broken[part]
            case _:
                del broken[max(place, 64) :]
    return bytes(broken)


def read(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Read files in a process of its own, which must come to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.media_reading", *map(str, files)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(lines) < len(files):
        where = files[len(lines)].name if len(lines) < len(files) else "the end"
        pytest.fail(f"exit {done.returncode} at {where}: {done.stderr[-2000:]}")
    return lines


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_damaged_video_costs_nothing_but_itself(
    container: str, tmp_path: Path
) -> None:
    """A reader ends with facts that a database holds, or with an error that says why.

    A file is named by the number that draws its faults, by which it can be made again.
    """
    whole = write_noise(tmp_path / f"whole.{container}", CONTAINERS[container])
    content = whole.read_bytes()
    files = [whole]
    for number in range(SEED, SEED + EXAMPLES):
        files.append(tmp_path / f"{number}.{container}")
        files[-1].write_bytes(damaged(content, Random(number)))

    found = [
        line
        for i in range(0, len(files), AT_ONCE)
        for line in read(files[i : i + AT_ONCE])
    ]

    assert found[0]["stills"]
    for one in found:
        assert "Reading the file failed" not in one.get("error", ""), one
        text = json.dumps(one, ensure_ascii=False)
        assert "\\u0000" not in text
        text.encode()
    assert any("error" in one for one in found)
    assert any("stills" in one for one in found[1:])
