"""Close the loop: a download is done when Stash has it."""

from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.downloads.in_stash import ask_scan_rules, confirm_in_stash
from stashhog_core.paths import PathMap
from stashhog_core.results import ItemFailure
from tasks.runtime import READ_TASK, open_job


@task(name="confirm_downloads", cache_policy=NO_CACHE, **READ_TASK)
def confirm_downloads() -> list[ItemFailure]:
    """Mark the placed files that the mirror has; return those it lacks, and why."""
    with open_job("confirm_downloads") as job:
        stash = job.settings.stash
        return confirm_in_stash(
            job.database, PathMap(stash.path_map), partial(ask_scan_rules, stash)
        )
