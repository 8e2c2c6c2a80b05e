"""Model checks: histories drawn at random, of steps that depend on one another."""

import os
from random import Random

from hypothesis import HealthCheck, Phase, settings

_WANTED = os.environ.get("STASHHOG_TEST_MODEL_EXAMPLES")


def drawn(histories: int, steps: int) -> settings:
    """Return the settings of a model check.

    `make test` draws the same histories each time, `make model` many others.

    Args:
        histories: Number of histories in `make test`.
        steps: Largest number of steps of a history.
    """
    return settings(
        max_examples=int(_WANTED or histories),
        stateful_step_count=steps,
        derandomize=_WANTED is None,
        database=None,
        # A history is short, and to find a shorter one that fails takes minutes.
        phases=[Phase.generate],
        report_multiple_bugs=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def chance_of(seed: int, step: int) -> Random:
    """Return what a step draws from: hypothesis likes to repeat a seed."""
    return Random(f"{seed} {step}")
