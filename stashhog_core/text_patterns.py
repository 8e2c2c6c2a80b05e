"""Texts that must be written in a certain way, which an error says in words.

Pydantic's own error quotes the regular expression.
"""

from dataclasses import dataclass

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Written:
    """How the text is written that this annotates, as in `Annotated[str, Written(…)]`.

    The JSON schema has the pattern, so that Prefect's forms and API check the same.

    Attributes:
        pattern: A regular expression; it names the start and the end of the text.
        words: What is to be written, after "write" in a sentence, with an example.
    """

    pattern: str
    words: str

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.custom_error_schema(
            core_schema.str_schema(pattern=self.pattern),
            "written_otherwise",
            custom_error_message=f"write {self.words}",
        )
