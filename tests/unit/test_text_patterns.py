"""Texts that must be written in a certain way."""

from collections.abc import Iterator

import pytest

from stashhog_core.errors import ConfigurationError
from stashhog_core.params import JOB_PARAMS, StashGenerateParams
from stashhog_core.settings import Settings, get_settings

MODELS = {model.__name__: model for model in (Settings, *JOB_PARAMS.values())}


def unexplained(schema: object) -> Iterator[object]:
    """Yield the patterns for which pydantic's own error stands."""
    if isinstance(schema, dict):
        if schema.get("type") == "custom-error":
            return
        if "pattern" in schema:
            yield schema["pattern"]
        for part in schema.values():
            yield from unexplained(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from unexplained(part)


@pytest.mark.parametrize("name", MODELS)
def test_no_sentence_shows_a_regular_expression(name: str) -> None:
    """Each text that has a pattern is explained in words."""
    assert list(unexplained(MODELS[name].__pydantic_core_schema__)) == []


def test_the_words_say_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting and a parameter that are written otherwise come with an example."""
    monkeypatch.setenv("STASHHOG_DOWNLOADS__FILE_MODE", "rw-r--r--")
    with pytest.raises(
        ConfigurationError, match=r"FILE_MODE .*: write three digits .* such as 664$"
    ):
        get_settings()
    with pytest.raises(ValueError, match=r"write two times .* such as 22:00-06:30"):
        StashGenerateParams.model_validate({"allowedHours": "at night"})


def test_forms_check_the_pattern() -> None:
    """Prefect's form and API refuse what the job would refuse."""
    schema = StashGenerateParams.model_json_schema()
    left_out = schema["properties"]["previewExcludeStart"]
    assert left_out["pattern"] == r"^\d+(\.\d+)?%?$"
