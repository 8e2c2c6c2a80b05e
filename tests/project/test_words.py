"""Names use the words of docs/glossary.md, and not those that these words replaced."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "benchmarks",
    "flows",
    "sandbox",
    "stashhog",
    "stashhog_core",
    "tasks",
    "tests",
)

REPLACED = {
    "adopt(ed|s|ing)?": "resume",
    "analyse[ds]?": "analyze",
    "brakes?": "removal limit",
    "further": "additional",
    "(gave|giv(e|es|ing)) way": "preempted",
    "look(s|ed|ing)?( at| for)?": "check, probe, scan pass or detect",
    "portions?": "batch",
    "pro(of|ofs|ved|ven)": "verification, verified",
    "(un)?settle[ds]?|settling": "reconcile, decide, quiet period or stabilize",
    "stands? apart": "conflict",
    "taken away": "rejected",
    "text readers?": "OCR or text model",
    "(un)?told": "confirmed, unconfirmed, reported",
}
"""A word that the glossary replaced, as a pattern, and what to say in its place."""

KEPT = {
    "gave_way": "a field of results",
    "last_proved": "a field of results",
    "proved": "a column",
    "settle_seconds": "a setting",
    "settled": "a field of results",
}
"""Older names that users and databases know, with the reason."""

_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_WORDS = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in REPLACED))


def names_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each thing that a module gives a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def replaced_word(name: str) -> str | None:
    """Return the word in a name that the glossary replaced."""
    found = _WORDS.search(" ".join(_PARTS.findall(name)).lower())
    return found[0] if found and name not in KEPT else None


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("test_brake_holds", "brake"),
        ("_LOOK_SECONDS", "look"),
        ("FurtherServer", "further"),
        ("stand_apart", "stand apart"),
        ("unsettled", "unsettled"),
        ("lookup", None),
        ("proportion", None),
        ("settle_seconds", None),
    ],
)
def test_words_are_found_in_names(name: str, word: str | None) -> None:
    """Whole words count, whichever way a name joins them."""
    assert replaced_word(name) == word


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_use_the_words_of_the_glossary(folder: str) -> None:
    """Modules, classes, functions, parameters and variables."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        where = path.relative_to(ROOT)
        named = [(1, path.stem), *names_of(ast.parse(path.read_text()))]
        found += [
            f"{where}:{line}: {name}"
            for line, name in named
            if replaced_word(name) is not None
        ]

    assert found == [], "see docs/glossary.md for the words to use"
