"""What surrounds a core function in a task: services, progress and retries."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Completed

from stashhog_core.db.locks import ends_this_run
from stashhog_core.db.open import open_database
from stashhog_core.db.session import Database
from stashhog_core.errors import (
    ConfigurationError,
    JobError,
    StashHogError,
    is_transient,
    unexpected,
)
from stashhog_core.loopback import keep_loopback_direct
from stashhog_core.progress import Progress
from stashhog_core.redaction import without_secrets
from stashhog_core.report import ending, state_name
from stashhog_core.results import Result
from stashhog_core.settings import Settings, get_settings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.servers import server_settings
from stashhog_core.workflow import JobFailed, status_of
from tasks.cancellation import stop_of_mapper
from tasks.result_storage import close_folder_to_others
from tasks.run_progress import task_progress

# Prefect attaches its handler to this logger but leaves its level at Python's WARNING.
logging.getLogger("stashhog_core").setLevel(get_current_settings().logging.level)


class _OneSentence(logging.Filter):
    """Logs our own errors as the sentence they are, without a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the traceback of errors that word themselves."""
        if record.exc_info and isinstance(record.exc_info[1], StashHogError):
            record.msg, record.args = "%s", (record.exc_info[1],)
            record.exc_info = record.exc_text = None
        return True


for _name in ("prefect.task_runs", "prefect.flow_runs", "prefect.engine"):
    logging.getLogger(_name).addFilter(_OneSentence())


def retry_if_transient(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Retry only what may succeed when it is done again."""
    error = state.result(raise_on_failure=False)
    return (
        isinstance(error, BaseException)
        and is_transient(error)
        and not ends_this_run(error)
    )


JOB_TASK: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [5, 30, 120],
    "retry_condition_fn": retry_if_transient,
    # A run that is retried repeats no finished task. JSON, so that a later version
    # of the code can read what an earlier one stored.
    "persist_result": True,
    "result_serializer": "json",
}
"""Options of the tasks that do a whole job."""

READ_TASK: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [2, 10, 30],
    "retry_condition_fn": retry_if_transient,
}
"""Options of the tasks that only look something up."""


P = ParamSpec("P")
R = TypeVar("R")


class _JobTask(Task[P, R]):
    """Gives its result to whoever calls it, whatever the name of its state."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run it here. Prefect would give the caller a state that it was given."""
        value = super().__call__(*args, **options)
        if isinstance(value, State) and not options.get("return_state"):
            return value.result()
        return value


def job_task(
    **options: Any,
) -> Callable[[Callable[P, R | State[R]]], Task[P, R]]:
    """Make a task of a function that does a job, whose state tells how it ended.

    A job with errors in parts ends CompletedWithErrors, with their number; one whose
    removals wait for a yes ends Held. One that came to no good end fails, so that a
    run that is tried again does it again.
    """

    def make(function: Callable[P, R | State[R]]) -> Task[P, R]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return _shown(function(*args, **kwargs))

        return _JobTask(run, **options)

    return make


def _shown(result: Any) -> Any:
    if not isinstance(result, Result):
        return result
    status = status_of(result)
    if status == "completed":
        return result
    if status == "timeout":
        raise JobFailed(ending(result), result)
    return Completed(name=state_name(status), message=ending(result), data=result)


class Services:
    """The database and the Stash servers of one run, shared by its tasks and threads.

    A server is looked at when it is first used; whatever happens to it later is an
    outage, to be ridden out, and no wrong setting.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self._servers: dict[str | None, StashClient] = {}
        self._resources = ExitStack()
        self._lock = threading.Lock()

    def stash(self, server: str | None = None) -> StashClient:
        """Return the Stash server, or the additional server of this name.

        Raises:
            ConfigurationError: It is not set, not reachable, or refuses the key.
        """
        with self._lock:
            if server not in self._servers:
                settings = server_settings(self.settings.stash, server)
                if settings.url is None:
                    raise ConfigurationError(
                        "No Stash server is set",
                        remedy="set STASHHOG_STASH__URL, such as http://localhost:9999",
                    )
                client = self._resources.enter_context(StashClient(settings))
                client.check_ready()
                self._servers[server] = client
            return self._servers[server]

    def close(self) -> None:
        """Close the connections to the Stash servers."""
        self._resources.close()


_services: ContextVar[Services | None] = ContextVar("services", default=None)


@contextmanager
def run_services() -> Iterator[Services]:
    """Yield the services of this run; opened here unless an outer block has.

    Tasks that the run maps to other processes open their own.

    Raises:
        ConfigurationError: The settings are wrong, or the database cannot be used.
    """
    shared = _services.get()
    if shared is not None:
        yield shared
        return
    keep_loopback_direct()
    settings = get_settings()
    close_folder_to_others(settings)
    with open_database(settings) as database:
        services = Services(settings, database)
        token = _services.set(services)
        try:
            yield services
        finally:
            _services.reset(token)
            services.close()


@dataclass(frozen=True)
class Job:
    """What one task run works with."""

    settings: Settings
    database: Database
    progress: Progress
    run_id: str
    services: Services

    def stash(self, server: str | None = None) -> StashClient:
        """Return the Stash server, or the additional server of this name.

        Raises:
            ConfigurationError: It is not set, not reachable, or refuses the key.
        """
        return self.services.stash(server)


@contextmanager
def open_job(name: str) -> Iterator[Job]:
    """Open what a task run needs; `name` is shown on its progress."""
    with (
        run_services() as services,
        task_progress(name, stop_of_mapper(services.database)) as progress,
    ):
        try:
            yield Job(
                services.settings,
                services.database,
                progress,
                flow_run.get_id() or name,
                services,
            )
        except StashHogError:
            # Its words hold no secret.
            raise
        except Exception as error:
            if without_secrets(str(error)) == str(error):
                raise
            # Prefect shows the text of an exception in states, events and logs.
            raise JobError(unexpected(error)) from None
