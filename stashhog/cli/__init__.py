"""The terminal: `stashhog`."""

import sys
from importlib import import_module


def main() -> None:
    """Run the terminal."""
    run_main("stashhog.cli.app")


def run_main(module: str) -> None:
    """Run `main` of a module; Ctrl-C is no fault while modules are imported, either."""
    try:
        import_module(module).main()
    except KeyboardInterrupt:
        print("Error: Cancelled", file=sys.stderr)  # noqa: T201 - there is no console
        sys.exit(130)
