"""What the checks say of real folders, a real database and the stand-in Stash."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash.server import StandIn
from stashhog_core.db import embedded
from stashhog_core.db.session import Database
from stashhog_core.health import machine
from stashhog_core.health.checks import Checkup, run_checks
from stashhog_core.health.downloads import try_link
from stashhog_core.health.registry import CHECKS
from stashhog_core.results import CheckLine
from stashhog_core.settings import Settings
from tests.support.mounted import has_mounts, run_mounted
from tests.support.services import free_port
from tests.support.waiting import wait_until

LINKS = """
import json, sys
from stashhog_core.health.checks import Checkup, run_checks
from stashhog_core.health.registry import CHECKS
from stashhog_core.settings import Settings

with Checkup(Settings(**json.loads(sys.argv[1]))) as checkup:
    lines = run_checks(checkup, [c for c in CHECKS if c.name in sys.argv[2:]])
print(json.dumps([line.model_dump() for line in lines]))
"""


@pytest.fixture
def library(stand_in: StandIn) -> Path:
    """The folder that the stand-in scans."""
    return stand_in.library


@pytest.fixture
def values(
    stand_in: StandIn, library: Path, tmp_path: Path, database_url: str
) -> dict[str, Any]:
    """Settings with which everything is well."""
    (tmp_path / "downloads").mkdir()
    return {
        "home": str(tmp_path / "home"),
        "database": {"url": database_url},
        "stash": {"url": stand_in.url, "scan_paths": [str(library)]},
        "downloads": {
            "folder": str(tmp_path / "downloads"),
            "library_root": str(library),
        },
    }


def checked(values: dict[str, Any], *names: str) -> dict[str, CheckLine]:
    """Make the checks, or those of these names, and return the lines by name."""
    chosen = [check for check in CHECKS if not names or check.name in names]
    with Checkup(Settings(**values)) as checkup:
        return {line.name: line for line in run_checks(checkup, chosen)}


def test_all_is_well(values: dict[str, Any]) -> None:
    """No check fails where each service and folder is as it should be."""
    lines = checked(values)

    assert {name for name, line in lines.items() if line.state == "failure"} == set()
    assert {"Stash", "path map", "links", "job locks", "last runs"} <= lines.keys()
    # The test's own account on the server.
    assert lines["database account"].state == "warning"


def test_stash_is_away(values: dict[str, Any]) -> None:
    """One failure, and the checks that ask Stash are not made."""
    values["stash"]["url"] = f"http://127.0.0.1:{free_port()}"
    lines = checked(values)

    assert lines["Stash"].state == "failure"
    assert "STASHHOG_STASH__URL" in lines["Stash"].remedy
    assert {lines[n].state for n in ("path map", "scan paths", "placed files")} == {
        "skipped"
    }
    assert lines["links"].state == "ok"


def test_a_wrong_key(values: dict[str, Any]) -> None:
    """The line names the setting, and not the key."""
    values["stash"]["api_key"] = "wrong-key-of-mine"
    line = checked(values)["Stash"]

    assert line.state == "failure"
    assert "STASHHOG_STASH__API_KEY" in line.remedy
    assert "wrong-key-of-mine" not in str(line)


def test_scan_paths_outside_the_library(values: dict[str, Any], library: Path) -> None:
    """The folders that would be right are the remedy, ready to copy."""
    values["stash"]["scan_paths"] = ["/data"]
    line = checked(values)["scan paths"]

    assert line.state == "failure"
    assert f'STASHHOG_STASH__SCAN_PATHS=["{library}"]' in line.remedy


def test_a_library_folder_that_stash_does_not_have(
    values: dict[str, Any], tmp_path: Path
) -> None:
    """What is placed there would never come into Stash."""
    (tmp_path / "elsewhere").mkdir()
    values["downloads"]["library_root"] = str(tmp_path / "elsewhere")
    line = checked(values)["placed files"]

    assert line.state == "failure"
    assert "STASHHOG_STASH__PATH_MAP" in line.remedy


@pytest.mark.parametrize(
    ("line", "state"), [("*.mp4", "failure"), ("old*", "warning"), ("x.mp4", "ok")]
)
def test_files_that_stash_ignores(
    values: dict[str, Any], library: Path, line: str, state: str
) -> None:
    """All new files, or one that is there: the line of the file is named."""
    (library / "old.mp4").touch()
    (library / ".stashignore").write_text(f"# mine\n{line}\n")
    found = checked(values)["placed files"]

    assert found.state == state
    assert state == "ok" or repr(line) in found.found


@pytest.mark.slow
def test_a_path_map_is_proposed(
    values: dict[str, Any],
    stand_in: StandIn,
    library: Path,
    tmp_path: Path,
    sample_videos: tuple[Path, Any],
) -> None:
    """Stash's folder has another name here: the file itself tells which one."""
    shutil.copytree(sample_videos[0], library / "new")
    with Checkup(Settings(**values)) as checkup:
        checkup.stash.start_job("scan", {"paths": [str(library)]})
        stash = checkup.stash
        wait_until(lambda: not stash.job_queue(), "the end of the scan")
    here = tmp_path / "mounted" / "videos"
    here.parent.mkdir()
    library.rename(here)
    values["downloads"]["library_root"] = str(here / "new")

    line = checked(values)["path map"]
    proposal = line.remedy.partition("=")[2]
    values["stash"]["path_map"] = json.loads(proposal)

    assert line.state == "failure"
    assert json.loads(proposal) == {str(library): str(here)}
    assert checked(values)["path map"].state == "ok"
    assert checked(values)["placed files"].state == "ok"
    here.rename(library)


def test_a_missing_library_folder(values: dict[str, Any], tmp_path: Path) -> None:
    """The line names the folder and the setting."""
    values["downloads"]["library_root"] = str(tmp_path / "not-mounted")
    lines = checked(values)

    assert lines["library"].state == "failure"
    assert "not-mounted" in lines["library"].found
    assert lines["links"].state == "skipped"


@pytest.mark.parametrize("is_empty", [True, False])
def test_links_leave_nothing_behind(values: dict[str, Any], is_empty: bool) -> None:
    """Neither in the library nor in the download folder, with a file of it or not."""
    downloads = Path(values["downloads"]["folder"])
    library = Path(values["downloads"]["library_root"])
    if not is_empty:
        (downloads / "film.mp4").write_bytes(b"x")
    before = sorted(downloads.iterdir()), sorted(library.iterdir())

    assert checked(values)["links"].state == "ok"
    assert (sorted(downloads.iterdir()), sorted(library.iterdir())) == before


def test_the_file_of_a_killed_check_is_removed(values: dict[str, Any]) -> None:
    """By the next check, unless the other check may still be at work."""
    downloads = Path(values["downloads"]["folder"])
    old, new = (downloads / f".stashhog-check-{name}" for name in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))

    checked(values)

    assert not old.exists()
    assert new.exists()


@pytest.mark.slow
def test_one_folder_with_two_names_is_refused(
    values: dict[str, Any], tmp_path: Path
) -> None:
    """As containers have them by bind mounts."""
    library = Path(values["downloads"]["library_root"])
    second = tmp_path / "second-name"
    values["downloads"]["folder"] = str(second)
    said = run_mounted(
        LINKS, {second: library}, json.dumps(values), "library", "downloads", "links"
    )
    links = CheckLine(**json.loads(said)[-1])

    assert links.state == "failure"
    assert "same folder" in links.found


@pytest.mark.slow
@pytest.mark.skipif(not has_mounts(), reason="the kernel lets nobody mount here")
def test_no_link_leads_between_two_mounts(
    values: dict[str, Any], tmp_path: Path
) -> None:
    """The line names both mounts, and what happens in place of a link."""
    downloads = Path(values["downloads"]["folder"])
    (downloads / "film.mp4").write_bytes(b"x")
    second = tmp_path / "mounted-downloads"
    values["downloads"]["folder"] = str(second)
    said = run_mounted(
        LINKS, {second: downloads}, json.dumps(values), "library", "downloads", "links"
    )
    links = CheckLine(**json.loads(said)[-1])

    assert str(second) in links.found
    assert "two mounts" in links.found
    assert links.state in {"ok", "warning"}
    if links.state == "warning":
        assert "copied" in links.found


def test_hard_links_that_are_required_and_impossible(tmp_path: Path) -> None:
    """With the policy `hardlink` nothing could be placed: a failure."""
    library = tmp_path / "library"
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK) or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system to write to")
    library.mkdir()
    folder = shared / f"stashhog-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "film.mp4").write_bytes(b"x")
        settings = Settings(downloads={"place": "hardlink"})
        finding = try_link(settings, folder, library)
    finally:
        shutil.rmtree(folder)

    assert finding.state == "failure"
    assert "different file systems" in finding.found
    assert "STASHHOG_DOWNLOADS__PLACE" in finding.remedy


def test_a_database_that_is_away(values: dict[str, Any]) -> None:
    """All that reads it is not made; nothing shows the password."""
    values["database"]["url"] = f"postgresql://u:secret@127.0.0.1:{free_port()}/x"
    lines = checked(values)

    assert lines["database"].state == "failure"
    assert {lines[n].state for n in ("tables", "job locks", "last runs")} == {"skipped"}
    assert "secret" not in str(lines)


def test_a_database_without_tables(
    values: dict[str, Any], empty_database: Database
) -> None:
    """On a server of the user's, the command that makes the tables is the remedy."""
    values["database"]["url"] = empty_database.connection_string
    line = checked(values)["tables"]

    assert line.state == "failure"
    assert "stashhog migrate" in line.remedy


def test_a_home_that_others_may_write_to(values: dict[str, Any]) -> None:
    """Whoever writes there decides what StashHog runs."""
    home = Path(values["home"])
    home.mkdir()
    home.chmod(0o777)
    line = checked(values, "home")["home"]

    assert line.state == "warning"
    assert line.remedy == f"chmod go-w {home}"


def test_a_home_without_space_for_the_embedded_database(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run begins that nobody could note; another database needs no space there."""
    monkeypatch.setattr(embedded, "LEAST_FREE_BYTES", 10**18)
    assert "home space" not in checked(values, "home", "home space")
    with monkeypatch.context() as patch:
        # As where Prefect's database is on the embedded server.
        patch.setattr(machine, "embedded_url", lambda _: "postgresql://")
        assert checked(values, "home space")["home space"].state == "failure"
    del values["database"]
    line = checked(values, "home", "home space")["home space"]

    assert line.state == "failure"
    assert values["home"] in line.found
    assert "STASHHOG_HOME" in line.remedy


def test_a_proxy_that_would_be_asked_for_a_service(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services of the local network are named; this machine is asked directly."""
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost")

    assert checked(values, "proxies")["proxies"].state == "ok"
    values["ai_server"] = {"url": "http://nas.example:8000"}
    line = checked(values, "proxies")["proxies"]
    assert line.state == "warning"
    assert "STASHHOG_AI_SERVER__URL" in line.found
    assert "nas.example" in line.remedy
