"""What tests create in a Stash, or list of it, and the product never does."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import SCENE_FIELDS, Operation, Rows
from stashhog_core.stash.payloads import (
    StashPerformer,
    StashScene,
    StashStudio,
    selection,
)
from stashhog_core.stash.transport import Transport

CREATE_PERFORMER = Operation(
    "CreatePerformer",
    "mutation CreatePerformer($input:PerformerCreateInput!)"
    f"{{answer:performerCreate(input:$input){{{selection(StashPerformer)}}}}}",
    StashPerformer,
    reads=False,
)
CREATE_STUDIO = Operation(
    "CreateStudio",
    "mutation CreateStudio($input:StudioCreateInput!)"
    f"{{answer:studioCreate(input:$input){{{selection(StashStudio)}}}}}",
    StashStudio,
    reads=False,
)
SCENE_PAGE = Operation(
    "ScenePage",
    "query ScenePage($after:Int!,$size:Int!){answer:findScenes("
    'filter:{per_page:$size,sort:"id",direction:ASC},'
    "scene_filter:{id:{value:$after,modifier:GREATER_THAN}})"
    f"{{rows:scenes{{{SCENE_FIELDS}}}}}}}",
    Rows[StashScene],
)


def create_performer(settings: StashSettings, name: str) -> StashPerformer:
    """Create a performer in the server of the settings."""
    return _ask(settings, CREATE_PERFORMER, input={"name": name})


def create_studio(settings: StashSettings, name: str) -> StashStudio:
    """Create a studio in the server of the settings."""
    return _ask(settings, CREATE_STUDIO, input={"name": name})


def scene_pages(
    settings: StashSettings, page_size: int
) -> Iterator[Sequence[StashScene]]:
    """Yield every scene with all it has, page by page, by rising id."""
    after = 0
    while rows := _ask(settings, SCENE_PAGE, after=after, size=page_size).rows:
        yield rows
        if len(rows) < page_size:
            return
        after = rows[-1].id


def all_scenes(client: StashClient) -> list[StashScene]:
    """Return every scene with all it has, by rising id."""
    return client.scenes_between(1, 2**31 - 1)


def _ask(settings: StashSettings, operation: Operation[Any], **variables: Any) -> Any:
    with closing(Transport(settings)) as transport:
        answer = transport.send(operation, variables)
    assert answer is not None
    return answer
