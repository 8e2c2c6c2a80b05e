"""Look before the first step whether the services are there and let us in."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks._runtime import open_job


@task(name="check_services", cache_policy=NO_CACHE)
def check_services() -> None:
    """Return if the database and Stash can be used; nothing is changed.

    Raises:
        ConfigurationError: One of them cannot; says where and how to mend it.
    """
    with open_job("check_services") as job, job.stash():
        return
