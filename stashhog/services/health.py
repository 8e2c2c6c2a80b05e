"""All checks of the installation: those of the core, and those of Prefect's server."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stashhog.services.prefect_server import own_api, prefect_environment
from stashhog_core.health.checks import Check, Finding, warning
from stashhog_core.health.registry import CHECKS
from stashhog_core.settings import Settings


@contextmanager
def all_checks(settings: Settings) -> Iterator[Sequence[Check]]:
    """Yield all checks; those of Prefect's server ask that of the environment.

    That is the server of PREFECT_API_URL, or the one that `stashhog up` has started.
    """
    if own_api(settings) is None:
        yield (*CHECKS, Check("Prefect", lambda _: _no_server()))
        return
    with prefect_environment(settings):
        from tasks.health import PREFECT

        yield (*CHECKS, *PREFECT)


def _no_server() -> Finding:
    return warning(
        "Prefect's server does not run, so nothing runs by itself", "run `stashhog up`"
    )
