"""The pages that are made from the code are up to date, and whole."""

import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from stashhog.cli.app import app
from stashhog_core import errors
from stashhog_core.settings import setting_variables

ROOT = Path(__file__).parents[2]
MADE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("name", sorted(MADE["PAGES"]))
def test_the_page_is_what_the_code_says(name: str) -> None:
    """After a change of a setting or an error, `make documents` writes it anew."""
    assert (ROOT / "docs" / name).read_text() == MADE["PAGES"][name](), (
        "run `make documents`"
    )


def test_each_class_of_errors_is_explained() -> None:
    """A new class needs its meaning for the user."""
    classes = {
        name
        for name, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, errors.StashHogError)
    }
    assert classes - {"StashHogError"} == set(MADE["KINDS"])


def test_each_error_text_is_listed() -> None:
    """Also those with a choice of words, and those whose words are put together."""
    texts = {error.what for error in MADE["errors"]()}
    for text in (
        "No Stash server is configured",
        "Another run of … is under way",
        "Prefect's API does not answer",
        "Prefect's temporary server does not answer",
    ):
        assert text in texts
    assert len(texts) > 200


WITHOUT_ADVICE = {
    "Cancelled on request",
    # Whatever Stash says is the reason, and the advice.
    "Stash refused …: …",
    # A reader of scenes is at fault, and the run goes on.
    "The answer cannot be stored (…)",
    "The answer cannot be stored (it holds the character U+0000)",
    "Plan … has … that can be taken back",
}


def test_each_error_says_what_to_do() -> None:
    """Apart from those above; what a video lacks is a fact about that video."""
    lacking = {
        error.what
        for error in MADE["errors"]()
        if not error.has_remedy and error.area != "Reading videos"
    }

    assert lacking == WITHOUT_ADVICE


def test_each_setting_is_listed() -> None:
    """With its default and its meaning."""
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `(STASHHOG_\w+)` \| .+ \| (.+) \|$", page, re.M))
    assert set(rows) == set(setting_variables())
    assert all(rows.values())


def commands(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return each command and group as words."""
    inner = getattr(command, "commands", {})
    found = [words]
    for name in inner:
        found += commands(inner[name], (*words, name))
    return found


@pytest.mark.parametrize("words", commands(get_command(app)), ids=" ".join)
def test_each_command_explains_itself(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` works without any service, and no option lacks its words."""
    with pytest.raises(SystemExit) as end:
        get_command(app)([*words, "--help"], prog_name="stashhog")
    said = capsys.readouterr().out

    assert not end.value.code
    assert "Usage: stashhog" in said
    assert "<=x" not in said
    described = get_command(app)
    for word in words:
        described = described.commands[word]  # type: ignore[attr-defined]
    assert described.help
    for parameter in getattr(described, "params", ()):
        assert getattr(parameter, "help", None), f"{words}: {parameter.name}"


def test_the_program_itself_starts() -> None:
    """As a user starts it."""
    program = Path(sys.executable).parent / "stashhog"
    said = subprocess.run(
        [program, "--help"], capture_output=True, text=True, check=True
    )
    assert "import-stashhog" in said.stdout
