"""`make run` that gets Ctrl-C, as a terminal sends it to the whole group, or a kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from sandbox.samples import Sample
from stashhog_core.db.embedded import embedded_url, start_embedded, stop_embedded
from tests.conftest import copy_cluster
from tests.support.prefect import ROOT
from tests.support.services import copy_few
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = """
import signal
from sandbox.run import main
# A shell that starts the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
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

    def wait_for(self, command: str) -> None:
        """Return as soon as the session has such a process."""
        wait_until(
            lambda: any(command in each for each in self.session()), f"a {command}"
        )

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


@pytest.fixture
def started(
    home: Path,
    migrated_cluster: Path,
    tmp_path: Path,
    sample_videos: tuple[Path, list[Sample]],
) -> Iterator[Started]:
    """The sandbox's first run, with a few samples and its databases made."""
    sandbox = home / "sandbox"
    copy_cluster(migrated_cluster, sandbox)
    copy_few(sample_videos[0], sandbox / "downloads")
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STASHHOG_", "PREFECT_"))
    }
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=tmp_path,
            env={
                **own,
                "STASHHOG_HOME": str(home),
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
            },
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    yield Started(process, sandbox, output)
    if process.poll() is None:
        process.kill()
        process.wait()
    # A database server whose user was killed stops after its next user.
    start_embedded(sandbox)
    stop_embedded(sandbox)


@pytest.mark.parametrize("words", ["  0 %", " 50 %"])
def test_interrupted_run(started: Started, words: str) -> None:
    """It ends soon, in one sentence, and takes its servers with it."""
    started.wait_to_say(words)
    started.interrupt()

    assert started.process.wait(PATIENCE_SECONDS) == 130
    assert "Traceback" not in started.said()
    assert started.said().count("Error:") == 1
    assert "process_new_scenes was cancelled" in started.said()
    assert started.session() == []
    assert embedded_url(started.home) is None


def test_interrupted_while_it_stops(started: Started) -> None:
    """What is stopped is still stopped, without a word of Python's."""
    started.wait_to_say("own services")
    started.wait_for("sandbox.stash")
    while started.process.poll() is None:
        started.interrupt()
        try:
            started.process.wait(0.3)
        except subprocess.TimeoutExpired:
            continue

    assert started.process.returncode in {0, 130}
    assert "Traceback" not in started.said()
    assert started.session() == []
    assert embedded_url(started.home) is None


def test_killed_run_leaves_no_server(started: Started) -> None:
    """Neither the stand-in Stash nor the temporary Prefect server."""
    started.wait_to_say(" 50 %")
    started.wait_for("sandbox.stash")
    started.wait_for("uvicorn")
    started.process.kill()
    started.process.wait()

    wait_until(lambda: started.session() == [], "the end of its servers")
