"""`stashhog check` in the terminal: lines of 80 columns, JSON, exit statuses."""

import json
import sys
from pathlib import Path

import pytest

from sandbox.stash.server import StandIn
from stashhog.cli.app import main
from stashhog.cli.console import console
from stashhog.cli.health import print_checks
from stashhog_core.results import CheckLine
from stashhog_core.settings import get_settings


def check(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["stashhog", "check", *arguments])
    get_settings.cache_clear()
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.fixture
def configured(
    database_url: str,
    stand_in: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Variables with which everything is well; the download folder."""
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "DATABASE__URL": database_url,
        "STASH__URL": stand_in.url,
        "STASH__SCAN_PATHS": json.dumps([str(stand_in.library)]),
        "DOWNLOADS__FOLDER": str(downloads),
        "DOWNLOADS__LIBRARY_ROOT": str(stand_in.library),
    }.items():
        monkeypatch.setenv(f"STASHHOG_{name}", value)
    return downloads


def test_the_exit_status_tells_warnings_from_failures(
    configured: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1 with the superuser of the tests, 2 without Stash; JSON has each line."""
    assert check(monkeypatch, "--json") == 1
    lines = {c["name"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    assert lines["links"]["state"] == "ok"
    assert lines["database account"]["remedy"]

    monkeypatch.delenv("STASHHOG_STASH__URL")
    assert check(monkeypatch) == 2
    out = capsys.readouterr().out
    assert "✗ Stash" in out
    assert "→ run `stashhog init`, or set STASHHOG_STASH__URL" in out


def test_a_wrong_setting_is_one_sentence(
    configured: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No check is made with settings that nobody meant."""
    monkeypatch.setenv("STASHHOG_STASH__URI", "http://localhost:9999")

    assert check(monkeypatch) == 2
    assert "did you mean STASHHOG_STASH__URL?" in capsys.readouterr().err


def test_lines_are_wrapped_and_names_are_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 80 columns; brackets of a folder's name are no markup."""
    monkeypatch.setattr(console, "width", 80)
    found = "the folder [red]x[/red] " + "is long " * 20
    print_checks([CheckLine(name="links", state="failure", found=found, remedy="mend")])
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 80
    assert "[red]x[/red]" in " ".join(lines)
    assert lines[-1].split() == ["→", "mend"]
    assert all(line.startswith(" " * 20) for line in lines[1:])
