"""Checks of the Stash server: reachable, set up, and scanning where we place files."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from stashhog_core.downloads.in_stash import why_left_out
from stashhog_core.errors import ConfigurationError, JobError
from stashhog_core.health.checks import (
    Checkup,
    Finding,
    failure,
    good,
    warning,
    worded,
)
from stashhog_core.health.ignore_files import NAME, hidden_by
from stashhog_core.paths import PathMap, is_below, printable
from stashhog_core.server_jobs.scan import check_inside

_OLDEST = (0, 28)
_MOST_CLOCK_SECONDS = 120
_NUMBERS = re.compile(r"(\d+)\.(\d+)")
_SAMPLE_NAME = "stashhog-check.mp4"
_MOST_NAMES = 500


def check_stash(checkup: Checkup) -> Finding:
    """See whether Stash answers, accepts the key, is set up, and is new enough."""
    if checkup.settings.stash.url is None:
        return failure(
            "no Stash server is set",
            "run `stashhog init`, or set STASHHOG_STASH__URL, such as "
            "http://localhost:9999",
        )
    stash = checkup.stash
    stash.check_ready()
    version = stash.version()
    # For the checks that build on this one.
    _ = checkup.scan_rules
    number = _NUMBERS.search(version)
    found = f"{version or 'a build without a version'} answers at {stash.address}"
    if number and (int(number[1]), int(number[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return warning(
            f"{found}; StashHog is made for Stash {oldest} and newer", "upgrade Stash"
        )
    return good(found)


def check_clock(checkup: Checkup) -> Finding | None:
    """Compare the clocks, and see whether Stash has found ffmpeg."""
    try:
        programs, clock = checkup.stash.programs()
    except JobError:
        # An older Stash does not know these fields.
        return None
    missing = [
        name
        for name, path in (
            ("ffmpeg", programs.ffmpeg_path),
            ("ffprobe", programs.ffprobe_path),
        )
        if not path
    ]
    if missing:
        return failure(
            f"Stash has not found {' and '.join(missing)}, so it can scan no video",
            "set their paths in Stash under Settings, System",
        )
    if clock is not None:
        seconds = abs((datetime.now(UTC) - clock).total_seconds())
        if seconds > _MOST_CLOCK_SECONDS:
            return warning(
                f"the clocks of Stash and of this machine differ by {seconds:.0f} s",
                "set both clocks by a time server",
            )
    return good("Stash has ffmpeg, and its clock is right")


def check_scan_paths(checkup: Checkup) -> Finding:
    """See that the folders to scan lie in Stash's library."""
    roots = [folder.path for folder in checkup.scan_rules.stashes]
    paths = checkup.settings.stash.scan_paths
    if not roots:
        return failure(
            "Stash's library has no folder",
            "add the library folder in Stash under Settings, Library",
        )
    try:
        check_inside(paths, roots)
    except ConfigurationError as error:
        return failure(
            worded(error), f"set STASHHOG_STASH__SCAN_PATHS={json.dumps(roots)}"
        )
    return good(f"scans {', '.join(paths)}")


def check_visible(checkup: Checkup) -> Finding | None:
    """See that Stash's scan takes what is placed in the library folder."""
    settings = checkup.settings
    root = settings.downloads.library_root
    if root is None:
        return None
    root = Path(root).expanduser()
    there = PathMap(settings.stash.path_map).to_remote(str(root))
    sample = f"{there.rstrip('/')}/{_SAMPLE_NAME}"
    if why := why_left_out(sample, checkup.scan_rules):
        return failure(f"Stash's scan does not see {there}: {why}", _where_to_mend(why))
    if not any(is_below(there, path) for path in settings.stash.scan_paths):
        return failure(
            f"files are placed in {there}, and scans do not go there",
            "add this folder to STASHHOG_STASH__SCAN_PATHS",
        )
    if ignored := _ignored(root, there, checkup):
        return ignored
    return good(f"placed files appear in Stash as {there}")


def _where_to_mend(why: str) -> str:
    if "library paths" in why:
        return "correct STASHHOG_STASH__PATH_MAP, or add the folder in Stash"
    return "change this in Stash under Settings, Library"


def _ignored(root: Path, there: str, checkup: Checkup) -> Finding | None:
    """Find a `.stashignore` that hides new files of the library, or some that exist."""
    inside = [
        there.removeprefix(folder.path).strip("/")
        for folder in checkup.scan_rules.stashes
        if is_below(there, folder.path)
    ]
    depth = min((len(PurePosixPath(path).parts) for path in inside), default=0)
    videos = checkup.settings.library.video_extensions
    try:
        names = sorted(path.name for path in root.iterdir())[:_MOST_NAMES]
        names = [n for n in names if n.rpartition(".")[2].casefold() in videos]
        for folder in (root, *list(root.parents)[:depth]):
            below = PurePosixPath(root.relative_to(folder))
            if line := hidden_by(folder, below / _SAMPLE_NAME):
                return failure(
                    f"{folder / NAME} hides all placed files from Stash by {line!r}",
                    "remove this line, or place downloads in another folder",
                )
            for name in names:
                if line := hidden_by(folder, below / name):
                    return warning(
                        f"{folder / NAME} hides {printable(name)} from Stash by "
                        f"{line!r}",
                        "remove this line, unless Stash is to leave the file out",
                    )
    except OSError as error:
        return warning(
            f"{error.filename} cannot be read ({error.strerror})",
            "let this account read the library",
        )
    return None
