"""Writes the pages that are made from the code: docs/settings.md and docs/errors.md.

`make documents` runs this; a test tells whether the pages are up to date.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_PACKAGES = ("stashhog", "flows", "tasks", "stashhog_core")
_SECTION = re.compile(r"^# --- (.+) ---$")
_SETTING = re.compile(r"^#(STASHHOG_\w+)=(.*)$")

KINDS = {
    "ConfigurationError": "A setting, a key, a path, a version or an argument is "
    "wrong. StashHog does not try again by itself: follow the advice, then start the "
    "job again.",
    "TransientError": "A service is unreachable or busy for the moment. StashHog "
    "tries again several times; if the error stays, the run fails, and the next run "
    "continues.",
    "BusyError": "A server says that it is too busy. StashHog tries again later.",
    "JobError": "The job or the command cannot go on. Finished work stays.",
    "OutputError": "What the command prints cannot be written. What the command has "
    "done stays.",
    "RefusedError": "A server has understood a request and refuses it.",
    "UnreadableError": "A server, or a proxy in front of it, gave an answer that "
    "StashHog cannot read. StashHog reads from the server what has happened before it "
    "goes on.",
    "Deferred": "A service that the job needs is unreachable. The remaining work stays "
    "for the next run.",
    "ItemError": "One file, scene or change failed. The report lists it, all others "
    "continue, and a later run tries it again.",
    "JobCancelled": "Somebody cancelled the run. Finished work stays.",
}
"""What each class of errors means for the user."""

_AREAS = {
    "stashhog/web/": "Pages in the browser",
    "stashhog/services/": "Services, backups and deployments",
    "stashhog/": "Terminal",
    "flows/": "Runs in Prefect",
    "tasks/": "Runs in Prefect",
    "stashhog_core/settings/": "Settings",
    "stashhog_core/db/": "Database",
    "stashhog_core/http.py": "Stash",
    "stashhog_core/stash/": "Stash",
    "stashhog_core/server_jobs/": "Scans and generated media",
    "stashhog_core/sync/": "Sync and local edits",
    "stashhog_core/downloads/": "Downloads",
    "stashhog_core/file_index/": "Directory scan",
    "stashhog_core/media/": "Reading videos",
    "stashhog_core/detection/": "Analysis",
    "stashhog_core/plans/": "Plans and review",
    "stashhog_core/original/": "Migration from the original StashHog",
    "stashhog_core/": "Everything else",
}


class ErrorText(NamedTuple):
    """An error of the code: where it is raised, its class, its words and its advice.

    What is filled in at run time is shown as `…`.
    """

    area: str
    kind: str
    what: str
    remedy: str
    has_remedy: bool
    """Also one that the words of another program make up."""


def errors() -> list[ErrorText]:
    """Return all errors that the code raises with words of its own."""
    found: dict[ErrorText, None] = {}
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            area = next(
                area for start, area in _AREAS.items() if name.startswith(start)
            )
            module = _parsed(path)
            constants = {**_imported(module), **_constants(module)}
            for kind, call in _made_errors(module):
                found.update(dict.fromkeys(_errors_in(kind, call, area, constants)))
    return sorted(found)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _imported(module: ast.Module) -> dict[str, ast.AST]:
    """Return what the names stand for that a module has from others of ours."""
    found = {}
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            path = ROOT / f"{node.module.replace('.', '/')}.py"
            if node.module.split(".")[0] in _PACKAGES and path.exists():
                theirs = _constants(_parsed(path))
                names = {alias.name for alias in node.names}
                found |= {name: theirs[name] for name in names & theirs.keys()}
    return found


def _constants(module: ast.Module) -> dict[str, ast.AST]:
    """Return what the names of a module stand for: texts, and functions of texts."""
    assigned: dict[str, ast.AST] = {
        node.targets[0].id: node.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    functions = {n.name: n for n in module.body if isinstance(n, ast.FunctionDef)}
    return assigned | functions


def _made_errors(module: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls of errors' classes, also those from within a derived class.

    A derived class whose name begins with `_` never comes to the user.
    """
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in KINDS:
                yield name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            bases = {getattr(base, "id", "") for base in node.bases}
            for kind in bases & KINDS.keys():
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Call) and (
                        getattr(inner.func, "attr", "") == "__init__"
                    ):
                        yield kind, inner


def _errors_in(
    name: str, node: ast.Call, area: str, constants: dict[str, ast.AST]
) -> Iterator[ErrorText]:
    given = dict(zip(("what", "where", "remedy"), node.args, strict=False))
    given |= {word.arg: word.value for word in node.keywords if word.arg}
    has_remedy = "remedy" in given
    remedies = list(_texts(given.get("remedy"), constants)) or [""]
    for what in _texts(given.get("what"), constants):
        # Words that come from elsewhere have no sentence of their own.
        if re.search(r"\w{3}", what.replace("…", "")):
            yield ErrorText(area, name, what, "; or: ".join(remedies), has_remedy)


def _texts(node: ast.AST | None, constants: dict[str, ast.AST]) -> Iterator[str]:
    """Yield the texts that an expression can have."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name) and node.id in constants:
        yield from _texts(constants[node.id], constants)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        function = constants.get(node.func.id)
        for inner in ast.walk(function) if function else ():
            if isinstance(inner, ast.Return):
                yield from _texts(inner.value, constants)
    elif isinstance(node, ast.JoinedStr):
        parts = [
            part.value if isinstance(part, ast.Constant) else "…"
            for part in node.values
        ]
        yield "".join(map(str, parts))
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, constants)
        yield from _texts(node.orelse, constants)
    elif isinstance(node, ast.BinOp):
        for left in _texts(node.left, constants):
            yield from (left + right for right in _texts(node.right, constants))


def errors_page() -> str:
    """Return docs/errors.md."""
    lines = [
        "# Error texts",
        "",
        "Every error of StashHog is one sentence: what happened, where, and what to "
        "do. This page lists all of them by area; `…` stands for a name, a number or "
        "the words of another program. For problems without an error text, see "
        "[Troubleshooting](troubleshooting.md). This page is made from the code by "
        "`make documents`.",
        "",
        "| Kind | What it means for you |",
        "|---|---|",
        *(f"| `{kind}` | {meaning} |" for kind, meaning in KINDS.items()),
    ]
    area = ""
    for error in errors():
        if error.area != area:
            area = error.area
            header = ("| Error | What to do | Kind |", "|---|---|---|")
            lines += ["", f"## {area}", "", *header]
        advice = _cell(error.remedy) or _advice(error.kind)
        lines.append(f"| {_cell(error.what)} | {advice} | `{error.kind}` |")
    return "\n".join(lines) + "\n"


def _advice(kind: str) -> str:
    if kind == "ItemError":
        return "see the item in the report; a later run tries again"
    return "see the words of the error"


def _cell(text: str) -> str:
    words = " ".join(text.split())
    outside = re.split(r"(`[^`]*`)", words)
    escaped = [
        part if part.startswith("`") else re.sub(r"([\\*_<>\[\]])", r"\\\1", part)
        for part in outside
    ]
    return "".join(escaped).replace("|", "\\|")


def settings_page() -> str:
    """Return docs/settings.md, from the example that `stashhog settings` prints."""
    lines = [
        "# Settings",
        "",
        "Settings are environment variables, or lines of the file `.env`: see [the "
        "operating guide](../deployments/operating.md#starting-with-the-machine) for "
        "where StashHog looks for this file. Lists and objects are JSON, on one line. "
        "`stashhog init` asks for the settings that you need, `stashhog check` tries "
        "them, and `stashhog settings` prints them all as a `.env` file. This page is "
        "made from the code by `make documents`.",
    ]
    meaning: list[str] = []
    example = (ROOT / "deployments" / "env.example").read_text()
    for line in example.splitlines():
        if section := _SECTION.match(line):
            header = ("| Setting | Default | Meaning |", "|---|---|---|")
            lines += ["", f"## {section[1]}", "", *header]
            meaning = []
        elif setting := _SETTING.match(line):
            default = f"`{setting[2]}`".replace("|", "\\|") if setting[2] else "empty"
            words = _cell(" ".join(meaning))
            lines.append(f"| `{setting[1]}` | {default} | {words} |")
            meaning = []
        elif line.startswith("# "):
            meaning.append(line[2:])
    return "\n".join(lines) + "\n"


PAGES = {"settings.md": settings_page, "errors.md": errors_page}
"""Name of each page below docs/, and what writes it."""


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
