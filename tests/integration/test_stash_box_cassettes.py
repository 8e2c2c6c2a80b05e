"""The client against what a real Stash (v0.30.1) once answered of a stash-box.

The cassette replays without a server. To record it anew, delete it, start a fresh Stash
on this machine with an empty library, set STASHHOG_TEST_RECORD_URL and
STASHHOG_TEST_STASH_LIBRARY, and run this file once. Stash then asks the sandbox's
stash-box on loopback; no key is kept.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sandbox.stash_box import StashBox, named, remote_id, scene
from stashhog_core.errors import ConfigurationError, Deferred, ItemError, StashHogError
from stashhog_core.hashing import oshash
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.cassettes import recorder
from tests.support.media import write_video
from tests.support.stand_in import FIND_JOB, SCAN, asking
from tests.support.waiting import wait_until

ADDRESS = "http://127.0.0.1:9999"
PORT = 9998
ENDPOINT = f"http://127.0.0.1:{PORT}/graphql"
CONFIGURE = (
    "mutation($boxes:[StashBoxInput!]){configureGeneral(input:{stashBoxes:$boxes})"
    "{stashBoxes{endpoint}}}"
)

recording_url = os.environ.get("STASHHOG_TEST_RECORD_URL")
RECORDER = recorder(ADDRESS, {"content-type"}, recording_url)
REFUSED = {"errors": [{"message": "Not authorized"}], "data": None}
FAILURES: dict[str, tuple[Response, type[StashHogError], str]] = {
    "500": (PlainTextResponse("broken", 500), ItemError, "The stash-box failed"),
    "429": (PlainTextResponse("slow down", 429), Deferred, "limits requests"),
    "401": (PlainTextResponse("no", 401), ConfigurationError, "refuses the API key"),
    "errors": (JSONResponse(REFUSED), ConfigurationError, "refuses the API key"),
    "page": (PlainTextResponse("<html>"), Deferred, "does not answer as a stash-box"),
}
"""What the stash-box answers, the error it becomes, and words of that."""


class Recording:
    """The stash-box while a cassette is recorded; nothing while it is played."""

    def __init__(self, box: StashBox | None) -> None:
        self._box = box

    def answer(self, response: Response | None) -> None:
        """Have the stash-box answer this from now on; None: what it knows."""
        if self._box is not None:
            self._box.fault = lambda operation, variables: response


@contextmanager
def playing(name: str) -> Iterator[tuple[StashClient, Recording]]:
    """Open a cassette, with a client that meets its answers; all must be used."""
    with ExitStack() as stack:
        box = stack.enter_context(_recorded_box()) if recording_url else None
        cassette = stack.enter_context(RECORDER.use_cassette(name))
        settings = StashSettings(url=recording_url or ADDRESS)
        client = stack.enter_context(StashClient(settings))
        yield client, Recording(box)
        assert recording_url or cassette.all_played


@contextmanager
def _recorded_box() -> Iterator[StashBox]:
    """Have Stash scan two videos and ask a stash-box that knows the first."""
    assert recording_url is not None
    library = Path(os.environ["STASHHOG_TEST_STASH_LIBRARY"])
    paths = [library / "one.mp4", library / "two.mp4"]
    for seed, path in enumerate(paths):
        if not path.exists():
            write_video(path, seconds=4, seed=seed)
    with asking(recording_url) as ask, StashBox(port=PORT) as box:
        for path in paths:
            job = ask(SCAN, i={"paths": [str(path.parent)]})["data"]["metadataScan"]
            wait_until(
                lambda job=job: (
                    ask(FIND_JOB, id=job)["data"]["findJob"]["status"] == "FINISHED"
                ),
                "the end of the scan",
            )
        given = {"endpoint": box.endpoint, "api_key": box.api_key, "name": "box"}
        ask(CONFIGURE, boxes=[given])
        box.scenes = [_remote(oshash(paths[0]))]
        yield box


def _remote(oshash_: str) -> dict[str, Any]:
    studio = named("Example Films", urls=[], images=[], aliases=[], parent=None)
    return scene(
        "A title",
        fingerprints=[("OSHASH", oshash_, 4)],
        duration=4,
        code="C-1",
        date="2023-04",
        details="Text.",
        director="Dora Example",
        urls=["https://films.example/1"],
        studio=studio,
        performers=[named("Nina North", disambiguation="the first")],
        tags=[named("Outdoor")],
    )


def test_what_a_stash_box_knows_is_read() -> None:
    """One list for each scene, in the order asked, with the ids at the stash-box."""
    with playing("stash_box") as (stash, _):
        assert stash.stash_boxes() == [ENDPOINT]
        nothing, (found,) = stash.scrape_scenes(ENDPOINT, [2, 1], timeout_seconds=60)

    assert nothing == ()
    assert (found.title, found.code, found.date) == ("A title", "C-1", "2023-04")
    assert (found.details, found.director) == ("Text.", "Dora Example")
    assert (found.urls, found.duration) == (("https://films.example/1",), 4)
    assert found.remote_site_id == remote_id("A title")
    (fingerprint,) = found.fingerprints or ()
    assert (fingerprint.algorithm, fingerprint.duration) == ("OSHASH", 4)
    assert found.studio is not None
    assert found.studio.remote_site_id == remote_id("Example Films")
    (performer,) = found.performers or ()
    assert (performer.name, performer.disambiguation) == ("Nina North", "the first")
    (tag,) = found.tags or ()
    assert (tag.name, tag.remote_site_id) == ("Outdoor", remote_id("Outdoor"))


@pytest.mark.parametrize("name", FAILURES)
def test_failures_at_a_stash_box_differ(name: str) -> None:
    """A scene to blame, a key to correct, or an outage to wait for."""
    response, kind, words = FAILURES[name]
    with playing(f"stash_box_{name}") as (stash, recording):
        recording.answer(response)

        with pytest.raises(kind) as caught:
            stash.scrape_scenes(ENDPOINT, [1], timeout_seconds=60)

    assert words in str(caught.value)


def test_a_stash_box_that_stash_does_not_know() -> None:
    """Stash says so before anything is asked."""
    with (
        playing("stash_box_unknown") as (stash, _),
        pytest.raises(ConfigurationError, match="Stash knows no stash-box"),
    ):
        stash.scrape_scenes("http://unknown.example/graphql", [1], timeout_seconds=60)
