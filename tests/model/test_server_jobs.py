"""Histories of scan, sync and generate: two runs, a person, a Stash that restarts.

Whatever the order, no scene is marked as generated whose media Stash has not made, no
work is started twice while a job of it runs, no job of anybody else is stopped, and one
undisturbed run puts everything right.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import httpx
import pytest
from hypothesis import note
from hypothesis.stateful import invariant

from sandbox.samples import Encoding, write_video
from sandbox.stash.server import StandIn
from stashhog_core.cleanup.dead_runs import reconcile_dead_runs
from stashhog_core.cleanup.findings import Findings
from stashhog_core.db.session import Database
from stashhog_core.params import (
    StashGenerateParams,
    StashScanParams,
    VerifyMirrorParams,
)
from stashhog_core.progress import Progress
from stashhog_core.server_jobs.generate import generate
from stashhog_core.server_jobs.scan import scan
from stashhog_core.server_jobs.tracking import reconcile_cancelled
from stashhog_core.settings import DatabaseSettings, Settings, StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.comparison import ListingRule
from stashhog_core.sync.mirror import scene_differences
from stashhog_core.sync.verify import verify_mirror
from tests.support import sync
from tests.support.creating import all_scenes
from tests.support.disturbed import Trouble, wait_for_locks
from tests.support.histories import EDITS, Editor, RefusedEditError, fill
from tests.support.model_checking import Begun, History, World, draw
from tests.support.stand_in import GENERATE, SCAN
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.working_stash import Worker, files, lacks_media

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

TROUBLES: tuple[Trouble, ...] = (
    *("killed", "killed", "killed", "killed", "paused", "paused", "paused"),
    *("lock lost", "Ctrl-C", "Ctrl-C", "restarted", "away"),
    *("lost", "interrupted", "interrupted", "not sent", "refused", ""),
)
OF_REQUESTS = {"lost", "interrupted", "not sent", "refused"}
STEPS = {"scan": 16, "sync": 28, "generate": 24}
"""About so many steps does a run of a job make that has something to do."""

AFTER = (1, 2, 3, 5, 8)
ALL = 10_000
"""More items than Stash's jobs have."""

VIDEO = Encoding(width=64, height=48, rate=1, seconds=52, audio=None)
# These wait for jobs of Stash, or move times far into the future.
_LEFT_OUT = {
    *("add_file", "add_copy_of_file", "move_file", "rename_folder", "replace_file"),
    *("scan_again", "remove_file_and_clean", "give_a_scene_a_time_in_the_future"),
}
FREE_EDITS = sorted(EDITS.keys() - _LEFT_OUT)
SCENE_EDITS = (
    *("create_scene", "destroy_scene", "destroy_scenes", "create_marker"),
    *("create_marker", "destroy_marker", "move_marker_in_time", "scene: title"),
)
EACH_ITS_OWN = httpx.Limits(max_keepalive_connections=0)
"""Each request has a connection of its own."""

CLEAN = "mutation($i:CleanMetadataInput!){metadataClean(input:$i)}"
STOP = "mutation($i:ID!){stopJob(job_id:$i)}"
QUEUE = "{jobQueue{id}}"


@dataclass(frozen=True)
class Started:
    """A job of Stash that one of our runs has started."""

    run_id: str
    kind: str
    scene_ids: frozenset[int]


@dataclass(kw_only=True)
class JobRun(Begun):
    """A run of a job.

    Attributes:
        restarts: How often Stash had started again when the run began.
        is_clicked: Whether a cancellation comes by a click, so that others know of it.
    """

    job: str
    run_id: str
    restarts: int
    is_clicked: bool = False


@dataclass
class Mark:
    """What the mirror knows of a scene's media."""

    generated: bool
    oshash: str | None
    markers: list[float] = field(default_factory=list)


class ScanSyncGenerate(History[JobRun]):
    """A few videos, two runs, a person, a Stash that restarts, and every trouble."""

    video: bytes
    filled: Path
    """Folders of a Stash that has something of everything."""

    def __init__(self) -> None:
        super().__init__()
        self._fill_stash()
        self.worker = Worker(self.stand_in)
        self.stand_in.faults.on_item = self.worker.hold
        self.settings = StashSettings(
            url=self.stand_in.url,
            scan_paths=(str(self.stand_in.library),),
            poll_interval_seconds=0.001,
            outage_limit_seconds=0,
            websocket=False,
        )
        self.passed = timedelta()
        self.restarts = 0
        self.started: dict[tuple[int, int], Started] = {}
        """Restarts of Stash, id of a job → what our runs have started."""
        self.finished: set[tuple[int, int]] = set()
        """Those of them that have ended well."""
        self.unsure: set[int] = set()
        """Numbers of those of which no run has seen when Stash took them."""
        self.run_ids = 0
        self.repeatable: list[tuple[str, str]] = []
        """Job and id of runs that may be tried again."""
        self.cancelled: set[str] = set()
        """Runs that somebody has asked Prefect to cancel."""
        self.marks: dict[int, Mark] = {}
        self.is_idle_last = False
        """Whether Stash has done all its jobs when the undisturbed runs begin."""

    def _fill_stash(self) -> None:
        stand_in = self.stand_in
        stand_in.stop()
        for folder in (stand_in.home, stand_in.library):
            shutil.rmtree(folder)
            shutil.copytree(self.filled / folder.name, folder)
        stand_in.clock.offset = timedelta(days=30)
        stand_in.start()

    def set_up(self, chance: Random) -> None:
        """Have some videos in Stash, mirrored or not."""
        self.person = httpx.Client(
            base_url=self.stand_in.url,
            trust_env=False,
            timeout=PATIENCE_SECONDS,
            limits=EACH_ITS_OWN,
        )
        folder = self.stand_in.library
        self.editor = Editor(
            self.person, chance, folder, self.video, server=self.stand_in
        )
        self.is_idle_last = chance.random() < 0.5
        if chance.random() < 0.8:
            self._mirror()

    # --- runs --------------------------------------------------------------------

    def _begin(
        self,
        job: str,
        run_id: str,
        work: Callable[..., Any],
        chance: Random | None,
    ) -> JobRun:
        """Begin a run on a free database; without chance nothing disturbs it."""
        run = self.new_run(counts_reads=True)
        begun = JobRun(
            run=run,
            holds=frozenset({job}),
            job=job,
            run_id=run_id,
            restarts=self.restarts,
        )
        if chance is not None:
            run.trouble, run.at = chance.choice(TROUBLES), 1
            # Most runs make one request that changes something.
            if run.trouble not in OF_REQUESTS or chance.random() < 0.2:
                run.at = chance.randint(1, STEPS[job])
            if chance.random() < 0.4:
                run.then = chance.choice(TROUBLES), chance.choice(AFTER)
            begun.is_clicked = chance.random() < 0.5
        note(f"{job} {run_id}")
        run.on_change = partial(self._has_changed, begun)
        run.on_commit = partial(self.has_written, begun)
        if chance is not None:
            run.restart_stash = partial(self.restart_stash, chance)
        self.seen[job] += 1
        self.start(begun, partial(work, run_id=run_id))
        return begun

    def ended(self, begun: JobRun) -> None:
        """Judge a run that has ended."""
        super().ended(begun)
        error = begun.run.error
        if isinstance(error, KeyboardInterrupt):
            if begun.is_clicked:
                self.cancelled.add(begun.run_id)
            self._check_stopped(begun)
        self._check_noted(begun)
        if error is not None and begun.run_id not in self.cancelled:
            self.repeatable.append((begun.job, begun.run_id))

    def _check_noted(self, begun: JobRun) -> None:
        """See that a run that has lived noted all that it had Stash start."""
        happened = begun.run.happened
        # After a second trouble it could not look into Stash's queue, or not note it.
        if len(happened) > 1 or set(happened) - {*OF_REQUESTS, "Ctrl-C"}:
            return
        if begun.restarts != self.restarts:
            return
        live = self._live()
        unnoted = [
            number
            for (restarts, number), job in self.started.items()
            if (restarts, job.run_id) == (self.restarts, begun.run_id)
            and number in live
            and not self._is_noted(number, job)
        ]
        assert unnoted == [], f"{begun.run_id} has not noted {unnoted}"

    def _check_stopped(self, begun: JobRun) -> None:
        """See that a cancelled run has ended its jobs: nobody else answers for them.

        What Stash generates is stopped, and a scan goes on.
        """
        troubles = [trouble for trouble in begun.run.happened if trouble != "paused"]
        # After a second trouble it could not tell Stash, or not note what it did.
        if troubles not in (["Ctrl-C"], ["interrupted"]):
            return
        if begun.restarts != self.restarts:
            return
        rows = self.observer.execute(
            "SELECT stash_job_id, kind, state FROM stash_job WHERE run_id = %s",
            [begun.run_id],
        ).fetchall()
        live = self._live()
        going_on = [
            number
            for number, kind, state in rows
            if state == "open"
            or (kind == "generate" and live.get(number) in ("READY", "RUNNING"))
        ]
        assert going_on == [], f"{begun.run_id} was cancelled, {going_on} go on"
        self.seen["cancelled with jobs"] += bool(rows)

    def time_passes(self, chance: Random) -> None:
        """Let some time pass, or none."""
        self._pass(chance.choice((0, 0, 1, 60)))
        self.editor.random = chance

    def possible_steps(self) -> Mapping[Callable[[Random], None], float]:
        """Return what may happen next."""
        steps: dict[Callable[[Random], None], float] = {
            self.edit: 3,
            self.change_files: 3,
            self.use_stash: 3,
            self.stash_works: 1,
            self.clean_up: 1,
            self.restart_stash: 3,
        }
        if len(self.paused) < 2:
            steps |= {self.run_scan: 2, self.run_sync: 4, self.run_generate: 8}
            if self.repeatable:
                steps[self.run_again] = 6
        if self.paused:
            # What others do meanwhile is what the run does not know of.
            steps |= {self.go_on: 5, self.edit: 6}
        if self.repeatable:
            steps[self.cancel_dead] = 1
        return steps

    def _new_id(self) -> str:
        self.run_ids += 1
        return f"run-{self.run_ids}"

    def run_scan(self, chance: Random) -> None:
        """A run scans."""
        self._begin("scan", self._new_id(), self._scan, chance)

    def run_sync(self, chance: Random) -> None:
        """A run syncs."""
        kinds: list[dict[str, Any]] = [
            {},
            {},
            {"confirm_removals": True},
            {"force": True},
            {"deep": True},
        ]
        work = partial(self._sync, **chance.choice(kinds))
        self._begin("sync", self._new_id(), work, chance)

    def run_generate(self, chance: Random) -> None:
        """A run generates."""
        given: dict[str, Any] = {
            "chunk_size": chance.choice((None, None, 1, 2)),
            "incremental": chance.random() < 0.3,
        }
        if chance.random() < 0.3 and self.marks:
            number = min(len(self.marks), chance.choice((1, 3)))
            given["scene_ids"] = tuple(chance.sample(sorted(self.marks), number))
        work = partial(self._generate, **given)
        self._begin("generate", self._new_id(), work, chance)

    def run_again(self, chance: Random) -> None:
        """What ended badly is started again, most often at once, by a new run or not.

        Another try of a run has the id of the run.
        """
        again = chance.choice((self.repeatable[-1], chance.choice(self.repeatable)))
        job, run_id = again
        if chance.random() < 0.5:
            run_id = self._new_id()
        else:
            self.repeatable.remove(again)
        work = {"scan": self._scan, "sync": self._sync, "generate": self._generate}[job]
        self._begin(job, run_id, work, chance)

    def cancel_dead(self, chance: Random) -> None:
        """Somebody cancels a run that has died; its hook runs or not."""
        again = chance.choice(self.repeatable)
        self.repeatable.remove(again)
        self.cancelled.add(again[1])
        if chance.random() < 0.5:
            with self.client() as client:
                reconcile_cancelled(client, self.database, run_id=again[1])

    def clean_up(self, _: Random) -> None:
        """The clean-up reconciles what dead runs left."""
        findings = Findings()
        reconcile_dead_runs(
            Settings(
                stash=self.settings, database=DatabaseSettings(url=self.world.used.url)
            ),
            self.database,
            findings,
            self._new_id(),
            self.cancelled.__contains__,
        )
        assert findings.errors == []

    # --- Stash, and a person at it -------------------------------------------------

    def _pass(self, seconds: float) -> None:
        self.stand_in.clock.offset += timedelta(seconds=seconds)
        self.passed += timedelta(seconds=seconds)

    def restart_stash(self, chance: Random) -> None:
        """Stash starts again, and forgets its jobs; the person starts new ones."""
        self._keep_ends()
        seen = self.observer.execute(
            "SELECT run_id, stash_job_id FROM stash_job WHERE add_time <> ''"
        ).fetchall()
        self.unsure |= {
            number
            for (restarts, number), job in self.started.items()
            if restarts == self.restarts and (job.run_id, number) not in seen
        }
        self.stand_in.restart()
        self.restarts += 1
        for _ in range(chance.choice((0, 2, 4))):
            self._use_stash(chance)

    def stash_works(self, chance: Random) -> None:
        """Stash's jobs get on."""
        self.worker.work(chance.choice((1, 3, ALL)))

    def use_stash(self, chance: Random) -> None:
        """The person starts or stops jobs in Stash."""
        for _ in range(chance.choice((1, 2, 3))):
            self._use_stash(chance)

    def _use_stash(self, chance: Random) -> None:
        folder = str(self.stand_in.library)
        what = chance.choice(
            ("scan", "generate", "generate", "generate", "clean", "stop")
        )
        if what == "scan":
            self.editor.ask(SCAN, i={"paths": [folder]})
        elif what == "clean":
            self.editor.ask(CLEAN, i={"paths": [folder], "dryRun": False})
        elif what == "stop":
            for job in (self.editor.ask(QUEUE)["jobQueue"] or [])[:1]:
                self.editor.ask(STOP, i=job["id"])
        elif scenes := self.editor.some("scene", 2):
            self.editor.ask(GENERATE, i={"sceneIDs": scenes, "phashes": True})

    def edit(self, chance: Random) -> None:
        """The person edits something in Stash."""
        name = chance.choice((*SCENE_EDITS, chance.choice(FREE_EDITS)))
        with suppress(RefusedEditError):
            EDITS[name](self.editor)
            note(f"edit: {name}")

    def change_files(self, chance: Random) -> None:
        """The person adds, replaces, moves or removes a video."""
        present = self.editor.files()
        what = chance.choice(("add", "add", "replace", "move", "remove"))
        note(f"{what} a file")
        if what == "add" or len(present) < 3:
            self.editor.write_file(
                self.stand_in.library / f"{chance.randrange(10**9)}.mp4"
            )
        elif what == "replace":
            self.editor.write_file(chance.choice(present))
        elif what == "move":
            path = chance.choice(present)
            path.rename(path.with_name(f"moved {chance.randrange(10**9)}.mp4"))
        else:
            chance.choice(present).unlink()

    # --- what the jobs are -----------------------------------------------------------

    def _rule(self) -> ListingRule:
        return ListingRule(
            uptime=lambda: monotonic() + self.passed.total_seconds(),
        )

    def _scan(self, client: StashClient, database: Database, run_id: str) -> Any:
        return scan(
            client,
            database,
            StashScanParams(),
            Progress(),
            run_id=run_id,
            settings=self.settings,
            was_cancelled=self.cancelled.__contains__,
        )

    def _sync(
        self, client: StashClient, database: Database, run_id: str, **params: Any
    ) -> Any:
        return sync.run(client, database, run_id=run_id, listing=self._rule(), **params)

    def _generate(
        self, client: StashClient, database: Database, run_id: str, **params: Any
    ) -> Any:
        return generate(
            client,
            database,
            StashGenerateParams(**params),
            Progress(),
            run_id=run_id,
            settings=self.settings,
            was_cancelled=self.cancelled.__contains__,
        )

    def _mirror(self) -> None:
        self._pass(60)
        with self.client() as client:
            self._sync(client, self.database, self._new_id())

    # --- what must hold ------------------------------------------------------------

    def has_read(self, request: str) -> None:
        """Let Stash's job get on a little each time that somebody asks for it."""
        if request == "FindJob":
            self.worker.work(1)

    def _live(self) -> dict[int, str]:
        """Return the jobs that wait or run in Stash, and their states."""
        return {int(j["id"]): j["status"] for j in self.stand_in.jobs.queue() or []}

    def _keep_ends(self) -> None:
        """Remember which jobs of our runs have ended well: Stash forgets that."""
        for restarts, number in self.started.keys() - self.finished:
            found = self.stand_in.jobs.find(number)
            if restarts == self.restarts and found and found["status"] == "FINISHED":
                self.finished.add((restarts, number))

    def _has_changed(self, begun: JobRun, request: str) -> None:
        """Judge what a run has had Stash do."""
        variables, answer = begun.run.variables, begun.run.answer
        if request != "StopJob":
            self.has_written(begun, request)
        if request == "StopJob":
            key = self.restarts, int(variables["id"])
            stopped = self.started.get(key)
            if stopped is None and key[1] in self.unsure:
                return
            if stopped is None or stopped.kind != "generate":
                self.faults.append(f"{begun.run_id} stopped job {key}: {stopped}")
            return
        self._keep_ends()
        kind = {"StartScan": "scan", "StartGenerate": "generate"}[request]
        given = variables["input"]
        scene_ids = frozenset(int(i) for i in given.get("sceneIDs", ()))
        new = Started(begun.run_id, kind, scene_ids)
        number = int(answer["data"]["answer"])
        for other_id, status in self._live().items():
            other = self.started.get((self.restarts, other_id))
            if other is None or other.kind != kind or status == "STOPPING":
                continue
            if not self._is_noted(other_id, other):
                self.seen["unnoted job"] += 1
                continue
            if kind == "generate" and scene_ids & other.scene_ids:
                self.faults.append(f"{new} while {other} ({other_id}) runs")
            elif kind == "scan" and other.run_id == begun.run_id:
                self.faults.append(f"{new} while its own {other_id} runs")
        self.started[self.restarts, number] = new
        self.seen[f"job {kind}"] += 1

    def _is_noted(self, stash_job_id: int, job: Started) -> bool:
        """Tell whether the run that started a job lived to note it."""
        row = self.observer.execute(
            "SELECT 1 FROM stash_job WHERE stash_job_id = %s AND kind = %s "
            "AND scene_ids <@ %s::bigint[]",
            [stash_job_id, job.kind, sorted(job.scene_ids)],
        ).fetchone()
        return row is not None

    def _mirrored(self) -> dict[int, Mark]:
        rows = self.observer.execute(
            "SELECT id, generated, (SELECT value FROM scene_file f "
            "JOIN scene_fingerprint p USING (scene_id, file_id) "
            "WHERE f.scene_id = scene.id AND position = 0 AND kind = 'oshash'), "
            "ARRAY(SELECT seconds FROM marker WHERE scene_id = scene.id) "
            "FROM scene WHERE missing_since IS NULL"
        )
        return {row[0]: Mark(*row[1:]) for row in rows}

    @invariant()
    def marks_are_true(self) -> None:
        """A scene is marked as generated only if Stash has made all its media."""
        before, self.marks = self.marks, self._mirrored()
        now = files(self.stand_in)
        for scene_id, mark in self.marks.items():
            was = before.get(scene_id)
            if not mark.generated or (was and was.generated):
                continue
            _, oshash = now.get(scene_id, (None, None))
            if oshash is None or oshash != mark.oshash:
                # The person has been at the file since; the next sync takes the mark.
                assert mark.oshash is not None, f"scene {scene_id} has no file"
                continue
            lacking = lacks_media(self.stand_in, scene_id, oshash, mark.markers)
            assert lacking == [], f"scene {scene_id} is marked and lacks {lacking}"
            self.seen["marked"] += 1

    @invariant()
    def noted_ends_are_true(self) -> None:
        """A job is noted as finished only if that job, and no other, has done its work.

        Stash counts from 1 again after a restart: the number may be another job's.
        """
        self._keep_ends()
        finished = {
            (number, self.started[restarts, number].kind)
            for restarts, number in self.finished
        }
        noted = self.observer.execute(
            "SELECT stash_job_id, kind FROM stash_job WHERE state = 'finished'"
        ).fetchall()
        wrong = {job for job in noted if job[0] not in self.unsure} - finished
        assert wrong == set()

    def finish(self) -> None:
        """Run each job once undisturbed, and compare."""
        self.marks_are_true()
        if self.is_idle_last:
            self.worker.work(ALL)
        self._run_undisturbed()
        self._compare()

    def teardown(self) -> None:
        """End every run, and judge the end."""
        try:
            super().teardown()
        finally:
            self.person.close()

    def _run_undisturbed(self) -> None:
        for job, work in (
            ("scan", self._scan),
            ("sync", partial(self._sync, confirm_removals=True)),
            ("generate", partial(self._generate, retry_unmakeable=True)),
            ("sync", partial(self._sync, confirm_removals=True)),
        ):
            self._pass(60)
            begun = self._begin(job, self._new_id(), work, None)
            if begun.run.error is not None:
                raise AssertionError(f"no clean {job}") from begun.run.error
            self.marks_are_true()

    def _compare(self) -> None:
        with self.client() as client:
            scenes = all_scenes(client)
            with self.database.transaction() as session:
                wrong = [
                    found
                    for found in scene_differences(session, scenes)
                    if found[0] not in self.editor.silent
                ]
            assert wrong == []
            self._sync(client, self.database, self._new_id(), deep=True)
            params = VerifyMirrorParams(scenes=ALL)
            found = verify_mirror(client, self.database, params, Progress())
        assert found.errors == ()
        mirrored, present = self._mirrored(), files(self.stand_in)
        for scene_id, (path, oshash) in present.items():
            lacking = lacks_media(
                self.stand_in, scene_id, oshash, mirrored[scene_id].markers
            )
            if path.exists():
                assert lacking == [], f"scene {scene_id} lacks {lacking}"
            assert mirrored[scene_id].generated == (not lacking), scene_id
        for query in (
            "SELECT run_id, kind, stash_job_id FROM stash_job WHERE state = 'open'",
            "SELECT id, kind FROM sync_run WHERE status = 'running'",
            "SELECT name FROM job_lock",
        ):
            assert self.observer.execute(query).fetchall() == []
        wait_for_locks(self.database, 0)
        for state, number in self.observer.execute(
            "SELECT state, count(*) FROM stash_job GROUP BY 1"
        ):
            self.seen[f"noted {state}"] += number


def _filled(stand_in: StandIn, video: bytes, folder: Path) -> Path:
    """Return the folders of a Stash with some of everything, which was stopped."""
    stand_in.clock.offset = timedelta(days=29)
    with httpx.Client(
        base_url=stand_in.url, trust_env=False, timeout=PATIENCE_SECONDS
    ) as client:
        editor = Editor(client, Random(1), stand_in.library, video, server=stand_in)
        fill(editor)
    stand_in.stop()
    for part in (stand_in.home, stand_in.library):
        shutil.copytree(part, folder / part.name)
    stand_in.start()
    return folder


def test_scan_sync_generate(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever happens in whatever order, one undisturbed run puts everything right."""
    # Nobody else frees a lock, and nothing stops, while a run waits for that here.
    for name in (
        *("server_jobs.tracking.LOCK_WAIT_SECONDS", "sync.job.WAIT_SECONDS"),
        *("server_jobs.tracking.STOP_WAIT_SECONDS", "sync.deep.WAIT_SECONDS"),
    ):
        monkeypatch.setattr(f"stashhog_core.{name}", 0)
    write_video(tmp_path / "video.mp4", VIDEO)
    video = (tmp_path / "video.mp4").read_bytes()
    filled = _filled(world.stand_in, video, tmp_path / "filled")
    draw(ScanSyncGenerate, world, 25, 12, video=video, filled=filled)
    # Threads decide a little about which troubles a history comes by.
    assert len(set(TROUBLES) - {""} - world.seen.keys()) <= 2
