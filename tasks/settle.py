"""Settling the Stash jobs of a run that ended without doing so."""

import logging
from typing import Any

from stashhog_core.db.open import open_database
from stashhog_core.db.stash_jobs import open_jobs
from stashhog_core.errors import StashHogError
from stashhog_core.server_jobs.tracking import settle_cancelled
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.servers import server_settings


def settle_jobs_of(
    run_id: str, log: "logging.Logger | logging.LoggerAdapter[Any]"
) -> None:
    """Settle what a run that was told to stop left open; usually there is nothing.

    What cannot be reached now stays open for the next run.
    """
    try:
        settings = get_settings()
        with open_database(settings) as database:
            with database.transaction() as session:
                servers = {row.server for row in open_jobs(session, run_id=run_id)}
            for server in sorted(servers):
                with StashClient(server_settings(settings.stash, server)) as stash:
                    settle_cancelled(
                        stash, database, run_id=run_id, server=server, log=log
                    )
    except StashHogError as error:
        log.error("Stash jobs of this run may be left running: %s", error)
