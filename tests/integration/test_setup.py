"""`stashhog init`: answers are tried, then written; with options and by questions."""

import json
import os
import pty
import shutil
import stat
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from sandbox.stash.server import StandIn
from stashhog.cli.app import main
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from tests.support.qbittorrent import PASSWORD, USERNAME, running_qbittorrent
from tests.support.services import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def library(
    stand_in: StandIn,
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The library folder of a Stash that answers; a database is set."""
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    monkeypatch.setenv("STASHHOG_HOME", str(tmp_path / "home"))
    (tmp_path / "downloads").mkdir()
    return stand_in.library


def init(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command with these options and without questions."""
    words = [str(argument) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["stashhog", "init", "--yes", *words])
    # The command sets it, for what it runs at the end.
    monkeypatch.setenv("STASHHOG_ENV_FILE", "")
    get_settings.cache_clear()
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_options_become_settings(
    monkeypatch: pytest.MonkeyPatch,
    stand_in: StandIn,
    library: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The scan paths are found; the file is private; a second time changes nothing."""
    file = tmp_path / "mine.env"
    options = (
        *("--file", file, "--stash-url", stand_in.url, "--library", library),
        *("--downloads", tmp_path / "downloads"),
    )
    assert init(monkeypatch, *options) == 0
    said = capsys.readouterr().out

    assert dotenv_values(file) == {
        "STASHHOG_STASH__URL": stand_in.url,
        "STASHHOG_DOWNLOADS__LIBRARY_ROOT": str(library),
        "STASHHOG_DOWNLOADS__FOLDER": str(tmp_path / "downloads"),
        "STASHHOG_DOWNLOADS__SOURCE": "folder",
        "STASHHOG_STASH__SCAN_PATHS": json.dumps([str(library)]),
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"+ STASHHOG_STASH__URL={stand_in.url}" in said
    assert "stashhog run process_new_scenes" in said

    written = file.read_text()
    assert init(monkeypatch, *options) == 0
    assert file.read_text() == written
    assert "has these settings already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--library", "/does/not/exist"], "STASHHOG_DOWNLOADS__LIBRARY_ROOT"),
        (["--stash-api-key", "wrong-key"], "STASHHOG_STASH__API_KEY"),
        (["--qbittorrent-url", "http://127.0.0.1:9"], "qBittorrent"),
        (["--database-url", "mysql://x"], "STASHHOG_DATABASE__URL"),
        (["--stash-url", "nas:9999"], "http://localhost:9999"),
        (["--path-map", "/data"], "/folder/of/stash=/local/folder"),
    ],
)
def test_a_failure_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    stand_in: StandIn,
    library: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    """One sentence names what is wrong, and an older file stays as it was."""
    monkeypatch.delenv("STASHHOG_DATABASE__URL")
    file = tmp_path / "mine.env"
    file.write_text("# mine\n")
    given = {
        "--stash-url": stand_in.url,
        "--library": str(library),
        "--downloads": str(tmp_path / "downloads"),
        "--database-url": "postgresql://u@127.0.0.1:1/x",
    }
    if "--qbittorrent-url" in options:
        del given["--downloads"]
    for name, value in given.items():
        if name not in options:
            options = [*options, name, value]

    assert init(monkeypatch, "--file", file, *options) == 2
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert "wrong-key" not in said.out + said.err
    assert file.read_text() == "# mine\n"


@pytest.mark.slow
def test_the_path_map_is_found(
    monkeypatch: pytest.MonkeyPatch,
    stand_in: StandIn,
    library: Path,
    tmp_path: Path,
    sample_videos: tuple[Path, Any],
) -> None:
    """By the files that Stash has, where its folder has another name here."""
    shutil.copytree(sample_videos[0], library / "new")
    with StashClient(
        get_settings().stash.model_copy(update={"url": stand_in.url})
    ) as stash:
        stash.start_job("scan", {"paths": [str(library)]})
        wait_until(lambda: not stash.job_queue(), "the end of the scan")
    here = tmp_path / "here"
    library.rename(here)
    file = tmp_path / "mine.env"

    status = init(
        monkeypatch,
        *("--file", file, "--stash-url", stand_in.url, "--library", here / "new"),
        *("--downloads", tmp_path / "downloads"),
    )
    here.rename(library)

    assert status == 0
    found = dotenv_values(file)["STASHHOG_STASH__PATH_MAP"]
    assert json.loads(found or "") == {str(library): str(here)}


@pytest.mark.slow
def test_the_path_map_of_qbittorrent_is_found(
    monkeypatch: pytest.MonkeyPatch, stand_in: StandIn, library: Path, tmp_path: Path
) -> None:
    """By the names and sizes of the files of finished torrents."""
    saved, here = tmp_path / "saved", tmp_path / "downloads"
    saved.mkdir()
    (saved / "film.mp4").write_bytes(b"x" * 70_000)
    with running_qbittorrent(tmp_path / "qbittorrent") as server:
        server.wait_for(server.seed(saved / "film.mp4"), "stalledUP")
        here.rmdir()
        saved.rename(here)
        file = tmp_path / "mine.env"
        status = init(
            monkeypatch,
            *("--file", file, "--stash-url", stand_in.url, "--library", library),
            *("--qbittorrent-url", server.url, "--qbittorrent-username", USERNAME),
            *("--qbittorrent-password", PASSWORD, "--category", "stash"),
        )
        here.rename(saved)

    assert status == 0
    found = dotenv_values(file)["STASHHOG_DOWNLOADS__PATH_MAP"]
    assert json.loads(found or "") == {str(saved): str(here)}


@pytest.mark.slow
def test_questions_are_asked_again_until_the_answer_is_good(
    stand_in: StandIn, library: Path, tmp_path: Path
) -> None:
    """At a terminal: a wrong address and a missing folder first."""
    file = tmp_path / "mine.env"
    dialogue = [
        ("Address of Stash", f"http://127.0.0.1:{free_port()}"),
        ("API key", ""),
        ("Address of Stash", stand_in.url),
        ("API key", ""),
        ("Library folder", str(tmp_path / "missing")),
        ("Library folder", str(library)),
        ("come from", "folder"),
        ("Folder to watch", str(tmp_path / "downloads")),
        ("Write these settings?", "y"),
        ("first import", "n"),
    ]
    said = answered(dialogue, "--file", str(file))

    assert "Stash cannot be reached" in said
    assert "The library folder does not exist" in said
    assert dotenv_values(file)["STASHHOG_STASH__URL"] == stand_in.url
    assert "STASHHOG_STASH__API_KEY" not in dotenv_values(file)


HIDDEN = {"API key"}
"""Questions whose answers the terminal does not show."""


def has_echo(terminal: int) -> bool:
    """Tell whether a terminal shows what is typed."""
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


def answered(dialogue: list[tuple[str, str]], *arguments: str) -> str:
    """Run the command at a terminal of its own, and answer its questions."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).parent / "stashhog", "init", *arguments],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "200"},
        start_new_session=True,
    )
    os.close(theirs)
    said, seen = "", 0
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            # The other end is closed.
            break
        if not part:
            break
        said += part.decode(errors="replace")
        if dialogue and dialogue[0][0] in said[seen:]:
            rest = said[seen:].partition(dialogue[0][0])[2]
            if rest.rstrip(" ").endswith(":"):
                if dialogue[0][0] in HIDDEN:
                    # Whoever types before the echo is off is not heard.
                    wait_until(lambda: not has_echo(ours), "the end of the echo")
                os.write(ours, f"{dialogue.pop(0)[1]}\n".encode())
                seen = len(said)
    os.close(ours)
    assert process.wait() == 0, said
    assert dialogue == [], said
    return said
