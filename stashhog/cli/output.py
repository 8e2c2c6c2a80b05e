"""The streams that the terminal prints to, which may break while a command works.

The reader of a pipe may leave, as `head` does, and the disk of a file may fill up. Then
a command ends in one sentence, or in silence; a run that is only shown goes on.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

from stashhog.cli.console import EXIT_FAILED, say_and_exit
from stashhog_core.errors import OutputError


class ReaderLeftError(OutputError):
    """Whoever read the output has read enough: nothing is to be said about it."""


class Output:
    """A stream of text whose faults are errors of ours, or go unnoticed.

    Args:
        stream: Where the text goes; None: nowhere, as the stream is closed.
        is_needed: Raise errors. Otherwise what cannot be written is left out.
    """

    def __init__(self, stream: TextIO | None, *, is_needed: bool) -> None:
        # It is for the life of the process, as the stream that it stands for would be.
        self._stream = stream or open(os.devnull, "w")  # noqa: PTH123, SIM115
        self._is_needed = is_needed
        self._fault: OutputError | None = None

    def __getattr__(self, name: str) -> Any:
        """Return what else a stream has."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text.

        Raises:
            OutputError: It cannot be written.
        """
        self._attempt(self._stream.write, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines as they come.

        Raises:
            OutputError: One cannot be written.
        """
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what waits to be written.

        Raises:
            OutputError: It cannot be written.
        """
        self._attempt(self._stream.flush)

    def _attempt(self, act: Callable[..., object], *arguments: object) -> None:
        if self._fault is None:
            try:
                act(*arguments)
            except BrokenPipeError:
                self._fault = ReaderLeftError("The reader of the output has left")
            except OSError as error:
                self._fault = OutputError(
                    f"The output cannot be written ({error.strerror})",
                    remedy="print to a place that has space; what the command has "
                    "done stays",
                )
            else:
                return
            self._silence()
        if self._is_needed:
            raise self._fault

    def _silence(self) -> None:
        """Let what still waits go nowhere: Python writes it when it ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Have both streams of this process be an `Output`, and see that all is written.

    If standard output cannot be written, the process ends with one sentence, or in
    silence if its reader has left. Errors that cannot be said are left out.
    """
    if isinstance(sys.stdout, Output):
        # A command that another command runs: the other one sees to it.
        yield
        return
    out, err = Output(sys.stdout, is_needed=True), Output(sys.stderr, is_needed=False)
    with redirect_stderr(cast(TextIO, err)):
        try:
            with redirect_stdout(cast(TextIO, out)):
                try:
                    yield
                except SystemExit:
                    out.flush()
                    raise
                out.flush()
        except ReaderLeftError:
            sys.exit(EXIT_FAILED)
        except OutputError as error:
            say_and_exit(error, EXIT_FAILED)
