"""Look before the first step whether the services are there and let us in."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.server_jobs.scan import check_inside
from tasks.runtime import open_job


@task(name="check_services", cache_policy=NO_CACHE)
def check_services() -> None:
    """Return if the database and Stash can be used; nothing is changed.

    Raises:
        ConfigurationError: One of them cannot, or Stash would not scan where the
            settings say; names the setting to mend.
    """
    with open_job("check_services") as job, job.stash() as stash:
        check_inside(job.settings.stash.scan_paths, stash.library_roots())
