"""What runs: the order of the jobs, their skips and their fan-out."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def flow_of(job: str) -> Any:
    """Return the flow of a job. Flows of more than one task have a module each."""
    own = f"{__name__}.{job}"
    module = own if find_spec(own) else f"{__name__}.jobs"
    return getattr(import_module(module), job)
