"""Answers of a text model and of a stash-box that neither gives: no lasting harm."""

import json
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from sandbox.stash.scraping import Box
from sandbox.stash.server import StandIn
from sandbox.stash_box import StashBox, named, scene
from sandbox.text_model import TextStandIn
from stashhog_core.db.models import (
    AnalysisPlan,
    Performer,
    PlanChange,
    Scene,
    SceneFile,
    Studio,
    Tag,
    TaggerResult,
)
from stashhog_core.db.session import Database
from stashhog_core.detection.job import analyze
from stashhog_core.errors import StashHogError
from stashhog_core.params import AnalysisParams
from stashhog_core.plans.plans import plan_changes
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult
from stashhog_core.settings import Settings, StashSettings, TextModelSettings
from stashhog_core.stash.client import StashClient
from tests.support import sync
from tests.support.creating import all_scenes
from tests.support.fuzzing import LyingOnce, check_sentence, many, mutated
from tests.support.plans import Reader, add_scenes, run
from tests.support.proxy import proxy_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

KINDS = {"performers": Performer, "studio": Studio, "tags": Tag}
STAMP = "2026-01-01T00:00:00Z"
PHASHES = ("9e3779b97f4a7c15", "3c6ef372fe94f82a", "daa66d2c7ddf743f")
FIELDS = ("title", "code", "details", "director", "studio_id")


def known(database: Database) -> list[list[Any]]:
    """Return what the mirror has of scenes and names, which no detector changes."""
    with database.transaction() as session:
        named_rows = [
            [(row.id, row.name) for row in session.scalars(select(of).order_by(of.id))]
            for of in KINDS.values()
        ]
        scenes = session.scalars(select(Scene).order_by(Scene.id))
        return [
            *named_rows,
            [tuple(getattr(row, name) for name in FIELDS) for row in scenes],
        ]


def found(database: Database) -> list[tuple[int, str, float]]:
    """Return scene, words and confidence of all changes; none is more than proposed."""
    with database.transaction() as session:
        rows = [
            change
            for plan_id in session.scalars(select(AnalysisPlan.id))
            for change in plan_changes(session, plan_id)
        ]
        assert {row.state for row in rows} <= {"pending"}
        assert all(0 < row.confidence <= 1 for row in rows)
        return sorted((row.scene_id, row.in_words, row.confidence) for row in rows)


def forget(database: Database) -> None:
    """Have nothing been analyzed, so that the next run asks anew."""
    with database.transaction() as session:
        session.execute(update(Scene).values(video_analyzed=False, analyzed=False))
        session.execute(delete(TaggerResult))
        session.execute(delete(AnalysisPlan))


def check_errors(result: AnalysisResult) -> list[object]:
    """Return the errors of single scenes, each one sentence."""
    for error in result.errors:
        assert error.reason
        assert "\n" not in error.reason
        assert "Traceback" not in error.reason
    return list(result.errors)


def says_otherwise(chance: Random, answer: Any) -> Any:
    """Return a text model's answer changed in itself, or in what the model says."""
    if chance.random() < 0.4:
        return mutated(chance, answer)
    message = answer["choices"][0]["message"]
    text = message["content"]
    if chance.random() < 0.8:
        text = json.dumps(mutated(chance, json.loads(text)))
    else:
        text = text[: chance.randrange(len(text))]
    (choice,) = answer["choices"]
    return {**answer, "choices": [{**choice, "message": {**message, "content": text}}]}


def test_no_answer_of_a_text_model_does_lasting_harm(database: Database) -> None:
    """Only names of the library are proposed, and the next run finds what is right."""
    add_scenes(database)
    with database.transaction() as session:
        for number in (1, 2, 3):
            path = f"/data/Golden Hour/jade kush at the beach {number}.mp4"
            session.execute(
                update(SceneFile).where(SceneFile.scene_id == number).values(path=path)
            )
    noticed: list[object] = []
    with TextStandIn() as server, proxy_of(server.url.removesuffix("/v1")) as proxy:
        text_model = TextModelSettings(
            base_url=f"{proxy.url}/v1", model="small", retries=0
        )
        analyze_texts = partial(
            run,
            database,
            Reader({}),
            settings=Settings(text_model=text_model),
            detect_performers=True,
            detect_studios=True,
            confidence_threshold=0.0,
        )
        analyze_texts()
        truth, before = found(database), known(database)
        assert "text_model" in detectors(database)

        @given(seed=st.integers(0, 2**32), at=st.integers(1, 3))
        @many
        def check(seed: int, at: int) -> None:
            forget(database)
            proxy.change = LyingOnce(seed, at, says_otherwise)
            try:
                noticed.extend(check_errors(analyze_texts()))
            except StashHogError as error:
                check_sentence(error)
                noticed.append(error)
            found(database)
            check_names(database)
            assert known(database) == before
            proxy.change = bytes
            forget(database)

            analyze_texts()

            assert found(database) == truth

        check()
    assert noticed, "no changed answer reached the product"


def detectors(database: Database) -> set[str]:
    """Return who has proposed something."""
    with database.transaction() as session:
        return set(session.scalars(select(PlanChange.detector)))


def check_names(database: Database) -> None:
    """Check that a text model has proposed only what the library has."""
    with database.transaction() as session:
        changes = session.scalars(
            select(PlanChange).where(PlanChange.detector == "text_model")
        )
        for change in changes:
            row = session.get(KINDS[change.field], change.proposed["id"])
            assert row is not None
            assert row.name == change.proposed["name"]


def is_of_box(answer: Any) -> bool:
    """Tell whether an answer of Stash passes on what a stash-box has said."""
    return "remote_site_id" in json.dumps(answer)


def add_scene(server: StandIn, number: int) -> None:
    """Add a scene with one file, whose perceptual hash a stash-box knows."""
    stamps = {"created_at": STAMP, "updated_at": STAMP}
    with server.store.transaction() as writer:
        scene_id = writer.insert("scenes", stamps)
        path = str(server.library / f"{number}.mp4")
        facts = {"path": path, "basename": f"{number}.mp4", "duration": 61.0, "size": 1}
        codecs = {"video_codec": "h264", "audio_codec": "aac", "format": "mp4"}
        picture = {"width": 640, "height": 360, "frame_rate": 25.0, "bit_rate": 1}
        row = {**facts, **codecs, **picture, **stamps, "mod_time": STAMP}
        file_id = writer.insert("files", row)
        writer.insert(
            "scenes_files", {"scene_id": scene_id, "file_id": file_id, "position": 0}
        )
        hashes = {"oshash": f"{number:016x}", "phash": PHASHES[number]}
        for kind, value in hashes.items():
            writer.insert(
                "fingerprints", {"file_id": file_id, "type": kind, "value": value}
            )


def remote(number: int) -> dict[str, Any]:
    """Return a scene of the stash-box with something in every field."""
    return scene(
        f"Morning {number}",
        fingerprints=[("PHASH", PHASHES[number], 61)],
        date="2023-04-05",
        code=f"BH-{number}",
        details="A morning.",
        director="Dora Example",
        urls=[f"https://films.example/{number}"],
        studio=named("Blue Harbor"),
        performers=[named("Ada Winter"), named("Somebody New")],
        tags=[named("Outdoor")],
    )


def test_no_answer_of_a_stash_box_does_lasting_harm(
    stand_in: StandIn, database: Database
) -> None:
    """Nothing changes but proposals, and the next run proposes what is right."""
    for number in range(len(PHASHES)):
        add_scene(stand_in, number)
    with stand_in.store.transaction() as writer:
        stamps = {"created_at": STAMP, "updated_at": STAMP}
        for table, name in (
            ("studios", "Blue Harbor"),
            ("performers", "Ada Winter"),
            ("tags", "Outdoor"),
        ):
            writer.insert(table, {"name": name, **stamps})
    noticed: list[object] = []
    with StashBox() as box, proxy_of(stand_in.url) as proxy:
        stand_in.boxes.append(Box(box.endpoint, box.api_key, "box"))
        box.scenes = [remote(number) for number in range(len(PHASHES))]
        settings = StashSettings(url=proxy.url)
        with StashClient(settings, retry_delays_seconds=()) as client:
            sync.run(client, database)
            identify = partial(
                analyze,
                Settings(),
                client,
                database,
                AnalysisParams(
                    detect_fingerprints=True,
                    detect_video_tags=False,
                    detect_tags=False,
                    include_analyzed=True,
                ),
                Progress(),
                run_id="run",
            )
            identify()
            truth, before = found(database), known(database)
            library = all_scenes(client)
            assert len(truth) >= 10 * len(PHASHES)

            @given(seed=st.integers(0, 2**32))
            @many
            def check(seed: int) -> None:
                forget(database)
                lie = LyingOnce(seed, 1, is_meant=is_of_box)
                proxy.change = lie
                try:
                    noticed.extend(check_errors(identify()))
                except StashHogError as error:
                    check_sentence(error)
                    noticed.append(error)
                proxy.change = bytes
                assert lie.left == 0, "Stash was not asked"
                found(database)
                assert known(database) == before
                assert all_scenes(client) == library
                forget(database)

                identify()

                assert found(database) == truth

            check()
    assert noticed, "no changed answer reached the product"
