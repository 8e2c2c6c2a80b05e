"""`make bench`: run the measurements, print them, keep them, and write the report.

Machines are noisy, so goals are ratios of two things measured in the same run. The
report also has what was measured only earlier: a run may be of one subject.
"""

import argparse
import importlib
import pkgutil
import sys

from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks import history
from benchmarks.measurement import Measurement
from benchmarks.report import html_page, markdown_page

REPORT = history.FILE.with_name("report.html")


def main() -> int:
    """Measure all subjects, or those named; return how many goals were missed."""
    subjects = [
        module.name.removeprefix("bench_")
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if module.name.startswith("bench_")
    ]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "subject", nargs="*", metavar="subject", help=", ".join(subjects)
    )
    chosen = parser.parse_args().subject or subjects
    if unknown := set(chosen).difference(subjects):
        parser.error(f"no subject {', '.join(sorted(unknown))}")
    measured: list[Measurement] = []
    for subject in chosen:
        print(f"{subject} …", file=sys.stderr)
        measured += importlib.import_module(f"benchmarks.bench_{subject}").measure()
    history.keep(measured)
    kept = history.read()
    REPORT.write_text(html_page(kept), encoding="utf-8")
    REPORT.with_suffix(".md").write_text(markdown_page(kept), encoding="utf-8")
    show(measured)
    return sum(not m.met for m in measured)


def show(measured: list[Measurement]) -> None:
    """Print the measurements as a table."""
    table = Table("What", title=str(REPORT))
    for heading in ("Value", "Goal"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for m in measured:
        table.add_row(
            m.name,
            f"{m.value:.3g} {m.unit}",
            f"{m.sign} {m.goal:g}",
            "[green]met[/]" if m.met else "[red]missed[/]",
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
