"""Every `stashhog` command and `make` target that the documents name exists."""

import re
from pathlib import Path

import pytest
from typer import Typer
from typer.main import get_command

from stashhog.cli.app import app
from stashhog_core.params import JOB_PARAMS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deployments/*.md")]
)
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)


def commands(typer: Typer) -> set[str]:
    """Return the commands as typed: `up`, `plans`, `plans list`."""
    names: set[str] = set()
    for name, command in getattr(get_command(typer), "commands", {}).items():
        inner = getattr(command, "commands", {})
        names |= {name, *(f"{name} {word}" for word in inner)}
    return names


def code(document: Path) -> str:
    """Return what a document shows as code, one piece a line."""
    found = CODE.findall(document.read_text())
    return "\n".join(block or span for block, span in found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    """What a reader types is understood."""
    known = commands(app)
    groups = {name.partition(" ")[0] for name in known if " " in name}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    text = code(document)
    typed = [
        words.split()
        for words in re.findall(r"(?<!--pool )stashhog((?: [a-z][a-z_-]*)+)", text)
    ]
    missing = [
        words
        for words in typed
        if words[0] not in known
        or (words[0] == "run" and words[1:] and words[1] not in JOB_PARAMS)
        or (words[0] in groups and words[1:] and " ".join(words[:2]) not in known)
    ]
    made = re.findall(r"^(?:\$ )?make ([a-z-]+)", text, re.M)

    assert missing == []
    assert [target for target in made if target not in targets] == []
