"""What commands, pages and decisions cost on a large library, and on a small one.

The budgets are in `budgets.toml`. What the jobs cost is measured by `growth`.
STASHHOG_TEST_BENCH_LARGEST is the size of the large library, 100,000 scenes by default.
"""

import os
import shlex
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from benchmarks.bench_terminal import run_command
from benchmarks.measurement import Measurement
from benchmarks.sync_place import processor_seconds_of
from stashhog.web.access import access_of
from stashhog.web.address import token_of
from stashhog.web.app import make_app
from stashhog.web.site import make_site
from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.settings import Settings, WebSettings
from tests.support.processes import postmaster
from tests.support.statements import statements

_SMALL = 1_000
_LARGE = int(os.environ.get("STASHHOG_TEST_BENCH_LARGEST", "100000"))
_RUNS = 3
_PAGE_RUNS = 20
_PORT = 14_202
_HERE = f"http://127.0.0.1:{_PORT}"
_BUDGETS = Path(__file__).with_name("budgets.toml")

# A library in use: everything was downloaded, analyzed and generated, and a plan of one
# change for each scene waits for decisions.
_FILL = (
    "INSERT INTO tag (id, name) SELECT n, 'Tag ' || n FROM generate_series(1, 500) n",
    "INSERT INTO studio (id, name) SELECT n, 'Studio ' || n "
    "FROM generate_series(1, 50) n",
    "INSERT INTO performer (id, name) SELECT n, 'Person ' || n "
    "FROM generate_series(1, 900) n",
    "INSERT INTO scene (id, title, created_at, generated, video_analyzed, content, "
    "studio_id) SELECT n, CASE n % 1000 WHEN 7 THEN 'Holiday ' ELSE 'Scene ' END || n, "
    "timestamptz '2026-01-01' + n * interval '1 minute', true, true, n, 1 + n % 50 "
    "FROM generate_series(1, {scenes}) n",
    "INSERT INTO scene_file (scene_id, file_id, position, path, size_bytes) "
    "SELECT n, n, 0, '/library/' || n % 997 || '/Scene ' || n || '.mp4', n * 1000 "
    "FROM generate_series(1, {scenes}) n",
    "INSERT INTO scene_fingerprint (scene_id, file_id, kind, value) "
    "SELECT n, n, 'oshash', to_hex(n) FROM generate_series(1, {scenes}) n",
    "INSERT INTO scene_tag (scene_id, tag_id) SELECT n, 1 + (n * 7 + k * 13) % 500 "
    "FROM generate_series(1, {scenes}) n, generate_series(1, 3) k",
    "INSERT INTO scene_performer (scene_id, performer_id) SELECT n, 1 + n % 900 "
    "FROM generate_series(1, {scenes}) n",
    "INSERT INTO download_item (source, entry_key, entry_name, relative_path, "
    "size_bytes, state, oshash, target_path) SELECT 'folder', n, 'Entry ' || n, "
    "n || '.mp4', n * 1000, CASE n % 1000 WHEN 7 THEN 'failed' ELSE 'seen' END, "
    "to_hex(n), '/library/' || n FROM generate_series(1, {scenes}) n",
    "INSERT INTO library_file (path, file_system, inode, size_bytes, mtime_ns, "
    "ctime_ns, state, oshash) SELECT '/library/' || n % 997 || '/Scene ' || n || "
    "'.mp4', 'a', n, n * 1000, n, n, 'ok', to_hex(n) "
    "FROM generate_series(1, {scenes}) n",
    "INSERT INTO analysis_plan (name, state) SELECT 'Batch ' || n, "
    "CASE n WHEN 1 THEN 'draft' ELSE 'applied' END "
    "FROM generate_series(1, 1 + {scenes} / 1000) n",
    "INSERT INTO plan_change (plan_id, scene_id, field, action, value_key, proposed, "
    "confidence, detector, evidence) SELECT 1, n, 'tags', 'add', 'tag ' || n % 500, "
    "jsonb_build_object('id', 1 + n % 500, 'name', 'Tag ' || n % 500), "
    "0.5 + n % 400 / 1000.0, 'path', "
    """'{{"rule": "folder", "text": "Tag"}}' FROM generate_series(1, {scenes}) n""",
    "VACUUM ANALYZE",
)


@dataclass(frozen=True)
class _Cost:
    """Processor time in seconds, most memory in megabytes, and statements."""

    seconds: float
    megabytes: float = 0.0
    statements: int = 0


def measure() -> Iterator[Measurement]:
    """Yield how the costs compare with the budgets."""
    budgets = tomllib.loads(_BUDGETS.read_text(encoding="utf-8"))
    small, large = (_costs(scenes, budgets) for scenes in (_SMALL, _LARGE))
    sizes = f"{_LARGE:,} : {_SMALL:,} scenes"
    for kind in ("ratios", "each", "once"):
        for name, goal in budgets[kind].items():
            ratio = large[name].seconds / small[name].seconds
            if kind != "ratios":
                ratio *= _SMALL / _LARGE
                name += ", for each of them"
            yield Measurement(f"load: {name}, {sizes}", ratio, "times", goal, "max")
    most_statements = max(cost.statements for cost in large.values())
    most_megabytes = max(cost.megabytes for cost in large.values())
    for name, most, unit in (
        ("most statements of a page", most_statements, "statements"),
        ("most memory of a command", most_megabytes, "MB"),
    ):
        goal = budgets["limits"][unit]
        yield Measurement(f"load: {name}, {_LARGE:,} scenes", most, unit, goal, "max")


def _costs(scenes: int, budgets: Mapping[str, Any]) -> dict[str, _Cost]:
    """Return what everything costs on a library of so many scenes."""
    with _library(scenes) as (settings, database, url, used):
        often = [*budgets["ratios"], *budgets["each"]]
        costs = {
            name: _least(_RUNS, lambda name=name: _command(url, name, used))
            for name in often
            if not name.startswith("/")
        }
        pages = [name for name in often if name.startswith("/")]
        costs |= _pages(settings, database, pages, used)
        for name in budgets["once"]:
            costs[name] = _command(url, name, used)
    for name, cost in costs.items():
        print(
            f"   {name}, {scenes:,} scenes: {cost.seconds:.4f} s, "
            f"{cost.megabytes:.0f} MB, {cost.statements} statements"
        )
    return costs


@contextmanager
def _library(
    scenes: int,
) -> Iterator[tuple[Settings, Database, str, Callable[[], float]]]:
    """Yield settings, the mirror, its address, and what PostgreSQL has used so far."""
    with tempfile.TemporaryDirectory(prefix="stashhog-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        settings = Settings(home=home, web=WebSettings(port=_PORT))
        url = start_embedded(home)
        try:
            with closing(Database(url)) as database:
                migrate(database)
                with database.connect() as connection:
                    for statement in _FILL:
                        connection.execute(statement.format(scenes=scenes))
                server = postmaster(home).pid
                yield settings, database, url, lambda: processor_seconds_of(server)
        finally:
            stop_embedded(home)


def _least(times: int, work: Callable[[], _Cost]) -> _Cost:
    return min((work() for _ in range(times)), key=lambda cost: cost.seconds)


def _command(url: str, words: str, used: Callable[[], float]) -> _Cost:
    started = used()
    seconds, megabytes = run_command(url, *shlex.split(words))
    return _Cost(seconds + used() - started, megabytes)


def _pages(
    settings: Settings,
    database: Database,
    paths: list[str],
    used: Callable[[], float],
) -> dict[str, _Cost]:
    """Return the mean cost of each page; the first time is not counted."""
    site = make_site(settings, database, None)
    app = make_app(site, access_of(settings, token_of(settings)))
    costs = {}
    with TestClient(app, base_url=_HERE, headers={"Origin": _HERE}) as client:
        client.get("/", params={"token": token_of(settings)}).raise_for_status()
        for path in paths:
            with statements() as sent:
                client.get(path).raise_for_status()
            started = time.process_time() + used()
            for _ in range(_PAGE_RUNS):
                client.get(path).raise_for_status()
            seconds = time.process_time() + used() - started
            # A semicolon asks whether a connection still works.
            number = sum(statement != ";" for statement, _ in sent)
            costs[path] = _Cost(seconds / _PAGE_RUNS, statements=number)
    site.pictures.close()
    return costs
