"""What a person may change of a scene. Pure: no I/O in here."""

from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stashhog_core.params import Id

_SETS = {"tag_ids", "performer_ids"}


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text cannot hold the character 0")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("half of a character is no text") from error
    return text


def _real_date(text: str) -> str:
    """Accept a year, a month or a day, as Stash does."""
    date.fromisoformat(text + "-01-01"[len(text) - 4 :])
    return text


Line = Annotated[str, AfterValidator(_storable)]
Date = Annotated[
    str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$"), AfterValidator(_real_date)
]


class SceneEdit(BaseModel):
    """New values of a scene's fields; what is not set stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Line = ""
    code: Line = ""
    details: Line = ""
    director: Line = ""
    date: Date | None = None
    rating100: Annotated[int, Field(ge=1, le=100)] | None = None
    organized: bool = False
    urls: tuple[Line, ...] = ()
    studio_id: Id | None = None
    tag_ids: tuple[Id, ...] = ()
    performer_ids: tuple[Id, ...] = ()

    def values(self) -> dict[str, Any]:
        """Return the fields that are set, as they are stored."""
        values = self.model_dump(mode="json", exclude_unset=True)
        return {
            name: sorted(set(value)) if name in _SETS else value
            for name, value in values.items()
        }
