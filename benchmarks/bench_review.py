"""The pages for review: long plans against short ones, decisions, keys and memory."""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
from sqlalchemy import func, insert, select
from starlette.testclient import TestClient

from benchmarks.measurement import Measurement, seconds
from stashhog.web.access import access_of
from stashhog.web.address import address, token_of
from stashhog.web.app import make_app
from stashhog.web.plans import VIEWS
from stashhog.web.site import make_site
from stashhog_core.db.embedded import stop_embedded
from stashhog_core.db.models import AnalysisPlan, PlanChange, Scene, SceneFile
from stashhog_core.db.open import open_database
from stashhog_core.db.session import Database
from stashhog_core.plans.proposals import add_member
from stashhog_core.settings import Settings, WebSettings
from tests.support.browser import PROGRAMS, open_browser
from tests.support.pages import serving

_SHORT, _LONG = 1_000, 100_000
_CHANGES_PER_SCENE = 5
_VALUES = 300
_ROWS_AT_ONCE = 5_000
_ROUNDS = 15
_DECISIONS = 100
_KEYS = 300
_PAUSE_MS = 100
_OPENED = 60
_PORT = 14_201
_HERE = "http://127.0.0.1:4201"


def measure() -> Iterator[Measurement]:
    """Measure on an embedded database with two plans of the same kind of changes."""
    with tempfile.TemporaryDirectory(prefix="stashhog-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        settings = Settings(home=home, web=WebSettings(port=_PORT))
        try:
            with open_database(settings) as database:
                _add_scenes(database)
                short, long = (_add_plan(database, n) for n in (_SHORT, _LONG))
                # As the database does by itself a minute after so many rows.
                with database.connect() as connection:
                    connection.execute("VACUUM ANALYZE")
                yield from _pages(settings, database, short, long)
                yield _memory(settings, long)
                yield from _keys(settings, database, long)
        finally:
            stop_embedded(home)


def _add_scenes(database: Database) -> None:
    ids = range(1, _LONG // _CHANGES_PER_SCENE + 1)
    with database.transaction() as session:
        session.execute(
            insert(Scene), [{"id": id_, "title": f"Scene {id_}"} for id_ in ids]
        )
        session.execute(
            insert(SceneFile),
            [
                {
                    "scene_id": i,
                    "file_id": i,
                    "position": 0,
                    "path": f"/library/{i}.mp4",
                }
                for i in ids
            ],
        )


def _add_plan(database: Database, changes: int) -> int:
    with database.transaction() as session:
        plan = AnalysisPlan(name=f"{changes} changes", state="draft")
        session.add(plan)
        session.flush()
        for start in range(0, changes, _ROWS_AT_ONCE):
            rows = [
                {
                    "plan_id": plan.id,
                    "scene_id": number // _CHANGES_PER_SCENE + 1,
                    **add_member(
                        "tags",
                        None,
                        f"Tag {number % _VALUES}",
                        0.7 + number % 300 / 1000,
                        "reader",
                        {"rule": "seen", "second": 1.5},
                    ).row,
                }
                for number in range(start, min(start + _ROWS_AT_ONCE, changes))
            ]
            session.execute(insert(PlanChange), rows)
        return plan.id


def _pages(
    settings: Settings, database: Database, short: int, long: int
) -> Iterator[Measurement]:
    site = make_site(settings, database, None)
    app = make_app(site, access_of(settings, token_of(settings)))
    with TestClient(app, base_url=_HERE, headers={"Origin": _HERE}) as client:
        client.get("/", params={"token": token_of(settings)}).raise_for_status()
        for view in VIEWS:
            ratio = _ratio(client, view, short, long)
            yield Measurement(
                f"review: first page by {view}, {_LONG:,} changes : {_SHORT:,}",
                ratio,
                "times",
                1.5,
                "max",
            )
        yield _decision(client, settings, database, long)
    site.pictures.close()


def _ratio(client: TestClient, view: str, short: int, long: int) -> float:
    """Return the middle one of the ratios of pairs: both had the same load."""

    def opened(plan_id: int) -> float:
        path = f"/plans/{plan_id}?view={view}"
        return seconds(lambda: client.get(path).raise_for_status())

    opened(short), opened(long)
    return statistics.median(opened(long) / opened(short) for _ in range(_ROUNDS))


def _decision(
    client: TestClient, settings: Settings, database: Database, plan_id: int
) -> Measurement:
    with database.transaction() as session:
        query = select(PlanChange.id).where(PlanChange.plan_id == plan_id)
        ids = list(session.scalars(query.order_by(PlanChange.id).limit(_DECISIONS)))
    started = _processor_seconds(settings)
    for id_ in ids:
        one = {"decision": "accept", "seen": {id_: "pending"}}
        answer = client.post(f"/plans/{plan_id}/decide", json={"decisions": [one]})
        assert answer.json()["changes"] == {str(id_): "approved"}, answer.text
    taken = _processor_seconds(settings) - started
    return Measurement(
        f"review: processor time of a decision in a plan of {_LONG:,} changes",
        taken / len(ids) * 1000,
        "ms",
        20,
        "max",
    )


def _processor_seconds(settings: Settings) -> float:
    """Return what this process, browser included, and the database have used so far.

    Unlike the time that passes, it does not depend on what else the machine does.
    """
    listed = settings.home_folder / "postgres" / "postmaster.pid"
    server = psutil.Process(int(listed.read_text().splitlines()[0]))
    used = 0.0
    for process in (server, *server.children()):
        times = process.cpu_times()
        used += times.user + times.system
    return used + time.process_time()


def _memory(settings: Settings, plan_id: int) -> Measurement:
    """Have a server of its own show pages, as somebody who reads a long plan."""
    environment = os.environ | {
        "STASHHOG_HOME": str(settings.home),
        "STASHHOG_WEB__PORT": str(_PORT),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "stashhog.web.server"], env=environment
    )
    try:
        with httpx.Client(trust_env=False, timeout=60, follow_redirects=True) as client:
            _wait_for(client, address(settings))
            base = settings.web.local_base
            url = f"{base}/plans/{plan_id}"
            for _ in range(_OPENED):
                page = client.get(url).raise_for_status().text
                more = re.search(r'class="more button" href="([^"]+)"', page)
                url = base + more[1].replace("&amp;", "&") if more else url
            for path in ("/library", "/downloads", "/files", "/plans"):
                client.get(base + path).raise_for_status()
        megabytes = psutil.Process(server.pid).memory_info().rss / 1e6
    finally:
        server.terminate()
        server.wait()
    return Measurement("review: memory of the server", megabytes, "MB", 150, "max")


def _keys(
    settings: Settings, database: Database, plan_id: int
) -> Iterator[Measurement]:
    """Decide with keys in a real browser, ten a second; without one, nothing."""
    if not all(map(shutil.which, PROGRAMS)):
        print(f"{' and '.join(PROGRAMS)} are needed to measure keys", file=sys.stderr)
        return
    folder = settings.home_folder / "browser"
    with serving(settings, database) as served, open_browser(folder) as browser:
        browser.open(address(served))
        browser.open(f"{served.web.local_base}/plans/{plan_id}?state=pending")
        browser.find("//*[contains(@class, 'row')][@tabindex='0']")
        browser.keys("j")
        *keys, total = browser.type_at_pace("aar" * (_KEYS // 3), _PAUSE_MS)
    with database.transaction() as session:
        rejected = (PlanChange.plan_id == plan_id) & (PlanChange.state == "rejected")
        stored = session.scalar(select(func.count()).where(rejected))
    assert stored == _KEYS // 3, stored
    name = f"{_KEYS} decisions in a browser, one each {_PAUSE_MS} ms"
    slowest = statistics.quantiles(keys, n=100)[-1]
    yield Measurement(f"review: {name}", total / 1000, "s", 60, "max")
    yield Measurement("review: 99 of 100 keys answered in", slowest, "ms", 50, "max")


def _wait_for(client: httpx.Client, url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            client.get(url).raise_for_status()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
