"""The commands that the documents and the texts of the product tell people to type."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deployments/*.md")]
)
PRODUCT = ("stashhog", "flows", "tasks", "stashhog_core", "sandbox", "deployments")
PROGRAMS = ("stashhog", "make", "prefect")
PLACEHOLDER = re.compile(r"…|^[A-Z]+$|^\{.*\}$")
"""What stands for a word that the reader knows."""

_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
# At the start of a line, or where a shell or systemd begins a command.
_START = re.compile(
    r"(?:^|&& |\bexec |\bsh -c [\"']|^Exec\w+=|^\$ )\s*(?:\w+=\S+ )*"
    rf"(?:[\w./~-]*/)?({'|'.join(PROGRAMS)}) ([^|>&;]*)"
)
# A text may go on in a further literal.
_NAMED = re.compile(rf"(?:{'|'.join(PROGRAMS)})[ \"']")


class Command(NamedTuple):
    """A command that somebody is told to type.

    Attributes:
        where: The file, from the root of the project.
        program: The first word: one of `PROGRAMS`.
        words: The other words, without quotation marks.
        is_whole: The command stands in a block to be copied. Else the command stands
            in a sentence, which may only name it: `stashhog plans show`.
    """

    where: str
    program: str
    words: tuple[str, ...]
    is_whole: bool

    def __str__(self) -> str:
        return shlex.join((self.program, *self.words))


def documented_commands() -> list[Command]:
    """Return the commands of all documents and texts, each once per file and form."""
    found: dict[Command, None] = {}
    for path in DOCUMENTS:
        found |= dict.fromkeys(_in_document(path))
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found |= dict.fromkeys(_in_program(path))
        for path in sorted((ROOT / folder).iterdir()):
            if path.suffix in {".yaml", ".example"} or path.name == "Dockerfile":
                found |= dict.fromkeys(_in_sentences(path, path.read_text()))
    return list(found)


def commands_of_blocks(document: Path) -> list[Command]:
    """Return the commands that a document shows in blocks, in their order."""
    return [command for command in _in_document(document) if command.is_whole]


def _in_document(path: Path) -> Iterator[Command]:
    text = path.read_text()
    for block in _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield from _commands(path, line, is_whole=True)
    yield from _in_sentences(path, _BLOCK.sub("", text))


def _in_program(path: Path) -> Iterator[Command]:
    text = path.read_text()
    # Most modules name no command, and it takes seconds to parse all of them.
    if not _NAMED.search(text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            parts = (
                part.value if isinstance(part, ast.Constant) else "…"
                for part in node.values
            )
            yield from _in_sentences(path, "".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _in_sentences(path, node.value)


def _in_sentences(path: Path, text: str) -> Iterator[Command]:
    for span in _SPAN.findall(text):
        yield from _commands(path, span, is_whole=False)


def _commands(path: Path, line: str, *, is_whole: bool) -> Iterator[Command]:
    where = path.relative_to(ROOT).as_posix()
    for program, rest in _START.findall(line.strip()):
        yield Command(where, program, tuple(_words(rest)), is_whole)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        # The command is in quotation marks itself.
        return _words(text[: max(text.rfind('"'), text.rfind("'"))])
