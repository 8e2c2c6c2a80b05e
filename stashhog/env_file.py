"""The file `.env`: setting variables in its text, showing what changes, writing it."""

import difflib
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from stashhog_core.errors import ConfigurationError
from stashhog_core.files import unwritable, write_whole
from stashhog_core.settings import ENV_FILE, PROJECT, env_file, is_secret

_HEADER = (
    "# Settings of StashHog, written by `stashhog init`.\n"
    "# `stashhog settings` prints all settings with their meanings and defaults.\n\n"
)
_PLAIN = re.compile(r"[A-Za-z0-9_./:@,+-]+")
_HIDDEN = "***"


def file_to_write() -> Path:
    """Return the `.env` that is read, or the one to make if there is none."""
    found = env_file()
    if found.exists() or (PROJECT / "pyproject.toml").exists():
        return found
    return Path(ENV_FILE).absolute()


def with_variables(
    text: str, variables: Mapping[str, str], header: str = _HEADER
) -> str:
    """Return the text of a `.env` file in which variables have these values.

    All other lines stay as they are, comments included. An empty file gets the header.

    Raises:
        ConfigurationError: The file cannot hold a value.
    """
    for name, value in variables.items():
        line = f"{name}={_quoted(value)}\n"
        if dotenv_values(stream=io.StringIO(line)).get(name) != value:
            raise ConfigurationError(
                f"A .env file cannot hold the value of {name}",
                remedy=f"set {name} in the environment, or choose a value without "
                "`${` and line breaks",
            )
    left = dict(variables)
    lines = []
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        if binding.key not in variables:
            lines.append(original)
        elif binding.key in left:
            empty_lines = original[: len(original) - len(original.lstrip())]
            value = _quoted(left.pop(binding.key))
            lines.append(f"{empty_lines}{binding.key}={value}\n")
    whole = "".join(lines) or header
    if not whole.endswith("\n"):
        whole += "\n"
    return whole + "".join(f"{n}={_quoted(v)}\n" for n, v in left.items())


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value) or not value:
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def differences(before: str, after: str) -> Iterator[str]:
    """Yield the lines that change, with `-` or `+` before them, without secrets."""
    old, new = (
        [_without_secret(line) for line in text.splitlines()]
        for text in (before, after)
    )
    for line in difflib.ndiff(old, new):
        if line[0] in "+-" and line[2:].strip():
            yield line


def _without_secret(line: str) -> str:
    name, equals, value = line.partition("=")
    return f"{name}={_HIDDEN}" if equals and value and is_secret(name) else line


def write_private(path: Path, text: str) -> None:
    """Write the file whole or not at all; only this account may read it.

    Raises:
        ConfigurationError: It cannot be written.
    """
    try:
        write_whole(path, text, private=True)
    except OSError as error:
        raise unwritable(
            "The file of settings", path, error, "another one with --file"
        ) from error
