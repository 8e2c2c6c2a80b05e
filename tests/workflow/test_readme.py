"""Every command that the README shows works as shown, on services that run."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.samples import Sample
from tests.support.services import ROOT, RunningServices

README = (ROOT / "README.md").read_text()
WHEEL = "tests/workflow/test_wheel.py installs a wheel, and runs these commands"
ELSEWHERE = {
    "make run": "tests/workflow/test_make_run.py runs what it runs, on a sandbox",
    "make test": "it is what runs this",
    "make demo": "tests/workflow/test_first_hour.py runs what it runs",
    "python3 -m venv ~/stashhog && cd ~/stashhog": WHEEL,
    "bin/pip install /path/to/dist/stashhog-0.1.0-py3-none-any.whl": WHEEL,
    "bin/stashhog settings > .env": WHEEL,
    "bin/stashhog run process_new_scenes": WHEEL,
    "bin/stashhog up": WHEEL,
}


def blocks() -> list[str]:
    """Return the README's blocks of commands, without what is tested elsewhere."""
    found = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    kept = (
        [line for line in block.splitlines() if command(line) not in ELSEWHERE]
        for block in found
    )
    return ["\n".join(lines) for lines in kept if lines]


def command(line: str) -> str:
    """Return a line of a block without its comment."""
    return line.partition("  #")[0].strip()


def test_what_is_tested_elsewhere_is_in_the_readme() -> None:
    """The list of exceptions names only commands that the README shows."""
    shown = {command(line) for line in README.splitlines()}

    assert set(ELSEWHERE) <= shown


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_readme(
    prepared_up: RunningServices,
    sample_videos: tuple[Path, list[Sample]],
    tmp_path: Path,
) -> None:
    """Block after block, in a folder like a fresh clone's, as somebody who reads it."""
    # The README says when the address of Prefect's API is set.
    variables = {**prepared_up.variables}
    del variables["PREFECT_API_URL"]
    up = replace(prepared_up, variables=variables)
    up.add_downloads(sample_videos[0])
    clone = tmp_path / "clone"
    clone.mkdir()
    for path in ROOT.iterdir():
        if path.name != ".env":
            (clone / path.name).symlink_to(path)
    said = ""
    for block in blocks():
        # The environment exists: making it anew is not what the README is about.
        script = block.replace("make ", "make -o .venv/run.stamp ")
        script = script.replace("127.0.0.1:4200", up.url.removeprefix("http://"))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=os.environ | up.environment,
            cwd=clone,
            capture_output=True,
            text=True,
            check=False,
        )
        said += f"$ {block}\n{done.stdout}{done.stderr}"
        # Before `make up` the only remark is that it comes next.
        is_early = "make check" in block
        assert done.returncode == (2 if is_early else 0), said + up.logs()
        assert ("→ run `stashhog up`" in done.stdout) == is_early, said

    assert "CompletedWithErrors" in said
    assert len(up.stash.store.ids("SELECT id FROM scenes")) == 3
    assert "Stopped: supervisor, server" in said
