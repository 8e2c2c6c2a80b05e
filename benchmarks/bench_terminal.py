"""What commands of the terminal take: to start, and to print long lists."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measurement import Measurement
from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database

_RUNS = 3
_ROWS = 50_000
_FILL = (
    "INSERT INTO tag (id, name) SELECT n, 'Tag ' || n FROM generate_series(1, 500) n",
    "INSERT INTO scene (id, title, created_at) SELECT n, 'Scene ' || n, "
    "timestamptz '2026-01-01' + n * interval '1 minute' "
    "FROM generate_series(1, %(rows)s) n",
    "INSERT INTO scene_file (scene_id, file_id, position, path) SELECT n, n, 0, "
    "'/library/Scene ' || n || '.mp4' FROM generate_series(1, %(rows)s) n",
    "INSERT INTO scene_tag (scene_id, tag_id) SELECT n, 1 + (n * 7 + k * 13) %% 500 "
    "FROM generate_series(1, %(rows)s) n, generate_series(1, 4) k",
    "INSERT INTO analysis_plan (id, name) VALUES (1, 'Plan')",
    "INSERT INTO plan_change (plan_id, scene_id, field, action, value_key, proposed, "
    "confidence, detector, evidence) SELECT 1, n, 'tags', 'add', 'tag', "
    """'{"id": 1, "name": "Tag 1"}', 0.8, 'path', '{"rule": "folder"}' """
    "FROM generate_series(1, %(rows)s) n",
    "ANALYZE",
)
# Prints the processor time in seconds and the most memory in kilobytes to the errors.
_COMMAND = """
import re, resource, sys
from pathlib import Path
try:
    from stashhog.cli.app import main
    sys.argv = ["stashhog", *sys.argv[1:]]
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    most = re.search(r"VmHWM:\\s+(\\d+)", status)[1]
    print(used.ru_utime + used.ru_stime, most, file=sys.stderr)
"""
# Prints as many objects of as many values, without a database.
_FLOOR = f"""
import json, resource, sys
row = {{str(n): ["Tag 1", "Tag 2", "Tag 3", "Tag 4"] if n == 5 else "Scene 12345"
       for n in range(10)}}
for number in range({_ROWS}):
    print(json.dumps(row))
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, 0, file=sys.stderr)
"""
_LIBRARIES = """
import resource, sys
import psycopg, pydantic_settings, rich.console, rich.table, typer
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, 0, file=sys.stderr)
"""


def measure() -> Iterator[Measurement]:
    """Measure on an embedded database; a floor is measured beside each figure."""
    with tempfile.TemporaryDirectory(prefix="stashhog-bench-") as folder:
        home = Path(folder)
        url = start_embedded(home)
        try:
            database = Database(url)
            migrate(database)
            with database.connect() as connection:
                for statement in _FILL:
                    connection.execute(statement, {"rows": _ROWS})
            database.close()
            yield from _measure(url)
        finally:
            stop_embedded(home)


def _measure(url: str) -> Iterator[Measurement]:
    start, floor = _least(url, ("plans", "list"), _LIBRARIES)
    yield Measurement(
        "plans list over importing its libraries, processor time",
        start[0] / floor,
        "x",
        1.7,
        "max",
    )
    for words in (
        ("scenes", "--limit", "1000000", "--json"),
        ("plans", "show", "1", "--json"),
    ):
        command, floor = _least(url, words, _FLOOR)
        name = " ".join(words[:2]).removesuffix(" --limit")
        yield Measurement(
            f"{name} --json, {_ROWS:,} rows, over printing JSON, processor time",
            command[0] / floor,
            "x",
            14,
            "max",
        )
        yield Measurement(
            f"{name} --json, {_ROWS:,} rows, memory",
            command[1],
            "MB",
            120,
            "max",
        )


def _least(
    url: str, words: tuple[str, ...], floor: str
) -> tuple[tuple[float, float], float]:
    """Return the least processor time and memory of a command, and those of a floor."""
    runs = [(run_command(url, *words), _run(url, floor)) for _ in range(_RUNS)]
    return min(command for command, _ in runs), min(least for _, (least, _) in runs)


def run_command(url: str, *words: str) -> tuple[float, float]:
    """Run a command; return its processor time in seconds and its memory in MB."""
    return _run(url, _COMMAND, *words)


def _run(url: str, program: str, *words: str) -> tuple[float, float]:
    """Run a program; return its processor time in seconds and its memory in MB."""
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "STASHHOG_DATABASE__URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, kilobytes = re.findall(r"[\d.]+", ended.stderr.splitlines()[-1])
    return float(seconds), float(kilobytes) / 1000
