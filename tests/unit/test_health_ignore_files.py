"""`.stashignore` hides what `.gitignore` with the same lines would: git is asked."""

import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.health.ignore_files import NAME, hidden_by

PATTERNS = st.lists(
    st.lists(
        st.sampled_from(
            ["a", "b", "/", "*", "**", "?", "!", "[ab]", "[!a]", "[", ".mp4", "#"]
        ),
        min_size=1,
        max_size=4,
    )
    .map("".join)
    # After letters, two stars mean two things to git, by where the letters end.
    .filter(lambda pattern: not re.search(r"[^/!]\*\*|\*\*[^/]|^!.*!\*\*", pattern)),
    min_size=1,
    max_size=4,
)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "a.mp4"]), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository."""
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def git_hides(repository: Path, patterns: list[str], path: str) -> bool:
    """Ask git whether these patterns hide a file."""
    (repository / ".gitignore").write_text("\n".join(patterns) + "\n")
    done = subprocess.run(
        ["git", "check-ignore", "-q", "--no-index", path], cwd=repository, check=False
    )
    return done.returncode == 0


def hides(folder: Path, patterns: list[str], path: str) -> bool:
    (folder / NAME).write_text("\n".join(patterns) + "\n")
    return hidden_by(folder, PurePosixPath(path)) is not None


@given(PATTERNS, PATHS)
def test_patterns_mean_what_git_says(
    repository: Path, patterns: list[str], parts: list[str]
) -> None:
    """Names, folders, anchors, wildcards, and names that are taken back."""
    path = "/".join(parts)

    assert hides(repository, patterns, path) == git_hides(repository, patterns, path)


@pytest.mark.parametrize(
    ("patterns", "path", "hidden"),
    [
        (["*.mp4"], "new/a.mp4", True),
        (["*.mp4", "!a.mp4"], "new/a.mp4", False),
        (["new/"], "new/a.mp4", True),
        (["/a.mp4"], "new/a.mp4", False),
        (["# a.mp4", "", "b"], "a.mp4", False),
        (["new/", "!new/a.mp4"], "new/a.mp4", True),
        (["new[!b]a.mp4"], "new/a.mp4", False),
    ],
)
def test_common_lines(
    tmp_path: Path, patterns: list[str], path: str, hidden: bool
) -> None:
    """As people write them."""
    assert hides(tmp_path, patterns, path) is hidden


def test_no_file_hides_nothing(tmp_path: Path) -> None:
    """Most libraries have none."""
    assert hidden_by(tmp_path, PurePosixPath("a.mp4")) is None
