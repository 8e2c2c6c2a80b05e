"""Check the installation as a job, with what only Prefect knows."""

from datetime import UTC, datetime, timedelta

from prefect import __version__ as prefect_version
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.runtime import deployment

from stashhog_core.health.checks import (
    Check,
    Checkup,
    Finding,
    failure,
    good,
    run_checks,
    summarized,
    warning,
)
from stashhog_core.health.registry import CHECKS
from stashhog_core.params import JOB_PARAMS, CheckParams
from stashhog_core.report import counted
from stashhog_core.results import ChecksResult
from tasks.flow_runs import FLOWS, our_deployments, runs_going
from tasks.prefect_api import prefect_client
from tasks.runtime import job_task, open_job

_LATE = timedelta(minutes=10)
_START = "run `stashhog up`"


def check_prefect(checkup: Checkup) -> Finding:
    """Ask Prefect's server for its version."""
    del checkup
    with prefect_client() as client:
        version = str(client.request("GET", "/admin/version").json())
        where = str(client.api_url)
    if version != prefect_version:
        return warning(
            f"the server at {where} is Prefect {version}, and StashHog uses "
            f"{prefect_version}",
            "restart the server with the packages of StashHog: `stashhog down`, then "
            "`stashhog up`",
        )
    return good(f"Prefect {version} answers at {where}")


def check_deployments(checkup: Checkup) -> Finding:
    """Compare the deployments with the jobs of this version."""
    del checkup
    with prefect_client() as client:
        found = _deployments(client)
    names = {_job(d) for d in found}
    missing = [name for name in FLOWS if name not in names]
    outdated = [d.name for d in found if _is_outdated(d)]
    if missing or outdated:
        return failure(
            f"{counted(len(missing) + len(outdated), 'deployment')} missing or of "
            f"another version, such as {(missing + outdated)[0]}",
            "run `stashhog deploy`, or `stashhog up` again",
        )
    paused = [d.name for d in found if d.paused]
    if paused:
        return warning(
            f"paused: {', '.join(paused)}",
            f"resume {paused[0]} in Prefect's UI, on the page of the deployment",
        )
    return good(f"{counted(len(found), 'deployment')} of this version")


def _is_outdated(found: DeploymentResponse) -> bool:
    model = JOB_PARAMS.get(_job(found))
    if model is None:
        return False
    stored = (found.parameter_openapi_schema or {}).get("properties", {})
    return set(stored) != set(model.model_json_schema()["properties"])


def check_schedules(checkup: Checkup) -> Finding:
    """List the schedules that are on."""
    del checkup
    with prefect_client() as client:
        found = _deployments(client)
    active = [
        d.name for d in found if not d.paused and any(s.active for s in d.schedules)
    ]
    if not active:
        return warning(
            "no schedule is on, so nothing runs by itself",
            "turn schedules on in Prefect's UI, or set STASHHOG_SCHEDULES__…",
        )
    return good(f"on: {', '.join(sorted(active))}")


def check_worker(checkup: Checkup) -> Finding:
    """See that the work pools of the deployments are on and have a worker."""
    del checkup
    with prefect_client() as client:
        pools = {d.work_pool_name for d in _deployments(client) if d.work_pool_name}
        for name in sorted(pools):
            if client.read_work_pool(name).is_paused:
                return failure(
                    f"the work pool {name} is paused, so no run starts",
                    f"run `prefect work-pool resume {name}`",
                )
            workers = client.read_workers_for_work_pool(name)
            if not any(worker.status == WorkerStatus.ONLINE for worker in workers):
                return failure(f"no worker asks the work pool {name} for runs", _START)
    if not pools:
        return failure("the deployments have no work pool", _START)
    return good(f"takes runs from the work pool {', '.join(sorted(pools))}")


def check_runs(checkup: Checkup) -> Finding:
    """Find runs that are dead, and runs that are due and do not start."""
    del checkup
    with prefect_client() as client:
        deployments = our_deployments(client)
        _, dead = runs_going(client, deployments=deployments)
        late = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(
                    type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])
                ),
                next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(
                    before_=datetime.now(UTC) - _LATE
                ),
            ),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=deployments)),
            limit=200,
        )
    if dead:
        return warning(
            f"{counted(len(dead), 'run')} without a sign of life, such as "
            f"{dead[0].name}",
            "run `stashhog run cleanup`",
        )
    if late:
        return warning(
            f"{counted(len(late), 'run')} should have started more than 10 minutes "
            f"ago, such as {late[0].name}",
            "see whether another run of the same job is active, and whether the worker "
            "works",
        )
    return good("no run is stuck")


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    return [client.read_deployment(id_) for id_ in our_deployments(client)]


def _job(found: DeploymentResponse) -> str:
    return (found.entrypoint or "").rpartition(".")[2]


PREFECT = (
    Check("Prefect", check_prefect),
    Check("deployments", check_deployments, needs=("Prefect",)),
    Check("worker", check_worker, needs=("Prefect",)),
    Check("schedules", check_schedules, needs=("deployments",)),
    Check("runs", check_runs, needs=("Prefect",)),
)
"""The checks that ask the Prefect server of the environment."""


@job_task(name="check", cache_policy=NO_CACHE)
def check(params: CheckParams) -> ChecksResult:
    """Make all checks; the report of the run says what each found."""
    with open_job("check") as job, Checkup(job.settings) as checkup:
        # A run of no deployment may have a server of its own, for its duration.
        is_deployed = deployment.get_id() is not None
        checks = (*CHECKS, *(PREFECT if is_deployed else ()))
        return summarized(run_checks(checkup, checks, params.limit_seconds))
