"""The project keeps its own rules."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"stashhog", "flows", "tasks", "stashhog_core", "sandbox", "benchmarks"}


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    # A file that was removed stays listed until the next commit.
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.is_file()]


def test_no_test_folder_shadows_a_package() -> None:
    """A folder `tests/tasks` would be imported in place of `tasks`."""
    folders = {path.name for path in (ROOT / "tests").rglob("*") if path.is_dir()}

    assert not folders & PACKAGES


def test_each_folder_of_tests_is_run() -> None:
    """By `make test`, or by the one target that is for the folder."""
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run = {
        path.removeprefix("tests/") for path in project["tool"]["pytest"]["testpaths"]
    }

    assert folders == run | {"containers"}


def test_requirements_are_hashed_and_name_no_index() -> None:
    """Pins come with hashes, and from whichever index the machine is set to use."""
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        pins = re.findall(r"^[a-z0-9][^\s=]*==", text, flags=re.MULTILINE | re.I)

        assert pins
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in text
        assert "index-url" not in text


def test_ci_runs_the_readmes_command() -> None:
    """CI does what a reader of the README does, and nothing else."""
    commands = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]

    assert commands == ["make test"]
    assert "make test" in (ROOT / "README.md").read_text()


def test_make_keeps_compiled_modules() -> None:
    """Whatever the environment says: else each of many programs compiles them anew."""
    shown = subprocess.run(
        ["make", "-s", "--eval", "shown: ; @printenv | grep ^PYTHON || true", "shown"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "PYTHONHASHSEED=7" in shown.stdout
    assert "PYTHONDONTWRITEBYTECODE" not in shown.stdout


def test_modules_stay_readable() -> None:
    """A module is a subject: one of more than 700 lines surely holds two."""
    large = [
        path.relative_to(ROOT).as_posix()
        for path in tracked_files()
        if path.suffix == ".py"
        and path.relative_to(ROOT).parts[0] in PACKAGES
        and len(path.read_text().splitlines()) > 700
    ]

    assert large == []


def test_chance_is_seeded() -> None:
    """Tests draw from a generator of their own, so that a failure can be repeated.

    It also means that no strategy of hypothesis uses the shared one.
    """
    shared = re.compile(
        r"(?<![\w.])random\.(random|uniform|choices?|sample|shuffle|seed|rand\w+|get\w+)\("
        r"|from random import (?!Random$)",
        re.MULTILINE,
    )
    users = [
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if shared.search(path.read_text()) and path != Path(__file__)
    ]

    assert users == []


def test_imports_run_one_way() -> None:
    """Flows → tasks → core, and the core does not know Prefect."""
    checked = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout


def test_migrations_are_one_chain() -> None:
    """Two of one number would be one to the database, and the other would be lost."""
    folder = ROOT / "stashhog_core" / "db" / "migrations" / "versions"
    before = None
    for path in sorted(folder.glob("[0-9]*.py")):
        text = path.read_text()
        (revision,) = re.findall(r'^revision = "(\w+)"', text, flags=re.MULTILINE)
        after = re.findall(r'^down_revision = "(\w+)"', text, flags=re.MULTILINE)

        assert path.name.startswith(f"{revision}_")
        assert after == ([before] if before else []), path.name
        before = revision
