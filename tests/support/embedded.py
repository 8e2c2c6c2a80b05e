"""Processes that use the embedded server of a home."""

import subprocess
import sys
from pathlib import Path

USER = """
import sys, time
from pathlib import Path
from sqlalchemy import text
from stashhog_core.db.open import open_database
from stashhog_core.settings import Settings
with open_database(Settings(home=Path(sys.argv[1]))) as database:
    with database.transaction() as session:
        scene = {"id": sys.argv[2]}
        session.execute(text("INSERT INTO scene (id) VALUES (:id)"), scene)
    print("ready", flush=True)
    if sys.argv[3] == "stay":
        time.sleep(3600)
"""


def start_user(
    home: Path, scene_id: int, until: str = "leave"
) -> subprocess.Popen[str]:
    """Start a process that opens the database under `home` and stores a scene."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(home), str(scene_id), until],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
