"""What runs are called in the lists of Prefect's UI."""

from typing import Any

import pytest
from prefect.client.orchestration import get_client

from flows.auto_plan_apply import auto_plan_apply
from flows.auto_stash_sync import auto_stash_sync
from flows.auto_video_analysis import auto_video_analysis
from flows.jobs import stash_generate, sync
from flows.process_new_scenes import process_new_scenes
from tests.support.services import Services
from tests.support.stand_in import add_scenes, asking

pytestmark = pytest.mark.slow


def name_of(state: Any) -> str:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(state.state_details.flow_run_id).name


def test_runs_are_named_after_what_they_did(services: Services) -> None:
    """The main job by its items, a sync by its scenes, generate by what it made."""
    with asking(services.stash.url) as ask:
        add_scenes(ask, 3)

    synced = sync(return_state=True)
    again = sync(return_state=True)
    main = process_new_scenes(
        return_state=True, steps=["process_downloads", "stash_generate"]
    )
    generated = stash_generate(return_state=True)

    assert name_of(synced) == "sync · 3 scenes"
    assert name_of(again) == "sync · 0 scenes"
    items = len(list(services.downloads.iterdir()))
    assert name_of(main) == f"process_new_scenes · {items} items"
    assert name_of(generated).startswith("stash_generate · ")


def test_scheduled_runs_without_work_say_so(services: Services) -> None:
    """Without opening a run, a list tells those that did something."""
    auto_stash_sync()
    for flow in (auto_stash_sync, auto_plan_apply):
        idle = flow(return_state=True)
        assert idle.name == "Skipped"
        assert name_of(idle) == f"{flow.name} · nothing to do"
    auto_video_analysis()
    idle = auto_video_analysis(return_state=True)
    assert name_of(idle) == "auto_video_analysis · nothing to do"
