"""What the terminal does when its output cannot be written."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

import pytest
from rich.console import Console

from stashhog.cli.display import RunDisplay
from stashhog.cli.output import Output
from stashhog_core.errors import OutputError

PROGRAM = Path(sys.executable).with_name("stashhog")
ROOT = Path(__file__).parents[2]


def run_with(words: list[str], unbuffered: str, **streams: Any) -> tuple[int, str]:
    """Run the terminal with these streams; return its status and what it said."""
    done = subprocess.run(
        [PROGRAM, *words],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        **{"stderr": subprocess.PIPE, **streams},
    )
    return done.returncode, done.stderr or ""


@pytest.fixture
def full() -> Iterator[TextIO]:
    """A file on a disk without space."""
    with Path("/dev/full").open("w") as file:
        yield file


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["settings"], ["--version"], ["plans", "--help"]])
def test_a_full_disk_is_one_sentence(
    full: TextIO, words: list[str], unbuffered: str
) -> None:
    """It ends a command with status 1, however Python buffers, without a traceback."""
    status, said = run_with(words, unbuffered, stdout=full)
    assert status == 1
    assert said.startswith("Error: The output cannot be written (No space left on")
    assert said.count("\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["settings"], ["--version"]])
def test_a_reader_that_leaves_ends_a_command_in_silence(
    words: list[str], unbuffered: str
) -> None:
    """As after `| true`: nobody wants more of it."""
    read, write = os.pipe()
    os.close(read)
    try:
        assert run_with(words, unbuffered, stdout=write) == (1, "")
    finally:
        os.close(write)


def test_an_error_that_cannot_be_said_keeps_its_status(full: TextIO) -> None:
    """Whoever calls the command still learns that its arguments are wrong."""
    assert run_with(["no-such-command"], "", stderr=full)[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "from stashhog.cli import main; main()"],
        ["-m", "sandbox", "run"],
        ["-m", "sandbox", "demo"],
        ["-m", "sandbox", "demo", "down"],
    ],
)
def test_ctrl_c_while_modules_are_imported_is_one_sentence(
    tmp_path: Path, words: list[str]
) -> None:
    """To import them is most of what a short command takes."""
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "Error: Cancelled\n")


def test_a_run_goes_on_when_it_cannot_be_shown(full: TextIO) -> None:
    """No line of its display ends it; its report at the end is wanted all the same."""
    console = Console(file=cast(TextIO, Output(full, is_needed=True)))
    with RunDisplay(console) as display:
        display(10, "Placing downloads")
        display.say(10, "Placing downloads")
        display.say(None, "Placing downloads: 1/2")
    with pytest.raises(OutputError):
        console.print("The report")
