"""`python -m sandbox run` and `python -m sandbox demo`; arguments may follow."""

import sys

from stashhog.cli import run_main

if __name__ == "__main__":
    if sys.argv[1:2] not in (["run"], ["demo"]):
        sys.exit("Error: Write `python -m sandbox run` or `python -m sandbox demo`")
    run_main(f"sandbox.{sys.argv.pop(1)}")
