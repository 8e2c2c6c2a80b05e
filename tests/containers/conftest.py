"""The image of deployments/Dockerfile, built in a container engine.

Where the engine needs other options, such as another runtime or other limits, its own
settings have them: podman reads the file that CONTAINERS_CONF names.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.engine import find_engine, has_image
from tests.support.services import ROOT

HERE = Path(__file__).parent
DEBIAN = "localhost/stashhog-test-debian"
CERTIFICATES = Path("/etc/ssl/certs")
STAND_INS = {"python": "python.Containerfile", "postgres": "postgres.Containerfile"}
"""What stands for an image where no registry can be reached."""


@pytest.fixture(scope="session")
def engine() -> str:
    """The program of the engine."""
    return find_engine()


@pytest.fixture(scope="session")
def base_images(engine: str) -> None:
    """The pinned images; where no registry can be reached, ones of Debian's packages.

    The stand-ins get the names of the pinned images on this machine, and stay.
    """
    dockerfile = (ROOT / "deployments" / "Dockerfile").read_text()
    compose = (ROOT / "deployments" / "compose.yaml").read_text()
    wanted = re.findall(r"^FROM (\S+)$", dockerfile, re.MULTILINE)
    wanted += re.findall(r"^    image: (postgres:\S+)$", compose, re.MULTILINE)
    assert [name.partition(":")[0] for name in wanted] == ["python", "postgres"]
    for name in wanted:
        whole = f"docker.io/library/{name}"
        pull = [engine, "pull", "--quiet", whole]
        if (
            not has_image(engine, whole)
            and subprocess.run(pull, capture_output=True, check=False).returncode
        ):
            _make_stand_in(engine, whole)


def _make_stand_in(engine: str, name: str) -> None:
    if not has_image(engine, DEBIAN):
        _import_debian(engine)
    file = HERE / STAND_INS[name.rpartition("/")[2].partition(":")[0]]
    _build(engine, file, name, HERE)


def _import_debian(engine: str) -> None:
    if not shutil.which("mmdebstrap"):
        pytest.fail(
            "No registry of images answers: install mmdebstrap, so that images can be "
            "made from Debian's packages"
        )
    with subprocess.Popen(
        ["mmdebstrap", "--quiet", "--variant=minbase", "bookworm"],
        stdout=subprocess.PIPE,
    ) as made:
        subprocess.run(
            [engine, "import", "-", DEBIAN],
            stdin=made.stdout,
            check=True,
            capture_output=True,
        )
    assert made.returncode == 0


@pytest.fixture(scope="session")
def image(engine: str, base_images: None) -> str:
    """The image, as compose.yaml builds it."""
    del base_images
    name = "localhost/stashhog"
    options = []
    if CERTIFICATES.exists() and Path(engine).name == "podman":
        # Packages may come by way of a proxy that has a certificate of its own.
        options = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    _build(engine, ROOT / "deployments" / "Dockerfile", name, ROOT, *options)
    return name


def _build(engine: str, file: Path, name: str, context: Path, *options: str) -> None:
    done = subprocess.run(
        [engine, "build", "--file", file, "--tag", name, *options, context],
        env={**os.environ, "BUILDAH_FORMAT": "docker"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
