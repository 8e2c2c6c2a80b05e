#!/bin/sh
# Rich shows no remaining time for work whose steps take longer than half a minute.
#
# A bar that has done 50 of 100 equal steps can say how long the rest takes, and
# `TimeRemainingColumn` is there for that. Rich however takes the speed from the steps of
# the last 30 seconds only. With steps of 20 seconds the column is right; with steps of 45
# seconds, such as copies of large films, there is never more than one of them in this
# window, and the column shows `-:--:--` from the first step to the last. The argument
# `speed_estimate_period` of `Progress` has to be some times as long as a step.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rich==15.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
from importlib.metadata import version

from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn


def shown(seconds: int, **options: float) -> str:
    """Return what is shown after 50 of 100 steps that take so many seconds each."""
    now = [0.0]
    progress = Progress(
        TimeRemainingColumn(),
        console=Console(file=io.StringIO()),
        get_time=lambda: now[0],
        auto_refresh=False,
        **options,
    )
    task = progress.add_task("copies", total=100)
    for _ in range(50):
        now[0] += seconds
        progress.advance(task)
    return str(TimeRemainingColumn().render(progress.tasks[0]))


short, long, longer = shown(20), shown(45), shown(45, speed_estimate_period=300)
print(f"rich {version('rich')}: {short}, {long}; of five minutes {longer}")
assert short == "0:16:40", short
assert long == "-:--:--", long
assert longer == "0:37:30", longer
PYTHON
