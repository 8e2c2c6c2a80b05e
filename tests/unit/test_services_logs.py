"""The logs of the services stay small while programs write them."""

import os
from pathlib import Path

import pytest

from stashhog.services.logs import open_log, rotate, rotate_logs
from stashhog_core.settings import Settings


def test_a_full_log_is_put_aside_and_written_on(tmp_path: Path) -> None:
    """A program that holds its log open goes on in the emptied file."""
    path = tmp_path / "server.log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, b"before\n")

    rotate(path, limit_bytes=3)
    os.write(log, b"after\n")
    os.close(log)

    assert path.read_text() == "after\n"
    assert path.with_name("server.log.1").read_text() == "before\n"


def test_only_so_many_older_logs_are_kept(tmp_path: Path) -> None:
    """Each rotation moves the older ones on; the oldest goes."""
    path = tmp_path / "server.log"
    for number in range(1, 5):
        path.write_text(f"log {number}")
        rotate(path, limit_bytes=3, keep=2)

    kept = {old.name: old.read_text() for old in tmp_path.glob("server.log.*")}

    assert kept == {"server.log.1": "log 4", "server.log.2": "log 3"}
    assert path.read_text() == ""


def test_a_small_log_stays(tmp_path: Path) -> None:
    """Nothing is put aside before the limit; a log that is not there is no fault."""
    path = tmp_path / "server.log"
    path.write_text("abc")

    rotate(path, limit_bytes=3)
    rotate(tmp_path / "worker.log", limit_bytes=3)

    assert [found.name for found in tmp_path.iterdir()] == ["server.log"]


def test_all_logs_of_the_home_are_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The services' logs and that of the embedded database have the same limit."""
    monkeypatch.setenv("STASHHOG_HOME", str(tmp_path))
    monkeypatch.setattr("stashhog.services.logs.rotate", seen := Seen())
    (tmp_path / "postgres").mkdir()
    settings = Settings()
    for name in ("server", "worker"):
        os.close(open_log(settings, name))

    rotate_logs(settings)

    assert sorted(seen.paths) == ["logs/server.log", "logs/worker.log", "postgres/log"]


class Seen(list[Path]):
    """Takes down which files it is called with."""

    def __call__(self, path: Path) -> None:
        self.append(path)

    @property
    def paths(self) -> list[str]:
        return ["/".join(path.parts[-2:]) for path in self]
