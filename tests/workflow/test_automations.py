"""Automations are applied by name, and do what they say."""

import http.server
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.events.worker import EventsWorker
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Completed, Crashed, Running

from flows.auto_plan_apply import auto_plan_apply
from flows.auto_video_analysis import auto_video_analysis
from flows.jobs import apply_plan
from flows.process_new_scenes import process_new_scenes
from stashhog.services.automations import apply_automations
from stashhog.services.prefect_server import POOL
from stashhog_core.errors import ConfigurationError
from stashhog_core.report import state_name
from tests.support.prefect import register, runs_of
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[2] / "deployments" / "automations.yaml"
WRITTEN = {
    entry["name"]: entry for entry in yaml.safe_load(FILE.read_text())["automations"]
}
STOPPED = "stashhog: runs without a heartbeat have crashed"
NEVER_BEGAN = "stashhog: runs without a first heartbeat have crashed"
TELLS = "stashhog: tell about runs that failed"
TELLS_OF_PLANS = "stashhog: tell about plans to review"
TELLS_OF_BLOCKS = "stashhog: tell about blocked downloads"
TELLS_OF_REMOVALS = "stashhog: tell about held removals"
NOTICES = {TELLS, TELLS_OF_PLANS, TELLS_OF_BLOCKS, TELLS_OF_REMOVALS}


@pytest.fixture
def deployments(prefect_api: str) -> dict[str, UUID]:
    """The deployments that the automations run, without a worker."""
    del prefect_api
    # What the runs of other tests tell would start jobs as well.
    EventsWorker.drain_all()
    return {
        "analysis": register(auto_video_analysis, "auto-video-analysis"),
        "apply": register(auto_plan_apply, "auto-plan-apply"),
        "workflow": register(process_new_scenes, "process-new-scenes"),
    }


@pytest.fixture
def reported(deployments: dict[str, UUID]) -> Iterator[list[dict[str, Any]]]:
    """What a webhook of the user's is told; the block `webhook/alerts` leads to it."""
    received: list[dict[str, Any]] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            received.append(json.loads(self.rfile.read(size)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with http.server.HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        Webhook(method="POST", url=url).save("alerts", overwrite=True)
        yield received
        server.shutdown()
    apply_automations(FILE)


def automations(name: str) -> list[Any]:
    with get_client(sync_client=True) as client:
        return client.read_automations_by_name(name)


def switch_on(name: str) -> None:
    with get_client(sync_client=True) as client:
        client.resume_automation(automations(name)[0].id)


def emit(
    event: str, flow: str, facts: dict[str, object] | None = None, **labels: str
) -> None:
    """Send an event as a run of ours does."""
    subject = event.split(".")[1]
    named = {f"stashhog.{name}": value for name, value in labels.items()}
    resource = f"stashhog.{subject}.{uuid4()}"
    send(event, resource, facts, **{"stashhog.flow": flow}, **named)


def send(
    event: str,
    resource: str,
    facts: dict[str, object] | None = None,
    related: Sequence[tuple[str, str]] = (),
    **labels: str,
) -> None:
    """Send an event; `related`: the ids and roles of what it has to do with."""
    with get_client(sync_client=True) as client:
        client.request(
            "POST",
            "/events",
            json=[
                {
                    "id": str(uuid4()),
                    "occurred": datetime.now(UTC).isoformat(),
                    "event": event,
                    "resource": {"prefect.resource.id": resource, **labels},
                    "related": [
                        {"prefect.resource.id": id_, "prefect.resource.role": role}
                        for id_, role in related
                    ],
                    "payload": facts or {},
                }
            ],
        )


def test_applying_twice_makes_no_doubles(deployments: dict[str, UUID]) -> None:
    """Each automation exists once, and one that was switched keeps its switch."""
    apply_automations(FILE)
    names = [name for name in WRITTEN if name not in NOTICES]
    first = {name: automations(name)[0] for name in names}
    with get_client(sync_client=True) as client:
        for automation in first.values():
            if automation.enabled:
                client.pause_automation(automation.id)
            else:
                client.resume_automation(automation.id)

    apply_automations(FILE)

    for name in names:
        (found,) = automations(name)
        assert found.id == first[name].id
        assert found.enabled is not first[name].enabled


def test_those_that_start_jobs_are_off_until_switched_on() -> None:
    """Marking dead runs is on, and telling whom the settings name what needs them."""
    on = {name for name, entry in WRITTEN.items() if entry["enabled"]}

    assert on == {STOPPED, NEVER_BEGAN, *NOTICES} - {TELLS_OF_PLANS}


@pytest.mark.parametrize("name", [STOPPED, NEVER_BEGAN])
def test_every_end_of_a_run_disarms_the_heartbeat(name: str) -> None:
    """A run that ends in a state of ours is not taken for dead."""
    entry = WRITTEN[name]
    ends = {
        state_name(status)
        for status in (
            *("completed", "completed_with_errors", "skipped", "failed"),
            *("cancelled", "timeout", "deferred", "held"),
        )
    }

    expected = {
        event.removeprefix("prefect.flow-run.") for event in entry["trigger"]["expect"]
    }

    assert ends | {"heartbeat", "Crashed"} <= expected


def test_a_run_whose_heartbeats_stop_is_crashed(
    deployments: dict[str, UUID], tmp_path: Path
) -> None:
    """Not one that ended, in whatever state; `stashhog up` meanwhile changes nothing.

    Tried with ten seconds for the ninety.
    """
    hasty = {**WRITTEN[STOPPED], "name": "hasty"}
    hasty["trigger"] = {**hasty["trigger"], "within": 10}
    file = tmp_path / "automations.yaml"
    file.write_text(yaml.safe_dump({"automations": [hasty]}))
    apply_automations(file)
    with get_client(sync_client=True) as client:
        dead, held = (
            client.create_flow_run_from_deployment(deployments["workflow"]).id
            for _ in range(2)
        )
        for run_id in (dead, held):
            client.set_flow_run_state(run_id, Running(), force=True)
            send("prefect.flow-run.heartbeat", f"prefect.flow-run.{run_id}")
        client.set_flow_run_state(held, Completed(name="Held"), force=True)

        def is_crashed() -> bool:
            # As `stashhog up` does, which follows a crash of the machine.
            apply_automations(file)
            return client.read_flow_run(dead).state_name == "Crashed"

        # Heartbeats from before the server knew the automation do not count.
        for _ in range(int(PATIENCE_SECONDS / 30)):
            with suppress(AssertionError):
                wait_until(is_crashed, "the end of the dead run", 30)
                break
            send("prefect.flow-run.heartbeat", f"prefect.flow-run.{dead}")

        assert is_crashed()
        assert client.read_flow_run(held).state_name == "Held"
        for automation in automations("hasty"):
            client.delete_automation(automation.id)


def test_a_run_that_sends_no_first_heartbeat_is_crashed(
    deployments: dict[str, UUID], tmp_path: Path
) -> None:
    """Not one that sent it, nor one in a terminal; tried with ten seconds."""
    hasty = {**WRITTEN[NEVER_BEGAN], "name": "hasty"}
    hasty["trigger"] = {**hasty["trigger"], "within": 10}
    file = tmp_path / "automations.yaml"
    file.write_text(yaml.safe_dump({"automations": [hasty]}))
    apply_automations(file)
    deployment = deployments["workflow"]
    with get_client(sync_client=True) as client:

        def begun(run: FlowRun) -> UUID:
            client.set_flow_run_state(run.id, Running(), force=True)
            return run.id

        def is_crashed(run_id: UUID) -> bool:
            return client.read_flow_run(run_id).state_name == "Crashed"

        def dies(*beating: UUID) -> bool:
            dead = begun(client.create_flow_run_from_deployment(deployment))

            def has_died() -> bool:
                for run_id in beating:
                    send(
                        "prefect.flow-run.heartbeat",
                        f"prefect.flow-run.{run_id}",
                        related=[(f"prefect.deployment.{deployment}", "deployment")],
                    )
                return is_crashed(dead)

            with suppress(AssertionError):
                return wait_until(has_died, "the end of the dead run", 30)
            return False

        # Runs from before the server knew the automation do not count.
        assert any(dies() for _ in range(int(PATIENCE_SECONDS / 30)))
        alive = begun(client.create_flow_run_from_deployment(deployment))
        in_terminal = begun(client.create_flow_run(process_new_scenes))
        # Their time is up as well then.
        assert dies(alive)

        assert not is_crashed(alive)
        assert not is_crashed(in_terminal)
        for run_id in (alive, in_terminal):
            client.set_flow_run_state(run_id, Completed(), force=True)
        for automation in automations("hasty"):
            client.delete_automation(automation.id)


def test_a_sync_that_changed_something_starts_the_analysis(
    deployments: dict[str, UUID],
) -> None:
    """One of process_new_scenes does not, nor one that found nothing."""
    apply_automations(FILE)
    switch_on("stashhog: analyze after a sync")
    before = len(runs_of(deployments["analysis"]))

    emit(
        "stashhog.sync.completed",
        "process_new_scenes",
        trigger="workflow",
        changed="yes",
    )
    emit("stashhog.sync.completed", "sync", trigger="manual", changed="no")
    emit("stashhog.sync.completed", "sync", trigger="manual", changed="yes")

    wait_until(lambda: len(runs_of(deployments["analysis"])) > before, "the analysis")
    time.sleep(1)
    assert len(runs_of(deployments["analysis"])) == before + 1


@pytest.mark.parametrize(
    ("automation", "event", "flow", "other", "started"),
    [
        (
            "stashhog: process new scenes after downloads",
            "stashhog.downloads.placed",
            "process_downloads",
            "process_new_scenes",
            "workflow",
        ),
        (
            "stashhog: apply after an analysis",
            "stashhog.analysis.completed",
            "auto_video_analysis",
            "process_new_scenes",
            "apply",
        ),
    ],
    ids=["downloads", "analysis"],
)
def test_one_job_starts_the_next(
    deployments: dict[str, UUID],
    automation: str,
    event: str,
    flow: str,
    other: str,
    started: str,
) -> None:
    """Not for what process_new_scenes did: it goes on by itself."""
    apply_automations(FILE)
    switch_on(automation)
    before = len(runs_of(deployments[started]))

    emit(event, other)
    emit(event, flow)

    wait_until(lambda: len(runs_of(deployments[started])) > before, started)
    time.sleep(1)
    assert len(runs_of(deployments[started])) == before + 1


def test_failed_runs_are_reported_to_whom_the_settings_name(
    reported: list[dict[str, Any]],
) -> None:
    """Also with quotes in the message; it is JSON. Without blocks, nobody is told."""
    apply_automations(FILE, ["webhook/alerts"])
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        deployment = register(apply_plan, "apply-plan", work_pool_name=POOL)
        run = client.create_flow_run_from_deployment(
            deployment, parameters={"plan_id": 1}
        )
        client.set_flow_run_state(run.id, Running(), force=True)
        crashed = Crashed(message='No "heartbeat"')
        client.set_flow_run_state(run.id, crashed, force=True)

    # Runs of earlier tests may end as well.
    (of_the_run,) = wait_until(
        lambda: [notice for notice in reported if run.name in notice["body"]],
        "the notice",
    )
    apply_automations(FILE)

    assert of_the_run["subject"] == "StashHog: apply_plan ended Crashed"
    assert 'No "heartbeat"' in of_the_run["body"]
    assert automations(TELLS) == []


def notices_of(reported: list[dict[str, Any]], word: str) -> list[dict[str, Any]]:
    """Wait for notices with this word in the subject, and return them."""
    return wait_until(
        lambda: [notice for notice in reported if word in notice["subject"]],
        f"a notice of {word}",
    )


def test_a_notice_leads_to_the_page_of_a_new_plan(
    reported: list[dict[str, Any]],
) -> None:
    """Once it is switched on; not for plans that process_new_scenes applies itself."""
    apply_automations(FILE, ["webhook/alerts"])
    switch_on(TELLS_OF_PLANS)
    page = "http://127.0.0.1:4201/plans/7"

    event = "stashhog.analysis.completed"
    applied = {"plan_id": 6, "page": "elsewhere"}
    emit(event, "process_new_scenes", applied, review="no")
    emit(event, "analysis", {"plan_id": 7, "page": page}, review="yes")

    assert notices_of(reported, "plan") == [
        {
            "subject": "StashHog: plan 7 can be reviewed",
            "body": f"An analysis has made plan 7: {page}",
        }
    ]


def test_a_notice_leads_to_the_page_of_blocked_downloads(
    reported: list[dict[str, Any]],
) -> None:
    """It says how many, and where they and their reasons are."""
    apply_automations(FILE, ["webhook/alerts"])
    page = "http://127.0.0.1:4201/downloads?state=blocked"
    facts = {"count": 2, "files": "2 files", "page": page}

    emit("stashhog.downloads.blocked", "process_downloads", facts)

    assert notices_of(reported, "imported") == [
        {
            "subject": "StashHog: 2 files cannot be imported",
            "body": f"StashHog does not try 2 files again: {page}",
        }
    ]


def test_a_held_run_notifies_once_and_says_how_to_confirm(
    reported: list[dict[str, Any]],
) -> None:
    """The notice has the words of the run; the one of failures stays silent."""
    apply_automations(FILE, ["webhook/alerts"])
    words = "25 of 30 scenes would be removed: run the sync with confirm_removals"
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        deployment = register(apply_plan, "apply-plan", work_pool_name=POOL)
        run = client.create_flow_run_from_deployment(
            deployment, parameters={"plan_id": 1}
        )
        client.set_flow_run_state(run.id, Running(), force=True)
        held = Completed(name="Held", message=words)
        client.set_flow_run_state(run.id, held, force=True)

    def of_the_run() -> list[dict[str, Any]]:
        return [notice for notice in reported if run.name in notice["body"]]

    wait_until(of_the_run, "the notice")
    time.sleep(1)
    (notice,) = of_the_run()
    assert notice["subject"].endswith("removed nothing and waits for you")
    assert words in notice["body"]


def test_an_unknown_block_is_named(deployments: dict[str, UUID]) -> None:
    """The setting, the block, and how to make it."""
    with pytest.raises(ConfigurationError, match="no Prefect block webhook/nosuch"):
        apply_automations(FILE, ["webhook/nosuch"])
