"""Analysis: applying plans, keeping an AI server busy, plan writing."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
from sqlalchemy import event

from benchmarks.measurement import Measurement
from sandbox.ai_server import AiStandIn
from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.detection.ai_server import AiServer
from stashhog_core.detection.readers import read_all
from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts
from stashhog_core.media import frames
from stashhog_core.params import ApplyPlanParams
from stashhog_core.plans import writer as plan_writing
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.proposals import add_member
from stashhog_core.progress import Progress
from stashhog_core.settings import AiServerSettings
from tests.support.fake_stash import FakeStash

SCENES, TAGS = 1000, 5
CAPACITY, VIDEOS, VIDEO_SECONDS = 4, 80, 0.5


def measure() -> list[Measurement]:
    """Measure each part."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        url = start_embedded(home / "home", "bench")
        database = Database(url)
        try:
            migrate(database)
            return [
                _statements(database),
                _requests(database),
                _busy(),
                _frames(home),
                _vp9(home),
            ]
        finally:
            database.close()
            stop_embedded(home / "home")


def _requests(database: Database) -> Measurement:
    """Count the requests of one plan, five tags of seven for each scene."""
    tags = [add_member("tags", None, f"Tag {n}", 0.9, "bench", {}) for n in range(7)]
    with database.transaction() as session:
        plan = AnalysisPlan(name="Bench", state="draft")
        session.add(plan)
        session.flush()
        plan_id = plan.id
        session.add_all(
            PlanChange(
                plan_id=plan_id,
                scene_id=scene_id,
                state="approved",
                **tags[(scene_id + step * (1 + scene_id % 2)) % 7].row,
            )
            for scene_id in range(1, SCENES + 1)
            for step in range(TAGS)
        )
    stash = FakeStash(scenes=range(1, SCENES + 1))
    result = apply_plan(
        stash,
        database,
        ApplyPlanParams(plan_id=plan_id),
        Progress(),
        create_missing_tags=True,
    )
    assert result.applied == SCENES * TAGS
    requests = len(stash.asked("writes", "scenes"))
    return Measurement(
        "plan apply: changes per request", result.applied / requests, "x", 20, "min"
    )


def _statements(database: Database) -> Measurement:
    """Count the statements that store a batch of a hundred scenes."""
    proposals = {
        scene_id: [
            add_member("tags", None, f"Tag {number}", 0.9, "bench", {})
            for number in range(20)
        ]
        for scene_id in range(1, 101)
    }
    counted = 0

    def count(*_: object) -> None:
        nonlocal counted
        counted += 1

    event.listen(database.engine, "before_cursor_execute", count)
    options = plan_writing.PlanOptions("Bench", "run", {}, auto_approve=False)
    with plan_writing.PlanWriter(database, options, dict) as plan:
        plan.save(proposals, lambda session: None)
    event.remove(database.engine, "before_cursor_execute", count)
    return Measurement("plan writing: statements a batch", counted, "", 10, "max")


def _scene(number: int, path: str) -> SceneFacts:
    file = PrimaryFile(path, 60.0, 640, 360, 25.0, "h264", "aac", None)
    return SceneFacts(id=number, file=file)


def _busy() -> Measurement:
    """Give a server with four places work, and see how much of them is used."""
    with AiStandIn(CAPACITY) as ai:
        ai.seconds = VIDEO_SECONDS
        ai.videos = {f"/{number}.mp4": {} for number in range(VIDEOS)}
        settings = AiServerSettings(
            url=ai.url, interface="v3", parallel_requests=CAPACITY
        )
        with AiServer(settings) as server:
            server.model_set()
            scenes = [
                (_scene(number, path), None) for number, path in enumerate(ai.videos)
            ]
            started = time.perf_counter()
            answered = sum(
                result.output is not None
                for result in read_all(server, scenes, Progress())
            )
            passed = time.perf_counter() - started
        assert answered == VIDEOS
        share = ai.busy_seconds / (CAPACITY * passed)
    return Measurement("AI step: server busy", share, "", 0.95, "min")


def _frames(home: Path) -> Measurement:
    """Sample the keyframes of a video, against decoding them and nothing else."""
    path = home / "video.mp4"
    _write_detailed_video(path, frames.PICTURES_PER_WINDOW)

    def bare() -> None:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.skip_frame = "NONKEY"
            for _ in container.decode(stream):
                pass

    assert len(frames.end_stills(path).stills) == frames.PICTURES_PER_WINDOW
    # Processor time: a second core, and whoever else uses it, makes the clock's a
    # matter of luck. In turn, so that what disturbs one disturbs the other.
    pairs = [
        (
            _processor_seconds(lambda: frames.end_stills(path)),
            _processor_seconds(bare),
        )
        for _ in range(15)
    ]
    ours, yard = (min(times) for times in zip(*pairs, strict=True))
    return Measurement(
        "frame sampling by bare decode, processor time", ours / yard, "x", 1.3, "max"
    )


def _vp9(home: Path) -> Measurement:
    """Sample an hour of VP9, against an hour of H.264 with the same keyframes."""
    paths = [home / "hour.webm", home / "hour.mp4"]
    for path, codec in zip(paths, ("libvpx-vp9", "libx264"), strict=True):
        _write_hour(path, codec)
    pairs = [
        [_processor_seconds(partial(_whole, path)) for path in paths] for _ in range(5)
    ]
    vp9, h264 = (min(times) for times in zip(*pairs, strict=True))
    return Measurement(
        "frame sampling: an hour of VP9 by H.264, processor time",
        vp9 / h264,
        "x",
        3,
        "max",
    )


def _whole(path: Path) -> list[frames.Still]:
    return list(frames.spaced_stills(path, 10, (320, 180)))


def _write_hour(path: Path, codec: str) -> None:
    """Write an hour at five small pictures a second, with a keyframe each ten."""
    random = np.random.default_rng(3)
    moving = random.integers(0, 255, (180, 640, 3), dtype=np.uint8)
    options = {
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
        "libx264": {"preset": "ultrafast", "x264-params": "scenecut=0"},
    }
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.codec_context.gop_size = 50
        stream.options = options[codec]
        for number in range(3600 * 5):
            left = number % 320
            picture = np.ascontiguousarray(moving[:, left : left + 320])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _processor_seconds(work: Callable[[], object]) -> float:
    """Return how long all threads of this process together work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _write_detailed_video(path: Path, pictures: int) -> None:
    """Write keyframes of 1080p with a camera's detail: 300 to 400 KB each.

    Their distance changes, so that none is passed over.
    """
    grain = np.random.default_rng(7)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.gop_size = 1
        stream.options = {"crf": "26", "preset": "ultrafast"}
        for number in range(pictures):
            coarse = grain.integers(0, 255, (135, 240, 3), dtype=np.uint8)
            picture = coarse.repeat(8, axis=0).repeat(8, axis=1).astype(np.int16)
            picture += grain.integers(-12, 12, picture.shape, dtype=np.int16)
            frame = av.VideoFrame.from_ndarray(
                picture.clip(0, 255).astype(np.uint8), format="rgb24"
            )
            frame.pts = number * 2 + number % 2
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
