"""Programs for which folders have second names, by bind mounts of their own."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def run_mounted(
    code: str,
    binds: Mapping[Path, Path],
    *arguments: str,
    memory: Mapping[Path, str] | None = None,
) -> str:
    """Run Python code with folders mounted elsewhere, and return what it prints.

    The mounts exist for that program only, in a namespace. Where the kernel lets nobody
    mount anything, the second names are symbolic links: what a test says of two names
    must hold for these as well.

    Args:
        code: What to run; it can import the project and the tests.
        binds: The second name of a folder (does not exist yet) → the folder.
        arguments: Of the program, as `sys.argv[1:]`.
        memory: A folder (does not exist yet) that gets an empty file system of its own
            in memory → the options of this, see tmpfs(5). Only where `has_mounts`.
    """
    made = memory or {}
    program = [sys.executable, "-c", code, *arguments]
    namespace = _namespace()
    if namespace:
        for name in (*binds, *made):
            name.mkdir(parents=True)
        mounts = [
            shlex.join(["mount", "--bind", str(folder), str(name)])
            for name, folder in binds.items()
        ]
        mounts += [
            shlex.join(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(name)])
            for name, options in made.items()
        ]
        script = " && ".join([*mounts, f"exec {shlex.join(program)}"])
        program = [*namespace, "sh", "-c", script]
    else:
        assert not made, "the kernel lets nobody mount here"
        for name, folder in binds.items():
            name.parent.mkdir(parents=True, exist_ok=True)
            name.symlink_to(folder)
    done = subprocess.run(
        program,
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def has_mounts() -> bool:
    """Tell whether second names are mounts here, not symbolic links."""
    return bool(_namespace())


@cache
def _namespace() -> tuple[str, ...]:
    """Return the command that starts a program where it may mount; empty: none can."""
    command = ["unshare", "--mount"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    # An own folder: one with mounts below it can only be mounted with these.
    with tempfile.TemporaryDirectory() as folder:
        trial = [*command, "mount", "--bind", folder, folder]
        try:
            tried = subprocess.run(trial, capture_output=True, check=False)
        except FileNotFoundError:
            return ()
    return tuple(command) if tried.returncode == 0 else ()
