"""Keep what a run did: a row in the database and a Markdown artifact."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from prefect.artifacts import create_markdown_artifact
from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for

from stashhog_core.db.jobs import save_report
from stashhog_core.plans.plans import attention_needed, changes_of_run
from stashhog_core.report import job_markdown, to_markdown
from stashhog_core.results import ItemFailure, Result, SceneChanges, WorkflowReport
from tasks.prefect_api import display
from tasks.result_storage import close_results_to_others
from tasks.runtime import run_services

logger = logging.getLogger("stashhog_core.report")


@contextmanager
def while_ending() -> Iterator[None]:
    """Keep a report while an exception ends the run.

    A database that is away must not take the place of that exception: a cancelled run
    would end as failed, and be tried again.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the exception outside is the one to raise
        logger.warning("Could not store the report of this run: %s", error)


def changed_scenes(run_id: str) -> list[SceneChanges]:
    """Return what a run changed in which scene, the first 500 of them."""
    with run_services() as services, services.database.transaction() as session:
        return changes_of_run(session, run_id, limit=500)


def undecided_plans(run_id: str) -> list[ItemFailure]:
    """Return the plans that need a decision: see `attention_needed`."""
    with run_services() as services, services.database.transaction() as session:
        return attention_needed(session, run_id)


def keep_report(
    run_id: str, job: str, status: str, started_at: datetime, result: Result
) -> None:
    """Store the result of a run and show it in Prefect's UI.

    `status` is completed, completed_with_errors, deferred, held, failed or cancelled;
    `started_at` is aware.
    """
    with run_services() as services, services.database.transaction() as session:
        save_report(
            session,
            run_id=run_id,
            job=job,
            status=status,
            started_at=started_at,
            report=result.model_dump(mode="json"),
        )
    close_results_to_others(services.settings)
    markdown = (
        to_markdown(
            result,
            services.settings.stash.link_base,
            _address_of_task_run,
            services.settings.web.link_base,
        )
        if isinstance(result, WorkflowReport)
        else job_markdown(job, result, services.settings.web.link_base)
    )
    with display("the report of this run"):
        create_markdown_artifact(
            markdown,
            key=f"{job.replace('_', '-')}-report",
            description="Report of the run",
        )


def _address_of_task_run(task_run_id: str) -> str | None:
    """Return where Prefect's UI shows a task run; None: the server has no UI."""
    if not get_current_settings().server.ui.enabled:
        return None
    return url_for("task-run", task_run_id)
