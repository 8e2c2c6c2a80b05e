"""`make run` with nothing configured: the sandbox, from nothing to the second run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.samples import Sample
from tests.conftest import copy_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]


def clean_environment(**variables: str) -> dict[str, str]:
    """Return the machine's environment without settings of ours and of Prefect."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STASHHOG_", "PREFECT_"))
    }
    return {**kept, "COLUMNS": "160", **variables}


def make_run(home: Path, folder: Path, *arguments: str, **variables: str) -> Any:
    """Run what `make run` runs, in an empty folder, so that no `.env` is found."""
    return subprocess.run(
        [sys.executable, "-m", "sandbox", "run", *arguments],
        cwd=folder,
        env=clean_environment(
            STASHHOG_HOME=str(home), PYTHONPATH=str(ROOT), **variables
        ),
        capture_output=True,
        text=True,
        check=False,
    )


def stashhog(home: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [Path(sys.executable).parent / "stashhog", *arguments, "--json"],
        env=clean_environment(STASHHOG_HOME=str(home)),
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_sandbox_from_nothing_and_again(
    home: Path, tmp_path: Path, sample_videos: tuple[Path, list[Sample]]
) -> None:
    """The first run does everything, the second skips what has no work; both exit 0.

    Then the mirror is right, to the field. The home may have any name.
    """
    home = home / 'it\'s \\ a "home"'
    first = make_run(home, tmp_path)
    second = make_run(home, tmp_path)
    verified = make_run(home, tmp_path, "verify", "--json")

    assert first.returncode == 0, first.stdout + first.stderr
    assert second.returncode == 0, second.stdout + second.stderr
    assert "Traceback" not in first.stdout + first.stderr + second.stderr
    sandbox = home / "sandbox"
    originals, expected = sample_videos
    scenes = {Path(scene["path"]).name: scene for scene in stashhog(sandbox, "scenes")}
    for sample in expected:
        placed = sandbox / "library" / sample.path.relative_to(originals)
        source = sandbox / "downloads" / sample.path.relative_to(originals)
        assert placed.samefile(source)
        if sample.is_corrupt:
            assert sample.path.name in first.stdout
            assert sample.path.name not in scenes
            continue
        scene = scenes[sample.path.name]
        assert scene["studio"] == sample.studio
        assert set(scene["performers"]) == set(sample.performers)
        assert set(scene["tags"]) >= {*sample.tags, *sample.technical_tags}
        assert scene["generated"]
    assert len(scenes) == sum(not sample.is_corrupt for sample in expected)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    verification = json.loads(verified.stdout[verified.stdout.index("{") :])
    assert (verification["status"], verification["differences"]) == ("completed", 0)
    assert verification["scenes_checked"] == len(scenes)
    assert verification["counts"] == verification["mirror_counts"]
    for words in (
        "Skipped - No new items",
        "Skipped - No pending scenes",
        "Skipped - No unanalyzed scenes",
    ):
        assert words not in first.stdout.partition("Changed scenes")[2]
        assert words in second.stdout
    assert "make up" in first.stdout


def test_half_configured_services_never_fall_back_to_the_sandbox(
    home: Path, tmp_path: Path
) -> None:
    """A service of the user's without the others is refused; no sandbox is made."""
    done = make_run(home, tmp_path, STASHHOG_QBITTORRENT__URL="http://127.0.0.1:9")

    assert done.returncode == 2
    assert "STASHHOG_STASH__URL" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (home / "sandbox").exists()


def test_configured_services_are_used_and_a_wrong_one_is_said(
    home: Path, tmp_path: Path, migrated_cluster: Path
) -> None:
    """With a Stash set, the run goes there; unreachable is one sentence, exit not 0."""
    copy_cluster(migrated_cluster, home)
    done = make_run(home, tmp_path, STASHHOG_STASH__URL="http://127.0.0.1:9")

    assert done.returncode == 2
    assert "STASHHOG_STASH__URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "sandbox").exists()
