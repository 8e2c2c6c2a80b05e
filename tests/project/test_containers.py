"""The container files name only what exists, and open nothing to the network."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
import yaml

from stashhog_core.settings import setting_variables

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deployments" / "compose.yaml"
MEDIA = ROOT / "deployments" / "compose.media.yaml"
DOCKERFILE = ROOT / "deployments" / "Dockerfile"
OPERATING = ROOT / "deployments" / "operating.md"

Compose = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> Compose:
    """The compose file, its anchors and merges resolved."""
    loaded: Compose = yaml.safe_load(COMPOSE.read_text())
    return loaded


@pytest.fixture(scope="module")
def media() -> Compose:
    """The compose file of Stash and qBittorrent."""
    loaded: Compose = yaml.safe_load(MEDIA.read_text())
    return loaded


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions in order, lines put together."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def test_what_is_copied_exists() -> None:
    """Each path that the image is made from is in the project."""
    copied = [shlex.split(rest)[:-1] for name, rest in instructions() if name == "COPY"]
    paths = [path for paths in copied for path in paths]

    assert {"flows/", "tasks/", "stashhog_core/", "prefect.yaml"} <= set(paths)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_requirements_are_installed_as_the_makefile_does() -> None:
    """The image has the pinned packages, by the same lock files and options."""
    makefile = (ROOT / "Makefile").read_text()
    runs = " ".join(rest for name, rest in instructions() if name == "RUN")

    wanted = re.search(r"install (.*-r requirements/run\.txt)", makefile)
    assert wanted is not None
    assert wanted[1] in runs


def test_the_image_runs_as_an_ordinary_user() -> None:
    """The last instruction on it names an account that is not root."""
    users = [rest for name, rest in instructions() if name == "USER"]

    assert users
    assert users[-1] not in {"root", "0"}


def test_images_are_plain_names(compose: Compose) -> None:
    """No registry is named: whoever runs it decides where images come from."""
    images = [service["image"] for service in compose["services"].values()]
    images += [rest for name, rest in instructions() if name == "FROM"]

    assert set(images) == {"stashhog", "postgres:18", "python:3.12-slim"}


def test_images_are_pinned(compose: Compose, media: Compose) -> None:
    """By a version: no image changes by itself."""
    services = [*compose["services"].values(), *media["services"].values()]
    images = {service["image"] for service in services} - {"stashhog"}

    assert all(re.search(r":v?\d", image) for image in images), images


def test_logs_have_a_limit(compose: Compose, media: Compose) -> None:
    """No container fills the disk with what it says."""
    for service in (*compose["services"].values(), *media["services"].values()):
        assert service["logging"]["driver"] == "json-file"
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_stash_on_this_machine_can_be_reached(compose: Compose) -> None:
    """From each container of ours, by one name."""
    ours = [s for s in compose["services"].values() if s["image"] == "stashhog"]

    assert len(ours) == 5
    for service in ours:
        assert service["extra_hosts"] == ["host.docker.internal:host-gateway"]


def test_media_are_one_mount_for_all(compose: Compose, media: Compose) -> None:
    """Stash and qBittorrent see the paths that the worker sees."""
    mount = compose["services"]["worker"]["volumes"][-1]

    assert mount.endswith(":/media")
    assert set(media["services"]) == {"stash", "qbittorrent"}
    for service in media["services"].values():
        assert service["volumes"][0] == mount
    assert media["services"]["stash"]["environment"]["STASH_STASH"] == "/media/library"


def test_ports_are_open_on_loopback_only(compose: Compose, media: Compose) -> None:
    """Other machines get in by a deliberate change, or a proxy."""
    services = [*compose["services"].values(), *media["services"].values()]
    ports = [port for service in services for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_services_that_stay_are_watched(compose: Compose) -> None:
    """What runs on has a health check and is started again; one-off steps are not."""
    services = compose["services"]
    once = {name for name, service in services.items() if service["restart"] == "no"}

    assert once == {"migrate", "deploy"}
    for name in set(services) - once:
        assert services[name]["restart"] == "unless-stopped"
        assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_the_database_is_well_when_others_reach_it(compose: Compose) -> None:
    """The image makes its databases with a server that listens at its socket only."""
    test = compose["services"]["database"]["healthcheck"]["test"]

    assert test[:2] == ["CMD", "pg_isready"]
    assert "--host=127.0.0.1" in test


def test_services_start_in_order(compose: Compose) -> None:
    """Each waits for what it needs; whatever is waited for exists and can say so."""
    services = compose["services"]
    for service in services.values():
        for name, needed in service.get("depends_on", {}).items():
            healthy = needed["condition"] == "service_healthy"
            assert ("healthcheck" in services[name]) is healthy

    assert set(services["deploy"]["depends_on"]) == {"server", "migrate"}
    assert set(services["worker"]["depends_on"]) == {"deploy"}
    assert set(services["web"]["depends_on"]) == {"migrate"}


def test_the_pages_ask_for_a_password(compose: Compose) -> None:
    """They listen on all addresses of the container, and are found where links lead."""
    service = compose["services"]["web"]
    environment = service["environment"]

    assert environment["STASHHOG_WEB__HOST"] == "0.0.0.0"  # noqa: S104 - see above
    assert environment["STASHHOG_WEB__PASSWORD"].startswith(
        "${STASHHOG_WEB__PASSWORD:?"
    )
    inside = environment["STASHHOG_WEB__PORT"]
    assert [port.rsplit(":", 1)[1] for port in service["ports"]] == [inside]
    assert f":{inside}/" in service["healthcheck"]["test"][-1]
    assert service["volumes"] == compose["services"]["worker"]["volumes"]


def test_volumes_and_configs_are_declared(compose: Compose) -> None:
    """A named volume or config that is used stands in its list, and the other way."""
    services = compose["services"].values()
    volumes = [v.split(":")[0] for s in services for v in s.get("volumes", [])]
    configs = {c["source"] for s in services for c in s.get("configs", [])}

    assert {v for v in volumes if not v.startswith("$")} == set(compose["volumes"])
    assert configs == set(compose["configs"])


def test_variables_exist(compose: Compose) -> None:
    """Each variable of ours and of Prefect that is set is one that is read."""
    ours = set(setting_variables())
    used = {
        name
        for service in compose["services"].values()
        for name in service.get("environment", {})
    } | {
        found
        for name, rest in instructions()
        if name == "ENV"
        for found in re.findall(r"(\w+)=", rest)
    }

    assert {name for name in used if name.startswith("STASHHOG_")} <= ours
    prefects = {name for name in used if name.startswith("PREFECT_")}
    assert prefects
    assert all(hasattr(prefect.settings, name) for name in prefects)


def test_what_must_be_set_is_in_the_guide(compose: Compose) -> None:
    """Each variable without a default stops compose with a word, and is explained."""
    files = COMPOSE.read_text() + MEDIA.read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", files))

    assert wanted
    assert [name for name in wanted if f"\n{name}=" not in OPERATING.read_text()] == []


@pytest.mark.slow
@pytest.mark.parametrize("service", ["migrate", "server", "deploy", "worker", "web"])
def test_commands_exist(compose: Compose, service: str) -> None:
    """Each command and each of its options is one that the program has."""
    program, *words = compose["services"][service]["command"]
    names = [word for word in words if word.startswith("--")]
    module, words = (words[:2], words[2:]) if words[0] == "-m" else ([], words)
    subcommands = words[: next((i for i, w in enumerate(words) if w[0] == "-"), None)]
    help_text = subprocess.run(
        [Path(sys.executable).parent / program, *module, *subcommands, "--help"],
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert all(name in help_text for name in names)
