"""Values that people type, and the words for what pydantic finds wrong with them."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from stashhog.cli.parameters import typed_value
from stashhog_core.errors import first_problem
from stashhog_core.params import (
    AnalysisParams,
    JobParams,
    ReviewPlanParams,
    StashScanParams,
)
from stashhog_core.sync.local_edits import SceneEdit


class Film(BaseModel):
    seconds: int = 0
    title: str = ""

    @field_validator("title")
    @classmethod
    def _is_no_bar(cls, title: str) -> str:
        if title == "|":
            raise ValueError("a bar is no title")
        return title


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"title": "|"}, "a bar is no title"),
        ({"seconds": "x", "title": "|"}, "Input should be a valid integer"),
    ],
)
def test_first_problem_is_said_as_it_is(values: dict[str, str], expected: str) -> None:
    """Without what pydantic puts before the words of our own validators."""
    with pytest.raises(ValidationError) as caught:
        Film.model_validate(values)

    assert first_problem(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("model", "name", "text", "value"),
    [
        (SceneEdit, "date", "2021", "2021"),
        (SceneEdit, "date", "null", None),
        (SceneEdit, "title", "2021", "2021"),
        (SceneEdit, "title", "null", "null"),
        (SceneEdit, "title", '"quoted"', '"quoted"'),
        (SceneEdit, "rating100", "80", 80),
        (SceneEdit, "rating100", "null", None),
        (SceneEdit, "tag_ids", "[1, 2]", [1, 2]),
        (SceneEdit, "organized", "true", True),
        (SceneEdit, "rating100", "9" * 5000, "9" * 5000),
        (SceneEdit, "tag_ids", "[" * 99_999, "[" * 99_999),
        (SceneEdit, "unknown", "1", 1),
    ],
)
def test_field_that_takes_a_text_gets_one(
    model: type[BaseModel], name: str, text: str, value: Any
) -> None:
    """`date=2021` is no number; what looks like JSON is some where that is wanted."""
    assert typed_value(model, name, text, quoted=False) == value


@pytest.mark.parametrize(
    ("model", "name", "text", "value"),
    [
        (AnalysisParams, "tag", "2160", "2160"),
        (AnalysisParams, "query", '"2021"', "2021"),
        (AnalysisParams, "limit", "5", 5),
        (ReviewPlanParams, "value", "true", "true"),
        (ReviewPlanParams, "decision", '"accept"', "accept"),
        (StashScanParams, "paths", '["/a"]', ["/a"]),
        (StashScanParams, "minModTime", "2021", "2021"),
    ],
)
def test_text_of_a_parameter_may_be_quoted(
    model: type[JobParams], name: str, text: str, value: Any
) -> None:
    """As JSON it needs quotation marks, and in a terminal it does not."""
    assert typed_value(model, name, text) == value
