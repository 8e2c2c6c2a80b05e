"""The numbers that the terminal takes."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from stashhog.cli.app import app, main
from stashhog.push import push
from stashhog_core.errors import ConfigurationError
from stashhog_core.ids import MAX_ID


def parameters(command: Any, words: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each parameter of a command and of those below it, with name and type."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from parameters(inner, f"{words} {name}")
    for parameter in command.params:
        if described := getattr(parameter, "type_descriptor", None):
            yield f"{words} {parameter.name}", parameter, described.annotation


def test_every_number_has_its_bounds() -> None:
    """No integer is larger than the database takes, and nothing is less than zero."""
    found = list(parameters(get_command(app)))
    integers = [(name, p) for name, p, kind in found if kind in (int, list[int])]
    floats = [(name, p) for name, p, kind in found if kind is float]
    assert len(integers) > 20
    assert len(floats) > 5
    unbounded = [n for n, p in integers if p.max is None or p.max > MAX_ID]
    unbounded += [n for n, p in integers + floats if p.min is None or p.min < 0]
    assert unbounded == []


@pytest.mark.parametrize("name", ["", "sync", "sync/", "/sync", "a/b/c"])
def test_a_deployment_has_two_names(name: str) -> None:
    """Anything else is refused before Prefect is asked: its answer would mislead."""
    with pytest.raises(ConfigurationError, match="is not the name of a deployment"):
        push(name, {}, delay_seconds=0)


@pytest.mark.parametrize(
    "words",
    [
        ["plans", "list", "--limit", "99999999999999999999"],
        ["plans", "edit", "1", "99999999999999999999", "Text"],
        ["edits", "push", "99999999999999999999"],
        ["library", "list", "--min-seconds", "nan"],
        ["plans", "undo", "1", "--detector", ""],
        ["push", "sync/sync", "--delay", "1e300"],
    ],
)
def test_a_value_that_nothing_can_hold_is_refused_at_the_door(
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With status 2, in words, before a service or the database is asked."""
    monkeypatch.setattr(sys, "argv", ["stashhog", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
