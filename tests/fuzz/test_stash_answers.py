"""Answers of Stash that no Stash gives: no wrong row outlives the next good sync."""

import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from sandbox.stash.server import StandIn
from sandbox.stash.synthetic import fill
from stashhog_core.db.models import Scene
from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError
from stashhog_core.params import VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.verify import verify_mirror
from tests.support.fuzzing import check_sentence, many, mutated
from tests.support.sync import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

SCENES = 12
KINDS: list[dict[str, Any]] = [{}, {"force": True}, {"deep": True}]


class Mutating(httpx.HTTPTransport):
    """Changes the data of the `at`-th answer by `change`, once."""

    def __init__(self) -> None:
        super().__init__(verify=False)
        self.at = 0
        self.change: Any = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request."""
        response = super().handle_request(request)
        self.at -= 1
        if self.at:
            return response
        answer = json.loads(response.read())
        return httpx.Response(200, text=json.dumps(self.change(answer)))


def test_no_answer_does_lasting_harm(database: Database, tmp_path: Path) -> None:
    """A sync that was lied to succeeds or says in a sentence why not.

    After the next good one the mirror is Stash's, and what only the mirror has, such as
    the marks of analyzed scenes, has stayed.
    """
    library = tmp_path / "library"
    library.mkdir()
    transport = Mutating()
    with (
        StandIn(tmp_path / "stash", library) as server,
        StashClient(
            StashSettings(url=server.url), transport, retry_delays_seconds=()
        ) as client,
    ):
        fill(server.store, SCENES, library)
        run(client, database)
        with database.transaction() as session:
            session.execute(update(Scene).values(video_analyzed=True))

        @given(
            seed=st.integers(0, 2**32),
            at=st.integers(1, 12),
            kind=st.sampled_from(KINDS),
        )
        @many
        def check(seed: int, at: int, kind: dict[str, Any]) -> None:
            transport.change, transport.at = partial(changed, Random(seed)), at
            try:
                run(client, database, **kind)
            except StashHogError as error:
                check_sentence(error)
            transport.at = 0

            run(client, database, force=True, deep=True)

            found = verify_mirror(
                client, database, VerifyMirrorParams(scenes=SCENES), Progress()
            )
            assert not found.differences, found
            with database.transaction() as session:
                analyzed = select(func.count()).where(Scene.video_analyzed)
                assert session.scalar(analyzed) == SCENES

        check()


def changed(chance: Random, answer: Any) -> Any:
    """Return an answer with something else in it, most often in its data."""
    if chance.random() < 0.8 and isinstance(answer.get("data"), dict):
        return {**answer, "data": mutated(chance, answer["data"])}
    return mutated(chance, answer)
