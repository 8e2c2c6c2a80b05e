"""Every setting stands in deployments/env.example with its meaning and default."""

import ast
import inspect
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from stashhog_core.settings import (
    ENV_FILE_VARIABLE,
    PREFIX,
    Section,
    Settings,
    setting_variables,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deployments" / "env.example"
FOLDERS = ("deployments", "docs", "flows", "stashhog", "stashhog_core", "tasks")


def entries(model: type[BaseModel], prefix: str) -> list[str]:
    """Return the comment and the assignment of each setting, as the file has them."""
    found: list[str] = []
    meanings = docstrings(model)
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += entries(field.annotation, variable + "__")
        else:
            default = field.get_default(call_default_factory=True)
            meaning = field.description or meanings[name]
            found.append(f"# {meaning}\n#{variable}={written(default)}\n")
    return found


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return what stands below each field in the source, on one line."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not base.__module__.startswith("stashhog_core"):
            continue
        (described,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(described, ast.ClassDef)
        for field, below in pairwise(described.body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                text = ast.literal_eval(below.value)
                found[ast.unparse(field.target)] = " ".join(text.split())
    return found


def written(default: Any) -> str:
    """Return a default as one writes it in a `.env` file."""
    if default is None:
        return ""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, tuple | dict | list):
        return json.dumps(default, default=str)
    if isinstance(default, bool):
        return str(default).lower()
    return str(default)


def test_every_setting_is_documented() -> None:
    """A setting without its line, meaning or default in the example is an omission."""
    text = EXAMPLE.read_text()

    missing = [entry for entry in entries(Settings, PREFIX) if entry not in text]

    assert missing == []


def test_nothing_else_is_documented() -> None:
    """The example names no setting that does not exist."""
    known = "".join(entries(Settings, PREFIX))

    for line in EXAMPLE.read_text().splitlines():
        if line.startswith(f"#{PREFIX}"):
            assert f"{line}\n" in known


def test_settings_that_texts_name_exist() -> None:
    """Errors, log lines, descriptions and pages name no setting that does not exist."""
    texts = [ROOT / "README.md"]
    for folder in FOLDERS:
        texts += (p for p in (ROOT / folder).rglob("*") if p.suffix in {".md", ".py"})
    known = {*setting_variables(), ENV_FILE_VARIABLE}
    # Those of `make test` and `make bench` are no settings of StashHog.
    name = re.compile(rf"{PREFIX}(?!TEST_|BENCH_)[A-Z0-9_]*[A-Z0-9]\b(?![\\_])")

    unknown = {
        f"{path.relative_to(ROOT)}: {found}"
        for path in texts
        for found in name.findall(path.read_text().replace("\\_", "_"))
        if found not in known
    }

    assert len(texts) > 300
    assert unknown == set()
