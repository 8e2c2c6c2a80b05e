"""`stashhog status`: how each part of the services, Stash and the folders are."""

from dataclasses import dataclass

import psutil

from stashhog.services.logs import log_folder
from stashhog.services.prefect_server import POOL, Answer, answer, ask, server_url
from stashhog.services.state import running
from stashhog.web.address import pages_answer
from stashhog_core.db.embedded import embedded_url
from stashhog_core.db.schema import require_current, schema_state
from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError
from stashhog_core.health.checks import Checkup, run_checks
from stashhog_core.health.registry import QUICK
from stashhog_core.settings import Settings

_CHECK_SECONDS = 20.0
_START = "start it with `stashhog up`"


@dataclass(frozen=True)
class Part:
    """One part of the services.

    `pid` is its process here, if it has one that runs; `words` say how it is and, when
    it is not `ok`, how to mend it.
    """

    ok: bool
    words: str
    pid: int | None = None


def status(settings: Settings) -> dict[str, Part]:
    """Look at each part; nothing is started."""
    alive = running(settings)
    url = server_url(settings)
    supervisor = alive.get("supervisor")
    server = _server(settings, url, alive.get("server"))
    return {
        "database": _database(settings),
        "supervisor": Part(True, "runs", supervisor.pid)
        if supervisor
        else Part(False, f"does not run: {_START}"),
        "server": server,
        "worker": _worker(settings, url, alive.get("worker"), server),
        "deployments": _deployments(url, server),
        "pages": _pages(settings, alive.get("pages")),
        **_installation(settings),
    }


def _installation(settings: Settings) -> dict[str, Part]:
    """Make the quick checks of `stashhog check`."""
    with Checkup(settings) as checkup:
        lines = run_checks(checkup, QUICK, _CHECK_SECONDS)
    return {
        line.name: Part(
            line.state != "failure",
            f"{line.found}: {line.remedy}" if line.remedy else line.found,
        )
        for line in lines
        if line.state != "skipped"
    }


def _database(settings: Settings) -> Part:
    configured = settings.database.url
    # Opened as it is: a mere look must not be the last user, who stops the server.
    url = (
        configured.get_secret_value()
        if configured
        else embedded_url(settings.home_folder)
    )
    if url is None:
        return Part(False, f"the embedded server does not run: {_START}")
    database = Database(url)
    try:
        with database.connect() as connection:
            if configured:
                # The embedded one is migrated by whoever opens it next.
                require_current(schema_state(connection), database.address)
        return Part(True, f"answers at {database.address}")
    except StashHogError as error:
        return Part(False, str(error))
    finally:
        database.close()


def _server(settings: Settings, url: str, process: psutil.Process | None) -> Part:
    if process is None:
        return Part(False, f"does not run: {_START}")
    said = answer(url)
    if said is Answer.NONE:
        log = log_folder(settings) / "server.log"
        return Part(False, f"runs, but {said} at {url}: see {log}", process.pid)
    if said is Answer.PREFECT and not ask(url, "/ready").is_success:
        return Part(False, "runs, but its database does not answer", process.pid)
    return Part(said is Answer.PREFECT, f"{said} at {url}", process.pid)


def _worker(
    settings: Settings, url: str, process: psutil.Process | None, server: Part
) -> Part:
    if process is None:
        return Part(False, f"does not run: {_START}")
    if not server.ok:
        return Part(
            False,
            "runs, but gets no runs, because Prefect's server is not ready",
            process.pid,
        )
    pool = ask(url, f"/work_pools/{POOL}")
    workers = ask(url, f"/work_pools/{POOL}/workers/filter", {})
    if not (pool.is_success and workers.is_success):
        words = (
            f"runs, but there is no work pool {POOL}: run `stashhog "
            "up` to create the pool"
        )
        return Part(False, words, process.pid)
    if pool.json()["is_paused"]:
        words = f"the work pool {POOL} is paused: run `prefect work-pool resume {POOL}`"
        return Part(False, words, process.pid)
    online = sum(worker["status"] == "ONLINE" for worker in workers.json())
    if not online:
        log = log_folder(settings) / "worker.log"
        words = f"runs, but has sent no heartbeat to Prefect's server: see {log}"
        return Part(False, words, process.pid)
    others = f", one of {online}" if online > 1 else ""
    return Part(True, f"takes runs from the work pool {POOL}{others}", process.pid)


def _deployments(url: str, server: Part) -> Part:
    if not server.ok:
        return Part(False, "unknown, because Prefect's server does not answer")
    said = ask(url, "/deployments/count", {})
    number = said.json() if said.is_success else 0
    if not number:
        return Part(False, "no deployment is registered: run `stashhog up` again")
    return Part(True, f"{number} deployments are registered")


def _pages(settings: Settings, process: psutil.Process | None) -> Part:
    log = log_folder(settings) / "pages.log"
    if process is None:
        return Part(False, f"do not run: {_START}, or see {log}")
    where = settings.web.local_base
    if not pages_answer(settings):
        return Part(False, f"run, but do not answer at {where}: see {log}", process.pid)
    return Part(True, f"answer at {where}", process.pid)
