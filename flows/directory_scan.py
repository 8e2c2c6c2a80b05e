"""Index a folder of video files."""

from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State

from flows.cancellation import job_flow
from flows.flow_parameters import parameters_of
from flows.outcome import result_of, run_one
from stashhog_core.markdown import cells
from stashhog_core.params import DirectoryScanParams
from stashhog_core.results import DirectoryScanResult
from tasks.directory_scan import directory_scan as directory_scan_task
from tasks.prefect_api import announce, display


@job_flow("directory_scan")
@parameters_of(DirectoryScanParams)
def directory_scan(params: DirectoryScanParams) -> State[Any]:
    """Index the video files of a local folder. Unchanged files are not opened.

    If the time limit is reached, the run ends as TimedOut. The index keeps the finished
    part, and the next scan continues from there.
    """
    announce("directory-scan.started", {"path": params.path})
    state = run_one("directory_scan", directory_scan_task, params)
    result = result_of(state)
    if not isinstance(result, DirectoryScanResult):
        return state
    counts = result.model_dump(
        mode="json",
        exclude={"errors", "warnings", "path", "listed", "duration_seconds"},
    )
    with display("the table of the directory scan"):
        create_table_artifact(
            cells([{"path": result.path, **counts}]),
            key="directory-scan-table",
            description="Result of the directory scan",
        )
    announce("directory-scan.completed", {"path": params.path, **counts})
    return state
