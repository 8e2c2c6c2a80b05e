"""Title cards: processor time and memory to read them, and the names that are found.

The corpus is twenty videos (`card_corpus`). `STASHHOG_BENCH_EARLIER` names a checkout
of the build b52c565 with its environment in `.venv`, which then reads the same videos.
"""

import json
import os
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.card_corpus import Card, Video, write_corpus
from benchmarks.measurement import Measurement

EARLIER = os.environ.get("STASHHOG_BENCH_EARLIER")
_PROJECT = Path(__file__).parents[1]
_MOST_SECONDS, _MOST_MEGABYTES = 4.0, 800


def measure() -> list[Measurement]:
    """Read the title cards of the corpus, by this build and by an earlier one."""
    with tempfile.TemporaryDirectory() as folder:
        videos = write_corpus(Path(folder))
        now = _read(_PROJECT, videos)
        before = _read(Path(EARLIER), videos) if EARLIER else None
    _show(videos, now, before)
    found = sum(len(names) for names in _found(videos, now))
    measured = [
        Measurement("title cards: names found", found / _names(videos), "", 0.8, "min"),
        Measurement(
            "title cards: processor time for a video",
            _mean(now, range(len(videos))),
            "s",
            _MOST_SECONDS,
            "max",
        ),
        Measurement(
            "title cards: most memory", now["megabytes"], "MB", _MOST_MEGABYTES, "max"
        ),
    ]
    if before is not None:
        lost = sum(
            len(earlier - later)
            for earlier, later in zip(
                _found(videos, before), _found(videos, now), strict=True
            )
        )
        everything = range(len(videos))
        ratio = _mean(now, everything) / _mean(before, everything)
        measured += [
            Measurement("title cards: names lost", lost, "", 0, "max"),
            Measurement(
                "title cards: processor time by the earlier", ratio, "x", 0.2, "max"
            ),
            Measurement(
                "title cards: memory by the earlier",
                now["megabytes"] / before["megabytes"],
                "x",
                1,
                "max",
            ),
        ]
    return measured


def _read(checkout: Path, videos: Sequence[Video]) -> dict[str, Any]:
    """Read all videos in a process that imports the build of a checkout."""
    python = sys.executable if checkout == _PROJECT else checkout / ".venv/bin/python"
    answer = subprocess.run(
        [python, Path(__file__).with_name("card_reading.py")],
        input=json.dumps([video.path for video in videos]),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(checkout)},
    )
    read: dict[str, Any] = json.loads(answer.stdout)
    return read


def _found(videos: Sequence[Video], read: dict[str, Any]) -> list[set[str]]:
    """Return for each card of the corpus the names that were read while it stood."""
    return [
        _names_read(card, output["lines"])
        for video, output in zip(videos, read["videos"], strict=True)
        for card in video.cards
    ]


def _names_read(card: Card, lines: Sequence[dict[str, Any]]) -> set[str]:
    text = "".join(
        _folded(line["text"])
        for line in lines
        if card.start - 1 <= line["second"] <= card.end
    )
    return {name for name in card.lines if _folded(name) in text}


def _folded(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in letters if letter.isalnum())


def _names(videos: Sequence[Video]) -> int:
    return sum(len(card.lines) for video in videos for card in video.cards)


def _mean(read: dict[str, Any], chosen: Sequence[int]) -> float:
    """Return the mean of the seconds for the videos with these numbers."""
    return sum(float(read["videos"][number]["seconds"]) for number in chosen) / len(
        chosen
    )


def _show(
    videos: Sequence[Video], now: dict[str, Any], before: dict[str, Any] | None
) -> None:
    """Print the seconds for a video by kind and by size."""
    table = Table("Videos", title="title cards: seconds of processor time for a video")
    for heading in ("b52c565", "this build", "ratio"):
        table.add_column(heading, justify="right")
    groups: dict[str, list[int]] = {}
    for number, video in enumerate(videos):
        for group in ("all", video.kind, f"{video.height}p"):
            groups.setdefault(group, []).append(number)
    for group, chosen in groups.items():
        ours = _mean(now, chosen)
        theirs = _mean(before, chosen) if before else None
        table.add_row(
            group,
            f"{theirs:.2f}" if theirs else "",
            f"{ours:.2f}",
            f"{ours / theirs:.2f}" if theirs else "",
        )
    Console().print(table)
