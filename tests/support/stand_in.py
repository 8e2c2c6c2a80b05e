"""Requests to the stand-in Stash over HTTP, and scenes and plans for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx

from sandbox.stash.jobs import Job
from sandbox.stash.server import StandIn
from stashhog_core.db.session import Database
from stashhog_core.plans.proposals import add_marker, add_member, set_text
from tests.support.http import NO_CERTIFICATES, loopback
from tests.support.plans import plan_of
from tests.support.waiting import PATIENCE_SECONDS

Ask = Callable[..., dict[str, Any]]
"""Sends a document with variables; returns the whole decoded answer."""


VERSION = "{version{hash}}"
CREATE_TAG = "mutation($i:TagCreateInput!){tagCreate(input:$i){id name aliases}}"
UPDATE_SCENES = "mutation($i:BulkSceneUpdateInput!){bulkSceneUpdate(input:$i){id}}"
FIND_IDS = (
    "query($f:FindFilterType,$s:SceneFilterType,$i:[ID!])"
    "{findScenes(filter:$f,scene_filter:$s,ids:$i){count scenes{id}}}"
)
SCAN = "mutation($i:ScanMetadataInput!){metadataScan(input:$i)}"
GENERATE = "mutation($i:GenerateMetadataInput!){metadataGenerate(input:$i)}"
FIND_JOB = (
    "query($id:ID!){findJob(input:{id:$id})"
    "{id status progress subTasks description addTime startTime endTime error}}"
)
SCENES = (
    '{findScenes(filter:{per_page:-1,sort:"id"}){scenes{id updated_at '
    "files{id path size updated_at fingerprints{type value}} "
    "paths{screenshot preview webp sprite vtt} captions{language_code caption_type}}}}"
)
ALL_MEDIA = {
    "covers": True,
    "previews": True,
    "imagePreviews": True,
    "sprites": True,
    "phashes": True,
}
"""Everything that can be made of a scene by itself."""


@contextmanager
def asking(url: str) -> Iterator[Ask]:
    """Open a connection to the server at `url`."""
    with httpx.Client(
        base_url=url.removesuffix("/graphql"),
        verify=NO_CERTIFICATES,
        trust_env=False,
        timeout=PATIENCE_SECONDS,
    ) as client:

        def send(query: str, **variables: Any) -> dict[str, Any]:
            content = {"query": query, "variables": variables}
            answer: dict[str, Any] = client.post("/graphql", json=content).json()
            return answer

        yield send


def until_stopped(job: Job) -> None:
    """Hold an item until somebody asks Stash to stop its job."""
    until(job.stopped)(job)


def generating_until_stopped(job: Job) -> None:
    """Hold a generate job alone until somebody asks Stash to stop it."""
    if job.description == "Generating...":
        until_stopped(job)


def until(event: threading.Event) -> Callable[[Job], None]:
    """Hold each item until the event."""

    def hold(job: Job) -> None:
        while not event.is_set():
            job.pause(0.02)

    return hold


class Stash:
    """A stand-in with short ways to what these tests do over and over."""

    def __init__(self, server: StandIn, ask: Ask) -> None:
        self.server = server
        self.ask = ask

    def start(self, mutation: str, **given: Any) -> str:
        """Start a job; return its id."""
        (job_id,) = self.ask(mutation, i=given)["data"].values()
        return str(job_id)

    def job(self, job_id: str) -> Any:
        """Return a job as the API shows it."""
        return self.ask(FIND_JOB, id=job_id)["data"]["findJob"]

    def finished(self, mutation: str, **given: Any) -> Any:
        """Run a job to its end."""
        job_id = self.start(mutation, **given)
        self.server.jobs.wait()
        return self.job(job_id)

    def scan(self, **given: Any) -> Any:
        """Scan, a minute later than whatever was before."""
        self.server.clock.offset += timedelta(minutes=1)
        return self.finished(SCAN, **given)

    def clean(self) -> None:
        """Remove what is gone."""
        self.ask("mutation{metadataClean(input:{dryRun:false})}")
        self.server.jobs.wait()

    def generate(self, **given: Any) -> Any:
        """Generate, a minute later than whatever was before."""
        self.server.clock.offset += timedelta(minutes=1)
        return self.finished(GENERATE, **given)

    def scenes(self) -> list[dict[str, Any]]:
        """Return all scenes."""
        scenes: list[dict[str, Any]] = self.ask(SCENES)["data"]["findScenes"]["scenes"]
        return scenes

    def logs(self) -> str:
        """Return the messages of the log."""
        entries = self.ask("{logs{message}}")["data"]["logs"]
        return "\n".join(entry["message"] for entry in entries)


def add_scenes(ask: Ask, count: int) -> list[str]:
    """Create scenes without files; return their ids."""
    query = 'mutation{sceneCreate(input:{title:"made"}){id}}'
    return [ask(query)["data"]["sceneCreate"]["id"] for _ in range(count)]


def found(ask: Ask, **arguments: Any) -> list[str]:
    """Return the ids that `findScenes` answers."""
    answer = ask(FIND_IDS, **arguments)
    return [scene["id"] for scene in answer["data"]["findScenes"]["scenes"]]


def message(answer: dict[str, Any]) -> str:
    """Return the one error of an answer."""
    (error,) = answer["errors"]
    return str(error["message"])


def new_scene(stand_in: StandIn, title: str) -> int:
    query = "mutation($input: SceneCreateInput!) { sceneCreate(input: $input) { id } }"
    answer = loopback.post(
        f"{stand_in.url}/graphql",
        json={"query": query, "variables": {"input": {"title": title}}},
    )
    return int(answer.json()["data"]["sceneCreate"]["id"])


def a_plan(database: Database, scene_ids: list[int]) -> int:
    common = (
        add_member("tags", None, "Fresh", 0.9, "test", {}),
        set_text("details", "", "Clean.", 0.9, "test", {}),
        add_marker(None, "Fresh", 1.0, None, 0.9, "test", {}),
    )
    parities = [
        add_member("tags", None, name, 0.9, "test", {}) for name in ("Even", "Odd")
    ]
    proposals = {
        scene_id: [*common, parities[number % 2]]
        for number, scene_id in enumerate(scene_ids)
    }
    return plan_of(database, proposals)
