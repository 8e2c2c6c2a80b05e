"""The scheduled analysis of the newest scenes that have not been analyzed."""

from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.cancellation import job_flow
from flows.flow_parameters import parameters_of
from flows.outcome import run_one, skipped
from stashhog_core.params import AnalysisParams, AutoVideoAnalysisParams
from stashhog_core.workflow import NO_UNANALYZED_SCENES
from tasks.analysis import (
    analysis,
    analysis_under_way,
    kinds_of_settings,
    scenes_to_analyze,
)


@job_flow("auto_video_analysis")
@parameters_of(AutoVideoAnalysisParams)
def auto_video_analysis(params: AutoVideoAnalysisParams) -> State[Any]:
    """Analyze the newest unanalyzed scenes, and propose a plan for review.

    The run approves no change, and changes nothing in Stash.
    """
    if other := analysis_under_way():
        message = f"Skipped - {other} is analyzing scenes"
        return skipped("auto_video_analysis", message, "another run analyzes")
    scene_ids = scenes_to_analyze(params.batch_size)
    if not scene_ids:
        return skipped("auto_video_analysis", NO_UNANALYZED_SCENES)
    # A retried run has the same start time, and so continues its own plan.
    when = flow_run.get_scheduled_start_time()
    return run_one(
        "auto_video_analysis",
        analysis,
        AnalysisParams(
            scene_ids=tuple(scene_ids),
            plan_name=f"Auto Video Analysis - {when:%Y-%m-%d %H:%M:%S}",
            detect_tags=False,
            **kinds_of_settings(),
        ),
    )
