"""What pydantic finds wrong, in words."""

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from stashhog_core.validation import first_problem


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
