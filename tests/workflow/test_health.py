"""The checks as a job in Prefect, and before the steps of the main job."""

import pytest

from flows.jobs import check
from flows.process_new_scenes import process_new_scenes
from stashhog_core.errors import ConfigurationError
from stashhog_core.health.checks import Checkup, run_checks
from stashhog_core.settings import get_settings
from tasks.health import PREFECT
from tests.support.prefect import artifact
from tests.support.services import Services

pytestmark = pytest.mark.slow


def test_the_job_lists_each_check(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Problems name the state; the report has a row for each check."""
    monkeypatch.setenv("STASHHOG_AI_SERVER__URL", "http://127.0.0.1:9")
    get_settings.cache_clear()

    state = check(return_state=True)
    report = artifact("check-report")["data"]

    assert state.name == "CompletedWithErrors"
    assert state.message == "1 failure, 1 warning"
    assert "| ✗ | AI server |" in report
    assert "STASHHOG\\_AI\\_SERVER" in report or "STASHHOG_AI_SERVER" in report
    assert "| ✓ | links |" in report
    # Prefect's own checks are for a server that has deployments.
    assert "| worker |" not in report


def test_scan_paths_that_do_nothing_end_the_run(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence, with nothing placed."""
    monkeypatch.setenv("STASHHOG_STASH__SCAN_PATHS", '["/data"]')
    get_settings.cache_clear()

    with pytest.raises(ConfigurationError, match=r"not in Stash's library.*SCAN_PATHS"):
        process_new_scenes()

    assert list(services.library.iterdir()) == []


def test_a_wrong_path_map_is_said_once(
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Before the first step, not once per scene; the run goes on."""
    monkeypatch.setenv(
        "STASHHOG_STASH__PATH_MAP", f'{{"/elsewhere": "{services.library}"}}'
    )
    get_settings.cache_clear()
    for path in services.downloads.iterdir():
        if path.is_dir():
            continue
        path.unlink()

    state = process_new_scenes(steps=["incremental_sync"], return_state=True)
    said = [r for r in caplog.records if "Stash's scan does not see" in r.getMessage()]

    assert state.is_completed()
    assert len(said) == 1
    assert "STASHHOG_STASH__PATH_MAP" in said[0].getMessage()


def test_deployments_that_are_missing(services: Services) -> None:
    """A server without our deployments is told from one without a worker."""
    del services
    with Checkup(get_settings()) as checkup:
        lines = {line.name: line for line in run_checks(checkup, PREFECT)}

    assert lines["Prefect"].state == "ok"
    assert lines["deployments"].state == "failure"
    assert "stashhog" in lines["deployments"].remedy
    assert lines["schedules"].state == "skipped"
