"""Prefect's UI as people see it: the form, progress, reports, logs and cancelling.

Pictures of the pages are kept in tests/output/browser.
"""

import threading
from collections.abc import Iterator

import pytest

from tests.support.browser import Browser, open_browser
from tests.support.media import write_video
from tests.support.services import RunningServices
from tests.support.stand_in import until
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MAIN_JOB = "process_new_scenes/process-new-scenes"
SCAN = "stash_scan/stash-scan"
STEPS = {
    "Process downloads": "CompletedWithErrors",
    "Stash metadata scan": "Completed",
    "Incremental sync": "Completed",
    "Generate Stash metadata": "Completed",
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One window for all tests of this module."""
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_from_the_form_to_the_report(browser: Browser, up: RunningServices) -> None:
    """The form checks the parameters, starts the run, and everything can be watched.

    The bar moves, the state has its words, the report lists the steps with links, and
    the log has what the core says.
    """
    for number in range(2):
        write_video(up.downloads / f"seen-in-browser-{number}.mp4", seed=80 + number)
    (up.downloads / "no-video.mp4").write_bytes(b"no video")
    watched = threading.Event()
    up.stash.faults.on_item = until(watched)
    before = runs(up, MAIN_JOB)
    open_deployment(browser, up, MAIN_JOB)
    browser.press("Run")
    browser.choose("Custom run")
    field = "//fieldset[preceding-sibling::div//label[starts-with(., 'batch_size')]]"
    browser.click(f"{field}//button[normalize-space()='int']")
    browser.write(f"{field}//input", "0")
    browser.press("Submit")
    browser.screenshot("form")

    refusal = browser.attribute(f"{field}//input", "validationMessage")
    assert "greater than or equal to 1" in refusal
    assert "/run?" in browser.url
    browser.write(f"{field}//input", "1")
    browser.press("Submit")
    run = view_run(browser, up, MAIN_JOB, before)
    open_artifact(browser, run, "process-new-scenes-progress")
    browser.read("Progress: 20%")
    browser.screenshot("progress")
    watched.set()
    browser.open(f"{run}?tab=TaskRuns")
    browser.see("CompletedWithErrors")
    browser.see("process_new_scenes · 3 items")
    browser.see("analysis batch 2")
    browser.screenshot("run")
    browser.open(f"{run}?tab=Logs")
    browser.see("stashhog_core.server_jobs.scan")
    browser.screenshot("logs")
    open_artifact(browser, run, "process-new-scenes-report")
    browser.read("process_new_scenes: CompletedWithErrors")
    for step, state in STEPS.items():
        row = f"//tr[td[1][normalize-space()='{step}']][td[2][.='{state}']]"
        assert "/runs/task-run/" in browser.attribute(f"{row}//a", "href")
    browser.read("3 items placed")
    browser.read("no-video.mp4: The file cannot be read as a video")
    browser.screenshot("report")


def test_a_skipped_step(browser: Browser, up: RunningServices) -> None:
    """A step that is not done is a task in the state Skipped, which says why."""
    run = up.start(MAIN_JOB, {"steps": ["process_downloads"]})
    browser.open(f"{up.url}/v2/runs/flow-run/{run}?tab=TaskRuns")
    browser.see("Completed")
    browser.see("Skipped")
    browser.screenshot("skipped")
    browser.press("incremental_sync")
    browser.read("Not among the chosen steps")


def test_cancel(browser: Browser, up: RunningServices) -> None:
    """Cancelling from the run's menu ends it; the log says what Stash goes on with."""
    before = len(up.stash.store.ids("SELECT id FROM scenes"))
    late = up.stash.library / "late"
    late.mkdir()
    for number in range(4):
        write_video(late / f"{number}.mp4", seed=40 + number)
    cancelled = threading.Event()
    up.stash.faults.on_item = until(cancelled)
    earlier = runs(up, SCAN)
    open_deployment(browser, up, SCAN)
    browser.press("Run")
    browser.choose("Quick run")
    run = view_run(browser, up, SCAN, earlier)
    browser.open(f"{run}?tab=Logs")
    browser.read("Started Stash job")
    browser.press("Open menu")
    browser.choose("Cancel")
    browser.press("Cancel Flow Run")
    browser.see("Cancelled")
    browser.read("NOT cancelling Stash server job to prevent data corruption")
    browser.screenshot("cancelled")

    cancelled.set()
    up.stash.jobs.wait()
    assert len(up.stash.store.ids("SELECT id FROM scenes")) == before + 4


def runs(up: RunningServices, name: str) -> set[str]:
    """Return the runs of a deployment."""
    deployment = up.ask("GET", f"/deployments/name/{name}")["id"]
    wanted = {"deployments": {"id": {"any_": [deployment]}}}
    return {run["id"] for run in up.ask("POST", "/flow_runs/filter", wanted)}


def view_run(browser: Browser, up: RunningServices, name: str, before: set[str]) -> str:
    """Open the page of the run that was made now; return its address.

    The note that a run was made leads there too, but stands for seconds only.
    """
    (run,) = wait_until(lambda: runs(up, name) - before, "the run")
    address = f"{up.url}/v2/runs/flow-run/{run}"
    browser.open(address)
    browser.see("Running")
    return address


def open_artifact(browser: Browser, run: str, key: str) -> None:
    """Go from a run's page to its artifact of this key."""
    browser.open(f"{run}?tab=Artifacts")
    link = f"//a[contains(@href, '/artifacts/key/{key}')]"
    # The page is loaded anew: the run's own list has links to artifacts, too.
    browser.open(browser.attribute(link, "href"))
    browser.click("//a[contains(@href, '/artifacts/artifact/')]")


def open_deployment(browser: Browser, up: RunningServices, name: str) -> None:
    """Find a deployment as people do: in the list, by its name."""
    flow, _, deployment = name.partition("/")
    browser.open(f"{up.url}/v2/deployments")
    browser.write("//input[starts-with(@placeholder, 'Search')]", deployment)
    browser.press(deployment)
    browser.see(flow)
