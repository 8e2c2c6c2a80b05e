"""What the forms of the jobs say of each parameter: Prefect shows nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest

from stashhog_core.ids import MAX_ID
from stashhog_core.params import JOB_PARAMS

PARAMETERS = [
    pytest.param(field, id=f"{job}-{name}")
    for job, model in JOB_PARAMS.items()
    for name, field in model.model_json_schema()["properties"].items()
]


def kinds(field: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a value may be, leaving out that there may be none."""
    for kind in field.get("anyOf", [field]):
        if kind.get("type") != "null":
            yield kind


def range_in_words(kind: dict[str, Any]) -> str | None:
    least, most = kind.get("minimum"), kind.get("maximum")
    if most is not None:
        return f"{least:g} to {most:g}" if most < 1e6 else f"{least:g} to {most}"
    if least is not None:
        return f"at least {least:g}"
    return f"more than {kind['exclusiveMinimum']:g}"


def is_id(kind: dict[str, Any]) -> bool:
    return bool(kind.get("maximum") == MAX_ID)


@pytest.mark.parametrize("field", PARAMETERS)
def test_a_number_says_which_numbers_are_allowed(field: dict[str, Any]) -> None:
    """The range stands in words in the description, ids apart."""
    for kind in kinds(field):
        if kind.get("type") in {"integer", "number"} and not is_id(kind):
            assert range_in_words(kind) in field["description"]


@pytest.mark.parametrize("field", PARAMETERS)
def test_a_default_stands_in_words(field: dict[str, Any]) -> None:
    """What happens when nobody fills in the field is said in its description."""
    default, text = field.get("default"), field["description"].lower()
    if isinstance(default, bool):
        assert text.endswith(f"default: {'on' if default else 'off'}.")
    elif default not in (None, [], ()):
        assert f"default {default}" in text or f"default: {default}" in text
    elif "default" in field:
        assert "if empty" in text or "only" in text
