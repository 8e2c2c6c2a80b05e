"""What looks at the video itself: a reader of title cards, or an AI server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stashhog_core.analysis.name_finder import NameFinder
from stashhog_core.analysis.proposals import Proposal
from stashhog_core.analysis.scenes import SceneFacts
from stashhog_core.analysis.technical import FindTag


@dataclass(frozen=True)
class Knowledge:
    """What Stash knows, for turning raw output into proposals."""

    finder: NameFinder
    find_tag: FindTag
    create_missing_tags: bool


class VideoReader(Protocol):
    """Looks at a video once; what it saw becomes proposals as often as wanted.

    `name`, `version` and `configuration` say what the raw output depends on, beside the
    content: they are its key in the cache.
    """

    @property
    def name(self) -> str:
        """Name of the detector."""

    @property
    def version(self) -> str:
        """Changes when the same video would be seen differently."""

    @property
    def configuration(self) -> str:
        """Settings that the output depends on."""

    def look(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return the raw output for the scene's file, as JSON holds it.

        Raises:
            ItemError: This video cannot be read.
            TransientError: Nothing can be read now; the scene stays unanalysed.
        """

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], knowledge: Knowledge
    ) -> list[Proposal]:
        """Return what the raw output says about the scene that it lacks."""
