"""Prefect's worker, with temporary files of its own, and runs that start fast.

By default all workers of a machine share the folder `runner_storage` in the machine's
temporary folder. It belongs to the account whose worker came first, and the workers of
other accounts cannot start. Only this process uses another folder: runs keep the
machine's, since sockets need short paths.
"""

import tempfile

from stashhog.importing import importing

with importing():
    from prefect.cli import app
    from prefect.settings import get_current_settings

    from stashhog.services.warm_starts import start_runs_warm


def main() -> None:
    """Run Prefect's command line with the arguments of this process."""
    folder = get_current_settings().home / "tmp"
    folder.mkdir(0o700, parents=True, exist_ok=True)
    tempfile.tempdir = str(folder)
    start_runs_warm()
    app()


if __name__ == "__main__":
    main()
