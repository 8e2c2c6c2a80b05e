"""What a test must leave as it was: the state of the process that all tests share."""

import locale
import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping
from typing import Any

# Not SIGALRM, which pytest-timeout sets around each test.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OURS = ("PREFECT", "STASHHOG")


def process_state() -> dict[str, Any]:
    """Return the state by name.

    Of the environment (`env NAME`) only what is ours: libraries set variables at their
    first import, such as OpenCV, or for the processes that they start, such as Dask.
    """
    umask = os.umask(0o22)
    os.umask(umask)
    root = logging.getLogger()
    return {
        **{
            f"env {name}": value
            for name, value in os.environ.items()
            if name.startswith(_OURS)
        },
        **{f"signal {s.name}": signal.getsignal(s) for s in _SIGNALS},
        "folder": os.getcwd(),  # noqa: PTH109 - as text
        "arguments": list(sys.argv),
        "umask": umask,
        "locale": locale.setlocale(locale.LC_ALL),
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "log level": root.level,
        "log handlers": [h for h in root.handlers if not _is_of_pytest(h)],
        "no logging below": logging.root.manager.disable,
    }


def restore(state: Mapping[str, Any]) -> None:
    """Bring the process back to a state."""
    os.chdir(state["folder"])
    environment = {
        name.removeprefix("env "): value
        for name, value in state.items()
        if name.startswith("env ")
    }
    for name in os.environ.keys() - environment.keys():
        if name.startswith(_OURS):
            del os.environ[name]
    os.environ.update(environment)
    for number in _SIGNALS:
        signal.signal(number, state[f"signal {number.name}"])
    sys.argv[:] = state["arguments"]
    os.umask(state["umask"])
    locale.setlocale(locale.LC_ALL, state["locale"])
    resource.setrlimit(resource.RLIMIT_NOFILE, state["open files"])
    root = logging.getLogger()
    root.setLevel(state["log level"])
    for handler in list(root.handlers):
        if not _is_of_pytest(handler) and handler not in state["log handlers"]:
            root.removeHandler(handler)
    logging.disable(state["no logging below"])


def _is_of_pytest(handler: logging.Handler) -> bool:
    return "pytest" in type(handler).__module__
