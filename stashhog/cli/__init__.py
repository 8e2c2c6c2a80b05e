"""The terminal: `stashhog`."""

import sys


def main() -> None:
    """Run the terminal; Ctrl-C is no fault while its modules are imported, either."""
    try:
        from stashhog.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print("Error: Cancelled", file=sys.stderr)  # noqa: T201 - there is no console
        sys.exit(130)
