"""Installs what the tests need beyond Python; `make test` runs it first.

Debian and Ubuntu packages are installed when that is allowed (root); otherwise it says
which tests are left out and how to have them run. In CI nothing may be left out.
"""

import os
import shutil
import subprocess
import sys

PROGRAMS = {
    "qbittorrent-nox": "qbittorrent-nox",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "pgbouncer": "pgbouncer",
    "openssl": "openssl",
    "faketime": "faketime",
}
"""Program → the Debian package that has it."""


def main() -> int:
    """Install what is missing; return an exit status."""
    missing = {p: package for p, package in PROGRAMS.items() if not shutil.which(p)}
    if not missing:
        return 0
    may_install = os.geteuid() == 0 and shutil.which("apt-get")
    if may_install:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = [
            "apt-get",
            "install",
            "--yes",
            "--quiet",
            "--no-install-recommends",
            *missing.values(),
        ]
        update = ["apt-get", "update", "--quiet"]
        for command in (update, install):
            subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    left_out = [program for program in missing if not shutil.which(program)]
    for program in left_out:
        print(
            f"The tests that need {program} are left out: it is not installed. "
            f"Install it with: sudo apt-get install {PROGRAMS[program]}",
            file=sys.stderr,
        )
    return 1 if left_out and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
