"""Prefect's server, which starts in less time than by Prefect's own command.

The arguments are the module that runs the server, and the arguments of that module:
`prefect server start` and more for `stashhog up`, `uvicorn` for a run in the terminal.
"""

import gc
import runpy
import sys

from stashhog.importing import importing


def main() -> None:
    """Import the server, then run the module that the arguments name."""
    with importing():
        import prefect.server.api.server  # noqa: F401
    # No later search looks at the modules again.
    gc.freeze()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
