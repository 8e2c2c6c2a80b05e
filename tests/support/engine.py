"""Containers of a compose file, run one by one with the commands of podman or docker.

Services are started as the file says: images, variables, mounts, ports, accounts,
order. What compose itself does is left out: restarts, and the times of health checks.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.waiting import wait_until

# The innermost ones: a default may have variables itself.
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^${}]*))?\}")


def find_engine() -> str:
    """Return the program of an engine; fail in one sentence where there is none."""
    for name in ("podman", "docker"):
        if found := shutil.which(name):
            return found
    pytest.fail(
        "No container engine is on PATH: install podman or docker to run these tests"
    )


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Return a text of a compose file with its variables filled in.

    Raises:
        KeyError: A variable without a default is not set.
    """

    def value(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        if variables.get(name) or kind != "-":
            return variables[name]
        return str(default)

    while (filled := _VARIABLE.sub(value, text)) != text:
        text = filled
    return text


class Composition:
    """The services of compose files, with a network and volumes of their own.

    Args:
        engine: The program of the engine.
        files: The compose files.
        variables: What the files and the containers get, as from `.env`.
        folder: For files that containers get.
    """

    def __init__(
        self, engine: str, files: list[Path], variables: dict[str, str], folder: Path
    ) -> None:
        self._engine = engine
        self.variables = variables
        self._folder = folder
        self._name = f"stashhog-test-{folder.name}".lower()
        self.services: dict[str, Any] = {}
        self._configs: dict[str, Any] = {}
        for file in files:
            loaded = yaml.safe_load(file.read_text())
            self.services |= loaded["services"]
            self._configs |= loaded.get("configs", {})
        (folder / "env").write_text("".join(f"{k}={v}\n" for k, v in variables.items()))

    def engine(self, *words: str | Path, check: bool = True) -> str:
        """Run a command of the engine; return what it says."""
        done = subprocess.run(
            [self._engine, *words], capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{words}\n{said}"
        return said

    @contextmanager
    def network(self) -> Iterator[None]:
        """Have the network and the volumes; in the end nothing is left of them."""
        self.engine("network", "create", self._name)
        try:
            yield
        finally:
            for service in self.services:
                self.engine(
                    "rm", "--force", "--volumes", self.container(service), check=False
                )
            for volume in self._volumes():
                self.engine("volume", "rm", "--force", volume, check=False)
            self.engine("network", "rm", self._name)

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self._name}-{service}"

    def start(self, service: str) -> None:
        """Start a service once those that it depends on are as it needs them."""
        about = self.services[service]
        for name, needed in about.get("depends_on", {}).items():
            if needed["condition"] == "service_healthy":
                self.wait_until_healthy(name)
            else:
                code = self.engine("wait", self.container(name)).strip()
                assert code == "0", self.logs(name)
        self.engine("run", "--detach", *self._options(service), *self._command(about))

    def wait_until_healthy(self, service: str) -> None:
        """Return when the service's own check says that it is well."""
        kind, *test = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        wait_until(
            lambda: self._succeeds("exec", self.container(service), *test),
            lambda: f"{service} is well\n{self.logs(service)}",
        )

    def execute(self, service: str, *words: str) -> str:
        """Run a command in the container of a service."""
        return self.engine("exec", self.container(service), *words)

    def logs(self, service: str) -> str:
        """Return what a service has said."""
        return self.engine("logs", self.container(service), check=False)

    def _succeeds(self, *words: str) -> bool:
        done = subprocess.run([self._engine, *words], capture_output=True, check=False)
        return done.returncode == 0

    def _options(self, service: str) -> Iterator[str]:
        about = self.services[service]
        yield from ("--name", self.container(service), "--network", self._name)
        yield from ("--network-alias", service)
        if "env_file" in about:
            yield from ("--env-file", str(self._folder / "env"))
        for name, value in about.get("environment", {}).items():
            yield from ("--env", f"{name}={self._filled(value)}")
        for mount in about.get("volumes", []):
            yield from ("--volume", self._mount(self._filled(mount)))
        for config in about.get("configs", []):
            file = self._folder / config["source"]
            file.write_text(self._configs[config["source"]]["content"])
            file.chmod(0o644)
            yield from ("--volume", f"{file}:{config['target']}:ro")
        for port in about.get("ports", []):
            yield from ("--publish", self._filled(port))
        for host in about.get("extra_hosts", []):
            # Podman before 4.7 does not know the word.
            yield from ("--add-host", host.replace("host-gateway", self._gateway()))
        if "user" in about:
            yield from ("--user", self._filled(about["user"]))
        if about.get("init"):
            yield "--init"
        logging = about["logging"]
        yield from ("--log-driver", logging["driver"])
        yield from ("--log-opt", f"max-size={logging['options']['max-size']}")
        yield about["image"]

    def _gateway(self) -> str:
        """Return this machine's address in the network."""
        said = json.loads(self.engine("network", "inspect", self._name))[0]
        subnets = said.get("subnets") or said["IPAM"]["Config"]
        return str(subnets[0].get("gateway") or subnets[0]["Gateway"])

    def _command(self, about: Mapping[str, Any]) -> list[str]:
        return [self._filled(word) for word in about.get("command", [])]

    def _mount(self, mount: str) -> str:
        source, colon, target = mount.partition(":")
        named = f"{self._name}-{source}" if "/" not in source else source
        return f"{named}{colon}{target}"

    def _volumes(self) -> list[str]:
        said = self.engine("volume", "ls", "--format", "{{.Name}}")
        return [name for name in said.split() if name.startswith(f"{self._name}-")]

    def _filled(self, text: Any) -> str:
        return interpolated(str(text), self.variables)


def has_image(engine: str, name: str) -> bool:
    """Tell whether the engine has an image."""
    inspect = [engine, "image", "inspect", name]
    return subprocess.run(inspect, capture_output=True, check=False).returncode == 0


def user_of(engine: str, image: str) -> str:
    """Return the account that an image runs under."""
    said = subprocess.run(
        [engine, "image", "inspect", image], capture_output=True, text=True, check=True
    )
    return str(json.loads(said.stdout)[0]["Config"]["User"])
