"""What the parameters of all jobs have in common: types, texts, the base."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from stashhog_core.errors import refused_value
from stashhog_core.ids import MAX_ID
from stashhog_core.text_patterns import Written

Id = Annotated[int, Field(gt=0, le=MAX_ID)]
_IdOrText = Annotated[
    Id,
    # Results and Stash itself give ids as texts, and Prefect's API checks a new run by
    # this schema, which would refuse a text for an integer.
    WithJsonSchema(
        {
            "title": "Id",
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0, "maximum": MAX_ID},
                {"type": "string", "pattern": r"^[1-9][0-9]{0,17}$"},
            ],
        },
        mode="validation",
    ),
]
SceneIds = Annotated[
    tuple[_IdOrText, ...],
    # Stash takes an empty list as "everything": it is refused at the door.
    Field(min_length=1),
]
Ids = Annotated[tuple[Id, ...], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
Minutes = Annotated[float, Field(gt=0)]
Confidence = Annotated[float, Field(ge=0, le=1)]

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
Hours = Annotated[
    str, Written(rf"^{_CLOCK}-{_CLOCK}$", "two times of day, such as 22:00-06:30")
]
"""A span of the day; it may go past midnight."""


def switch(default: bool, description: str) -> Any:
    """Return a field that is on or off, and whose description says the default."""
    state = "on" if default else "off"
    return Field(default=default, description=f"{description} Default: {state}.")


# What several forms ask for.
EXCLUDE_SMALL_VIDS = switch(False, "Leave out videos shorter than 30 seconds.")
CONFIRM_REMOVALS = switch(False, "Allow a run whose removals exceed the removal limit.")
MAX_MINUTES: Any = Field(
    default=None,
    description="Number of minutes after which the run starts no further scene, more "
    "than 0. The next run continues with the remaining scenes. If empty, there is no "
    "limit.",
)
SERVER: Any = Field(
    default=None,
    description="Name of an additional Stash server in STASHHOG_STASH__SERVERS. If "
    "empty, the job uses your main Stash server.",
)


class JobParams(BaseModel):
    """Base of all job parameters: frozen, no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        kinds = (field.annotation, *get_args(field.annotation))
        if _holds_switch(value) and bool not in kinds:
            # Pydantic takes them for the numbers 1 and 0, a form does not.
            raise ValueError("true and false are no value of this parameter")
        return value

    @field_validator("*")
    @classmethod
    def _is_storable(cls, value: Any) -> Any:
        if _holds_zero(value):
            raise ValueError("a text cannot hold the character 0")
        return value


def _single(value: Any) -> Iterator[Any]:
    """Yield the values that lists hold, however deep one lies in the other."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, list | tuple):
            left.extend(value)
        else:
            yield value


def _holds_switch(value: Any) -> bool:
    return any(isinstance(single, bool) for single in _single(value))


def _holds_zero(value: Any) -> bool:
    """Tell whether a text, or one in a list, holds what the database refuses."""
    return any("\0" in text for text in _single(value) if isinstance(text, str))


Params = TypeVar("Params", bound=JobParams)


def checked_parameters(
    job: str, model: type[Params], values: Mapping[str, Any]
) -> Params:
    """Return what a job is asked, by wire names.

    Raises:
        ConfigurationError: A value is not allowed, or one is missing.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise refused_value(error, "parameter", job) from error


def removal_limit(rows: int) -> int:
    """Return how many of so many rows one run removes without `confirm_removals`."""
    return max(20, rows * 5 // 100)


T = TypeVar("T")


def or_setting(parameter: T | None, setting: T) -> T:
    """Return a parameter, or the setting that applies if the parameter is empty."""
    return setting if parameter is None else parameter
