"""The container files in an engine: an image, and the services of compose.yaml."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.samples import Sample
from tests.support.engine import Composition, interpolated, user_of
from tests.support.http import loopback
from tests.support.services import FEW_SAMPLES, ROOT, free_port

pytestmark = pytest.mark.timeout(3600)

DEPLOYMENTS = ROOT / "deployments"
FILES = [DEPLOYMENTS / "compose.yaml", DEPLOYMENTS / "compose.media.yaml"]
ACCOUNT = 1000 if os.getuid() == 0 else os.getuid()


@pytest.fixture(scope="module")
def media(
    sample_videos: tuple[Path, list[Sample]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with downloads and an empty library, which belongs to an account."""
    folder = tmp_path_factory.mktemp("media")
    downloads = folder / "downloads"
    downloads.mkdir()
    (folder / "library").mkdir()
    for name in FEW_SAMPLES:
        shutil.copy(sample_videos[0] / name, downloads)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, ACCOUNT, ACCOUNT)
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid():
            path.chmod(path.stat().st_mode | 0o055)
    return folder


@pytest.fixture(scope="module")
def composition(
    engine: str, image: str, media: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composition]:
    """The services, started in their order, with the stand-in in the place of Stash."""
    variables = {
        "POSTGRES_PASSWORD": "letters-and-digits",
        "PREFECT_SERVER_API_AUTH_STRING": "admin:a-long-password",
        "STASHHOG_WEB__PASSWORD": "another-long-password",
        "MEDIA_FOLDER": str(media),
        "MEDIA_USER": str(ACCOUNT),
        "MEDIA_GROUP": str(ACCOUNT),
        "QBT_EULA": "accept",
        "PREFECT_SERVER_API_PORT": str(free_port()),
        "STASHHOG_WEB__PORT": str(free_port()),
        "STASHHOG_STASH__URL": "http://stash:9999",
        "STASHHOG_STASH__SCAN_PATHS": '["/media/library"]',
        "STASHHOG_DOWNLOADS__LIBRARY_ROOT": "/media/library",
        "STASHHOG_DOWNLOADS__SOURCE": "folder",
        "STASHHOG_DOWNLOADS__FOLDER": "/media/downloads",
        "STASHHOG_DOWNLOADS__SETTLE_SECONDS": "0",
        "STASH_PORT": str(free_port()),
    }
    folder = tmp_path_factory.mktemp("composition")
    found = Composition(engine, FILES, variables, folder)
    found.services["stash"] |= {
        "image": image,
        "user": f"{ACCOUNT}:{ACCOUNT}",
        "volumes": [
            *found.services["stash"]["volumes"][:1],
            f"{ROOT / 'sandbox'}:/app/sandbox:ro",
        ],
        "command": [
            *("python", "-m", "sandbox.stash", "--host", "0.0.0.0"),  # noqa: S104
            *("--home", "/tmp/stash", "--library", "/media/library"),
            "--seed-samples",
        ],
        "healthcheck": {
            "test": [
                *("CMD", "python", "-c"),
                "import urllib.request as r; r.urlopen('http://127.0.0.1:9999/healthz')",
            ]
        },
    }
    with found.network():
        for service in ("stash", "database", "migrate", "server", "deploy"):
            found.start(service)
        for service in ("worker", "web"):
            found.start(service)
        for service in ("stash", "worker", "web"):
            found.wait_until_healthy(service)
        yield found


def test_the_image_runs_the_program_as_an_ordinary_user(
    engine: str, image: str, composition: Composition
) -> None:
    """Not as root, in any of our containers."""
    assert user_of(engine, image) == "stashhog"
    for service in ("server", "worker", "web"):
        assert composition.execute(service, "id", "-u").strip() == str(ACCOUNT)


def test_everything_is_well(composition: Composition) -> None:
    """`stashhog check` finds no failure from where the jobs run."""
    said = composition.engine(
        "exec", composition.container("worker"), "stashhog", "check", check=False
    )

    assert "✗" not in said
    assert "✓ worker" in said


def test_this_machine_has_a_name(composition: Composition) -> None:
    """A Stash that runs here without a container can be reached from the worker."""
    said = composition.execute("worker", "getent", "hosts", "host.docker.internal")

    assert said.split()[1:] == ["host.docker.internal"]


def test_a_run_takes_downloads_to_scenes(composition: Composition, media: Path) -> None:
    """Started at Prefect's server, done by the worker, with links and not copies."""
    said = composition.execute(
        "worker",
        *("prefect", "deployment", "run", "process_new_scenes/process-new-scenes"),
        "--watch",
    )
    report = composition.execute("worker", "stashhog", "report", "--json")

    assert "CompletedWithErrors" in said
    assert json.loads(report)["scenes"] == 3
    linked = list((media / "library").rglob("*.mp4"))
    assert {path.name for path in linked} == FEW_SAMPLES
    assert {path.stat().st_nlink for path in linked} == {2}


def test_the_machine_reaches_the_pages_and_the_ui(composition: Composition) -> None:
    """On loopback, and each asks for its password."""
    for service, path, status in (
        ("web", "/plans", 303),
        ("server", "/api/flows/count", 405),
    ):
        (port,) = composition.services[service]["ports"]
        address, _, _ = interpolated(port, composition.variables).rpartition(":")
        answer = loopback.get(f"http://{address}{path}")
        assert answer.status_code in {status, 401}, answer.text
