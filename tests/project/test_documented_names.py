"""What docs/architecture.md and docs/glossary.md name can be found in the code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("architecture.md", "glossary.md")


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page: str) -> None:
    """A path in backticks leads somewhere, from the root, the core or the tests."""
    text = (ROOT / "docs" / page).read_text()
    paths = {p for p in re.findall(r"`([\w./]+)`", text) if "/" in p}
    starts = (ROOT, ROOT / "stashhog_core", ROOT / "tests")

    assert paths
    assert {p for p in paths if not any((s / p).exists() for s in starts)} == set()


@pytest.mark.parametrize("page", PAGES)
def test_names_stand_in_the_module_before_them(page: str) -> None:
    """`path/module.py`: `name` and `name` are functions or classes of that module."""
    text = (ROOT / "docs" / page).read_text()
    missing = []
    for path, names in re.findall(
        r"`([\w/]+\.py)`:((?:\s+`\w+`(?:,| and)?)+)", text, flags=re.MULTILINE
    ):
        code = (ROOT / path).read_text()
        missing += [
            f"{path}: {name}"
            for name in re.findall(r"`(\w+)`", names)
            if not re.search(rf"\b(def|class) {name}\b", code)
        ]

    assert missing == []
