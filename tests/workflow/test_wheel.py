"""The wheel, installed in a fresh environment, away from the checkout."""

import json
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from tests.conftest import postgres_home
from tests.support.media import write_video
from tests.support.services import PARTS, ROOT, RunningServices, prepared_services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]

SHIPPED = {
    "stashhog/data/prefect.yaml": "prefect.yaml",
    "stashhog/data/automations.yaml": "deployments/automations.yaml",
    "stashhog/data/env.example": "deployments/env.example",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout without any network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment that has the wheel.

    It borrows all other packages from the environment of the tests. Its own .pth file
    adds that folder alone: the .pth file there, which names the checkout, is not read.
    """
    environment = tmp_path_factory.mktemp("environment")
    programs = environment / "bin"
    for words in (
        ["venv", "--without-pip", environment],
        [
            *("pip", "--python", programs / "python", "install"),
            *("--no-index", "--no-deps", "--quiet", wheel),
        ],
    ):
        subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


@pytest.fixture(scope="module")
def installed(
    programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServices]:
    """The services of the wheel; a `.env` in a folder elsewhere has all settings."""
    folder = tmp_path_factory.mktemp("installed")
    with postgres_home() as home, prepared_services(home, folder) as services:
        lines = [
            f"{name}='{value}'"
            for name, value in services.variables.items()
            if name != "PREFECT_API_URL"
        ]
        (folder / ".env").write_text("\n".join(lines))
        yield replace(services, variables={}, programs=programs, folder=folder)


def test_the_wheel_has_its_data_and_its_licence(wheel: Path) -> None:
    """The files equal those of the checkout, and there is no other package in it."""
    licence = (
        f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info/licenses/LICENSE"
    )
    with zipfile.ZipFile(wheel) as archive:
        for shipped, source in {**SHIPPED, licence: "LICENSE"}.items():
            assert archive.read(shipped) == (ROOT / source).read_bytes(), shipped
        folders = {name.split("/")[0] for name in archive.namelist()}

    assert folders == {
        *("flows", "tasks", "stashhog", "stashhog_core"),
        licence.split("/")[0],
    }


def test_the_checkout_is_out_of_reach(installed: RunningServices) -> None:
    """Only what the wheel holds can be imported, and the command is the wheel's."""
    found = installed.command(
        "python", "-c", "import stashhog; print(stashhog.__file__)"
    )
    sandbox = installed.command("python", "-c", "import sandbox")

    assert Path(found.stdout.strip()).is_relative_to(installed.programs.parent)
    assert "No module named 'sandbox'" in sandbox.stderr


def test_version(installed: RunningServices) -> None:
    """The installed command knows its version."""
    said = installed.command("stashhog", "--version")

    assert said.stdout == f"stashhog {metadata.version('stashhog')}\n", said.stderr


def test_settings(installed: RunningServices) -> None:
    """`settings` prints the example of the settings, to be stored as `.env`."""
    said = installed.command("stashhog", "settings")

    assert said.stdout == (ROOT / "deployments" / "env.example").read_text()


def test_without_services(installed: RunningServices, tmp_path: Path) -> None:
    """There is no sandbox outside a checkout: a job asks for the setting it lacks."""
    elsewhere = replace(
        installed,
        folder=tmp_path,
        variables={"STASHHOG_HOME": str(installed.home)},
    )

    said = elsewhere.command("stashhog", "run", "process_new_scenes")

    assert said.returncode == 2
    assert "set STASHHOG_STASH__URL" in said.stderr


def test_run(installed: RunningServices) -> None:
    """`run` takes a download from the watch folder to a mirrored scene."""
    write_video(installed.downloads / "New Film.mp4", seed=11)

    run = installed.command("stashhog", "run", "process_new_scenes")
    scenes = installed.command("stashhog", "scenes", "New Film", "--json")

    assert run.returncode == 0, run.stdout + run.stderr
    assert len(json.loads(scenes.stdout)) == 1, scenes.stdout + scenes.stderr


def test_services(installed: RunningServices) -> None:
    """`up`, `deploy`, `status` and `down` work, and runs read the same `.env`."""
    up = installed.command("stashhog", "up")
    assert up.returncode == 0, up.stderr + installed.logs()
    assert all(part["ok"] for part in installed.status().values())

    api = {"PREFECT_API_URL": f"{installed.url}/api"}
    deploy = installed.command("stashhog", "deploy", **api)
    assert deploy.returncode == 0, deploy.stderr
    names = {
        found["name"] for found in installed.ask("POST", "/deployments/filter", {})
    }
    assert names == {made["name"] for made in _deployments()}
    automations = installed.ask("POST", "/automations/filter", {})
    assert any(found["name"].startswith("stashhog: ") for found in automations)
    scan = installed.wait_for_end(installed.start("stash_scan/stash-scan", {}))
    assert scan["state"]["type"] == "COMPLETED", scan["state"]

    down = installed.command("stashhog", "down")
    assert down.returncode == 0, down.stderr
    assert all(name in down.stdout for name in PARTS)
    assert installed.command("stashhog", "status").returncode == 1


def _deployments() -> list[dict[str, str]]:
    listed: list[dict[str, str]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())[
        "deployments"
    ]
    return listed
