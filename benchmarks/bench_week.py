"""Whether anything goes on growing over ten days of schedules in one process.

A day is some checks by `auto_stash_sync`, of which the last one finds an edit to sync,
and a `cleanup`. At its end every time in both databases is put a day back, so what is
old enough goes as if a day had passed. STASHHOG_TEST_BENCH_CHECKS is the number of
checks a day: 12 by default, 288 in a home that checks every five minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from benchmarks.bench_workflow import configure
from benchmarks.measurement import Measurement
from sandbox.stash.server import StandIn
from stashhog.local import prepare_prefect
from stashhog.temporary_server import TemporaryServer
from stashhog_core.db.embedded import stop_embedded
from stashhog_core.db.open import open_database
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient

_CHECKS = int(os.environ.get("STASHHOG_TEST_BENCH_CHECKS", "12"))
_DAYS = 10
_LEVEL_DAY = 5
"""History is kept for two days: from here on nothing may grow."""
_SCENES = 200
_GROWTH_GOAL = 1.1
_COUNT_GOAL = 1.25
"""A thread or a file comes and goes."""
_TIMES = """
SELECT table_name, array_agg(column_name::text) FROM information_schema.columns
JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
AND data_type LIKE 'timestamp%' AND is_generated = 'NEVER' GROUP BY table_name
"""


def measure() -> Iterator[Measurement]:
    """Yield how each figure of the last day compares with that of the fifth one.

    In a process of its own: Prefect belongs to one server for as long as that lives.
    """
    command = [sys.executable, "-m", "benchmarks.bench_week"]
    days: list[dict[str, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulation:
        assert simulation.stdout is not None
        for line in simulation.stdout:
            days.append(json.loads(line))
            print(f"   day {len(days)}: {_in_words(days[-1])}")
    assert simulation.returncode == 0
    for name, last in days[-1].items():
        yield Measurement(
            f"week: {name}, day {_DAYS} : day {_LEVEL_DAY}, {_CHECKS} checks a day",
            last / days[_LEVEL_DAY - 1][name],
            "times",
            _COUNT_GOAL if name.startswith(("open", "threads")) else _GROWTH_GOAL,
            "max",
        )


def _main() -> None:
    """Simulate, and print the figures of each day as a line of JSON."""
    with tempfile.TemporaryDirectory(prefix="stashhog-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        library = home / "library"
        for part in (library, home / "downloads"):
            part.mkdir()
        try:
            with StandIn(home / "stash", library, scenes=_SCENES) as stash:
                for taken in _days(home, stash.url):
                    print(json.dumps(taken), flush=True)
        finally:
            stop_embedded(home)


def _days(home: Path, stash_url: str) -> Iterator[dict[str, float]]:
    """Yield what is taken at the end of each day."""
    os.environ |= {
        **{
            f"STASHHOG_CLEANUP__{kind}_DAYS": "2"
            for kind in ("REPORTS", "RUNS", "SYNC_RUNS", "STASH_JOBS", "DOWNLOADS")
        },
        # Prefect's server itself forgets events: after seven days, and once an hour.
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "5",
    }
    configure(home, stash_url)
    settings = get_settings()
    prepare_prefect(settings)
    server = TemporaryServer()
    # Prefect reads its settings when it is imported.
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows import flow_of
    from stashhog.services.deployments import deployments, register

    server.wait()
    register()
    with (
        open_database(settings) as database,
        get_client(sync_client=True) as client,
        StashClient(settings.stash) as stash,
    ):
        ids = {found.name: found.id for found in deployments(client)}

        def run(name: str, job: str) -> None:
            flow_run = client.create_flow_run_from_deployment(ids[name])
            state: Any = run_flow(flow_of(job), flow_run, return_type="state")
            assert not state.is_failed(), state

        for day in range(1, _DAYS + 1):
            for check in range(1, _CHECKS + 1):
                if check == _CHECKS:
                    stash.update_scene(1, {"title": f"Day {day}"})
                run("auto-stash-sync", "auto_stash_sync")
            run("cleanup", "cleanup")
            with database.connect() as own, _prefect_database() as theirs:
                taken = _taken({"StashHog": own, "Prefect": theirs})
                _put_back_a_day(own)
                _put_back_a_day(theirs)
            yield taken


def _prefect_database() -> psycopg.Connection[Any]:
    url = os.environ["PREFECT_API_DATABASE_CONNECTION_URL"]
    return psycopg.connect(url.replace("+asyncpg", ""), autocommit=True)


def _taken(databases: Mapping[str, psycopg.Connection[Any]]) -> dict[str, float]:
    """Return memory, open files and threads of all processes, and what is stored."""
    me = psutil.Process()
    server = [child for child in me.children() if "uvicorn" in child.cmdline()]
    taken: dict[str, float] = {}
    for name, processes in (("this process", [me]), ("Prefect's server", server)):
        taken |= {
            f"memory of {name}, MB": sum(p.memory_info().rss for p in processes) / 1e6,
            f"open files of {name}": sum(p.num_fds() for p in processes),
            f"threads of {name}": sum(p.num_threads() for p in processes),
        }
    for name, connection in databases.items():
        connection.execute("VACUUM ANALYZE")
        taken[f"rows of {name}"] = sum(
            _number(connection, sql.SQL("SELECT count(*) FROM {}").format(table))
            for table in _tables(connection)
        )
        size = sql.SQL("SELECT pg_database_size(current_database()) / 1e6")
        taken[f"disk of {name}, MB"] = _number(connection, size)
        backends = sql.SQL("SELECT count(*) FROM pg_stat_activity")
        taken["connections to PostgreSQL"] = _number(connection, backends)
    return taken


def _tables(connection: psycopg.Connection[Any]) -> list[sql.Identifier]:
    found = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    )
    return [sql.Identifier(name) for (name,) in found]


def _number(connection: psycopg.Connection[Any], query: sql.Composable) -> float:
    row = connection.execute(query).fetchone()
    assert row is not None
    return float(row[0])


def _put_back_a_day(connection: psycopg.Connection[Any]) -> None:
    """Make everything in a database a day older."""
    for table, columns in connection.execute(_TIMES).fetchall():
        older = sql.SQL(", ").join(
            sql.SQL("{0} = {0} - interval '1 day'").format(sql.Identifier(column))
            for column in columns
        )
        update = sql.SQL("UPDATE {} SET {}")
        connection.execute(update.format(sql.Identifier(table), older))


def _in_words(taken: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number:.0f}" for name, number in taken.items())


if __name__ == "__main__":
    _main()
