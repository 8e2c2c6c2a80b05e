"""The settings of identifying scenes at stash-boxes."""

from typing import Annotated, Literal

from pydantic import Field

from stashhog_core.settings.stash import Section
from stashhog_core.text_patterns import Written

Strategy = Literal["ignore", "merge", "overwrite"]
"""What becomes of a field: nothing, what is missing is added, or it is replaced."""

SceneField = Literal[
    "title",
    "code",
    "date",
    "details",
    "director",
    "urls",
    "studio",
    "performers",
    "tags",
    "stash_ids",
]
"""A field of a scene that a stash-box fills, and that the mirror has."""

BoxField = Literal[SceneField, "cover"]
"""A field of a scene that a stash-box fills."""

Endpoint = Annotated[
    str, Written(r"^https?://\S+$", "an address such as https://stashdb.org/graphql")
]


class StashBoxSettings(Section):
    """Identifying scenes at stash-boxes by their fingerprints."""

    endpoints: tuple[Endpoint, ...] = ()
    """Addresses of the stash-boxes to ask, in this order, as they stand in Stash's
    settings (JSON list). If empty, all stash-boxes that Stash knows are asked, in
    Stash's order."""

    days: int = Field(default=30, ge=1)
    """Number of days after which a stash-box is asked again about a file."""

    strategies: dict[BoxField, Strategy] = Field(default_factory=dict)
    """What is proposed for title, code, date, details, director, urls, studio,
    performers, tags, stash_ids and cover (JSON object): merge (only what is missing),
    overwrite (also other values than Stash has, unless the scene is marked as
    organized) or ignore. Fields that you leave out are merged. cover is proposed only
    with overwrite, in place of the cover that Stash has."""

    create_missing: tuple[Literal["performers", "studio", "tags"], ...] = ()
    """What Stash does not have and StashHog proposes to create, with the id at the
    stash-box: performers, studio, tags (JSON list). If empty, the evidence lists the
    names that Stash does not have."""

    timeout_seconds: float = Field(default=300, gt=0)
    """Maximum time to wait for the answers about 40 scenes, in seconds. Stash fetches
    the cover of each scene meanwhile."""

    def strategy(self, field: BoxField) -> Strategy:
        """Return what becomes of a field."""
        return self.strategies.get(field, "merge")
