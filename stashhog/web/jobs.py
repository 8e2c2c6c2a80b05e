"""Applying and undoing from a page: a Prefect run where a server is up, else here."""

import logging
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import httpx

from stashhog.push import push
from stashhog.services.prefect_server import Answer, answer, ask, own_api, ui_url
from stashhog_core.db.jobs import stored_report
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, StashHogError, unexpected
from stashhog_core.params import ApplyPlanParams, UndoParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.report import effects_in_words, state_name
from stashhog_core.results import Result
from stashhog_core.settings import Settings
from stashhog_core.stash.client import StashClient
from stashhog_core.workflow import status_of

Job = Literal["apply_plan", "undo"]

_DEPLOYMENTS: Mapping[Job, str] = {
    "apply_plan": "apply_plan/apply-plan",
    "undo": "undo_plan/undo-plan",
}
_FLOWS = ("apply_plan", "undo_plan")
_OVER = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
_GOING: Mapping[str, str] = {
    "SCHEDULED": "Waits for a worker",
    "PENDING": "Is about to begin",
    "RUNNING": "Is running",
    "PAUSED": "Is paused in Prefect",
    "CANCELLING": "Is being cancelled",
}
"""The types of states of a run that has not ended, in words."""
_MOST_RUNS = 200
"""Prefect returns no more at once."""

logger = logging.getLogger(__name__)


def run_link(settings: Settings, run_id: str | None) -> str | None:
    """Return the page of a run in Prefect's UI; None: there is none.

    The run was outside of Prefect, or no server of ours runs. Whether Prefect still has
    the run is not asked.
    """
    try:
        run = UUID(run_id or "")
    except ValueError:
        return None
    ui = ui_url(settings)
    return f"{ui}/runs/flow-run/{run}" if ui else None


def words_of(run: Mapping[str, Any]) -> str:
    """Return how far a run in Prefect is, or how it has ended.

    The end is the state's message, or else its name; before, Prefect's messages are
    about Prefect itself, and a run that is tried again says why.
    """
    state = run.get("state") or {}
    kind, name, message = (state.get(key) for key in ("type", "name", "message"))
    if kind == "SCHEDULED" and name == "AwaitingRetry":
        return f"Is tried again soon: {message}" if message else "Is tried again soon"
    if going := _GOING.get(kind or "SCHEDULED"):
        return going
    return str(message or name)


def _completed(name: str, result: Mapping[str, Any]) -> str:
    """Word the end of a job: also one that completed may have left changes out."""
    return f"{name}: {effects_in_words(result)}"


@dataclass
class Started:
    """A job that a page has started, and how far it is.

    Attributes:
        plan_id: The plan that it works on.
        run_id: Its run in Prefect; None: it runs in this process.
        fraction: 0 to 1; None: unknown.
        message: What it does now, or how it ended.
        is_over: Whether it has ended.
        failed: Whether it has ended without doing all of its work.
        link: The page of the run in Prefect's UI.
    """

    plan_id: int
    run_id: str | None = None
    fraction: float | None = None
    message: str = _GOING["SCHEDULED"]
    is_over: bool = False
    failed: bool = False
    link: str | None = None


class Jobs:
    """The jobs that pages have started since this process began."""

    def __init__(
        self, settings: Settings, database: Database, stash: StashClient | None
    ) -> None:
        self._settings = settings
        self._database = database
        self._stash = stash
        self._started: dict[int, Started] = {}
        self._lock = threading.Lock()

    def start(self, job: Job, parameters: Mapping[str, Any]) -> int:
        """Start a job; return its number.

        Raises:
            StashHogError: Prefect refuses the run; says why.
        """
        api = own_api(self._settings)
        if api is not None and answer(api) is Answer.PREFECT:
            pushed = push(_DEPLOYMENTS[job], parameters, delay_seconds=0)
            return self._of_run(parameters["plan_id"], pushed.run_id)
        started = Started(parameters["plan_id"], message="Begins")
        number = self._add(started)
        threading.Thread(
            target=self._run, args=(job, parameters, started), name=f"web-{job}"
        ).start()
        return number

    def state_of(self, number: int) -> Started | None:
        """Return how far a job is; None: this process has not started it."""
        started = self._started.get(number)
        if started is not None and started.run_id and not started.is_over:
            self._follow(started)
        return started

    def under_way(self, plan_id: int) -> int | None:
        """Return the number of a job that works on a plan; None: none is known.

        A run in Prefect may have been started by anybody, also before a restart of the
        pages.
        """
        for number, started in list(self._started.items()):
            is_here = started.run_id is None and started.plan_id == plan_id
            if is_here and not started.is_over:
                return number
        runs = self._runs_under_way()
        ids = [r["id"] for r in runs if r["parameters"].get("plan_id") == plan_id]
        return self._of_run(plan_id, ids[0]) if ids else None

    def _runs_under_way(self) -> Sequence[Mapping[str, Any]]:
        """Return the runs in Prefect that apply or undo a plan; none if it is away."""
        if (api := own_api(self._settings)) is None:
            return []
        wanted = {
            "flows": {"name": {"any_": _FLOWS}},
            "flow_runs": {"state": {"type": {"any_": list(_GOING)}}},
            "sort": "START_TIME_DESC",
            "limit": _MOST_RUNS,
        }
        try:
            said = ask(api, "/flow_runs/filter", wanted)
            return said.json() if said.is_success else []
        except (httpx.HTTPError, ValueError):
            return []

    def _of_run(self, plan_id: int, run_id: str) -> int:
        """Return the number of the job that is this run."""
        for number, started in list(self._started.items()):
            if started.run_id == run_id:
                return number
        page = run_link(self._settings, run_id)
        return self._add(Started(plan_id, run_id=run_id, link=page))

    def _add(self, started: Started) -> int:
        with self._lock:
            # A page from before a restart must not follow another job.
            while (number := secrets.randbelow(2**31)) in self._started:
                pass
            self._started[number] = started
        return number

    def _follow(self, started: Started) -> None:
        api = own_api(self._settings)
        if api is None:
            started.message = "Prefect's server does not run"
            return
        try:
            said = ask(api, f"/flow_runs/{started.run_id}")
            run = said.json()
        except (httpx.HTTPError, ValueError) as error:
            started.message = f"Prefect does not answer: {error}"
            return
        if said.status_code == httpx.codes.NOT_FOUND:
            started.message = "Somebody has deleted the run in Prefect"
            started.is_over = started.failed = True
            return
        if not said.is_success:
            started.message = f"Prefect answers with status {said.status_code}"
            return
        state = run.get("state") or {}
        message = words_of(run)
        if state.get("type") == "COMPLETED" and (done := self._recorded(run["id"])):
            message = _completed(state["name"], done)
        started.message = message
        started.failed = state.get("type") in _OVER and state["name"] != "Completed"
        started.is_over = state.get("type") in _OVER

    def _recorded(self, run_id: str) -> Mapping[str, Any]:
        """Return the result of a run in Prefect; empty: it is not stored."""
        with self._database.transaction() as session:
            return stored_report(session, run_id) or {}

    def _run(self, job: Job, parameters: Mapping[str, Any], started: Started) -> None:
        def tell(fraction: float | None, message: str) -> None:
            started.fraction, started.message = fraction, message

        try:
            result = self._work(job, parameters, Progress(tell))
        except StashHogError as error:
            started.message, started.failed = str(error), True
        # Also one that nobody foresaw: the page would show that all went well.
        except Exception as error:
            logger.exception("The job %s of the pages failed", job)
            started.message, started.failed = unexpected(error), True
        else:
            name = state_name(status_of(result))
            started.message = _completed(name, result.model_dump())
            started.failed = name != "Completed"
        finally:
            started.is_over = True

    def _work(
        self, job: Job, parameters: Mapping[str, Any], progress: Progress
    ) -> Result:
        stash = self._stash
        if stash is None:
            raise ConfigurationError(
                "No Stash server is configured",
                remedy="set STASHHOG_STASH__URL, such as http://localhost:9999",
            )
        if job == "undo":
            return undo(stash, self._database, UndoParams(**parameters), progress)
        return apply_plan(
            stash,
            self._database,
            ApplyPlanParams(**parameters),
            progress,
            create_missing_tags=self._settings.analysis.create_missing_tags,
        )
