"""`make run` that gets Ctrl-C, as a terminal sends it to the whole group, or a kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from sandbox.samples import Sample
from stashhog_core.db.embedded import embedded_url, start_embedded, stop_embedded
from tests.conftest import copy_cluster
from tests.support.prefect import ROOT
from tests.support.processes import is_alive, processes
from tests.support.services import copy_few, prepared_services
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PROGRAM = """
import signal, sys
from sandbox.run import main

class Held:
    # Standard output that stands still after some words, as in a terminal after
    # Ctrl-S and until Ctrl-Q: what comes after them has not happened yet.
    def __init__(self, words):
        self.words = words
    def write(self, text):
        written = sys.__stdout__.write(text)
        if self.words in text:
            self.words = "\\0"
            sys.stdin.read()
        return written
    def __getattr__(self, name):
        return getattr(sys.__stdout__, name)

# A shell that starts the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.stdout = Held(sys.argv.pop())
main()
"""


@dataclass
class Started:
    """A run in a session of its own, as in a terminal."""

    process: "subprocess.Popen[bytes]"
    home: Path
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def wait_to_say(self, words: str) -> None:
        wait_until(lambda: words in self.said(), words)

    def go_on(self) -> None:
        """Have the run go on after the words that it was to print."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def session(self) -> list[str]:
        """Return the commands of the session's processes."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) != self.process.pid:
                    continue
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def serves(self, command: str) -> bool:
        """Tell whether the session has such a process."""
        return any(command in each for each in self.session())


@pytest.fixture
def run_until(
    home: Path,
    migrated_cluster: Path,
    tmp_path: Path,
    sample_videos: tuple[Path, list[Sample]],
) -> Iterator[Callable[[str], Started]]:
    """Start the sandbox's first run, with a few samples and its databases made.

    The call returns when the run has printed the words, and the run goes no further.
    """
    sandbox = home / "sandbox"
    copy_cluster(migrated_cluster, sandbox)
    copy_few(sample_videos[0], sandbox / "downloads")
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STASHHOG_", "PREFECT_"))
    }
    output = tmp_path / "output"
    runs: list[Started] = []

    def start(words: str) -> Started:
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, words],
                cwd=tmp_path,
                env={
                    **own,
                    "STASHHOG_HOME": str(home),
                    "PYTHONPATH": str(ROOT),
                    "PYTHONUNBUFFERED": "1",
                },
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        runs.append(Started(process, sandbox, output))
        runs[-1].wait_to_say(words)
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
        run.go_on()
    # A database server whose user was killed stops after its next user.
    start_embedded(sandbox)
    stop_embedded(sandbox)


@pytest.mark.parametrize("words", ["  0 %", " 50 %"])
def test_interrupted_run(run_until: Callable[[str], Started], words: str) -> None:
    """It ends soon, in one sentence, and takes its servers with it."""
    run = run_until(words)
    run.interrupt()

    assert run.process.wait(PATIENCE_SECONDS) == 130
    assert "Traceback" not in run.said()
    assert run.said().count("Error:") == 1
    assert "process_new_scenes was cancelled" in run.said()
    assert run.session() == []
    assert embedded_url(run.home) is None


def test_interrupted_while_it_stops(run_until: Callable[[str], Started]) -> None:
    """What is stopped is still stopped, without a word of Python's."""
    run = run_until("own services")
    assert run.serves("sandbox.stash")
    run.interrupt()
    run.go_on()
    while run.process.poll() is None:
        run.interrupt()
        try:
            run.process.wait(0.3)
        except subprocess.TimeoutExpired:
            continue

    assert run.process.returncode in {0, 130}
    assert "Traceback" not in run.said()
    assert run.session() == []
    assert embedded_url(run.home) is None


def test_killed_run_leaves_no_server(run_until: Callable[[str], Started]) -> None:
    """Neither the stand-in Stash nor the temporary Prefect server."""
    run = run_until(" 50 %")
    assert run.serves("sandbox.stash")
    assert run.serves("uvicorn")
    run.process.kill()
    run.process.wait()

    wait_until(lambda: run.session() == [], "the end of its servers")


UP = """
import signal
from stashhog.cli.app import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def test_the_first_start_of_the_services_is_interrupted(
    home: Path, migrated_cluster: Path, tmp_path: Path
) -> None:
    """Ctrl-C is one sentence, and none of the services starts on in the background."""
    copy_cluster(migrated_cluster, home)
    with prepared_services(home, tmp_path) as services:
        up = subprocess.Popen(
            [sys.executable, "-c", UP, "up"],
            env=services.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        wait_until(lambda: "supervisor" in services.pids(), "the supervisor")
        started = processes(services.pids().values())
        os.killpg(up.pid, signal.SIGINT)
        said, _ = up.communicate()

        assert said.splitlines()[-1] == "Error: Cancelled", said
        assert not any(map(is_alive, started))
        assert services.pids() == {}
        assert embedded_url(home) is None
