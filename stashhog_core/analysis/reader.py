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

    @property
    def parallel(self) -> int:
        """How many videos may be looked at at a time, from as many threads."""

    def is_complete(self, output: Mapping[str, Any]) -> bool:
        """Tell whether an earlier output lacks nothing that would be seen now.

        Raises:
            Deferred: That cannot be told now.
        """

    def look_again(
        self, scene: SceneFacts, known: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the output for a file of which part was seen before."""

    def look(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return the raw output for the scene's file, as JSON holds it.

        Raises:
            ItemError: This video cannot be read.
            Deferred: Nothing can be read now; the scene stays unanalysed.
        """

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], knowledge: Knowledge
    ) -> list[Proposal]:
        """Return what the raw output says about the scene that it lacks."""

    def propose_failure(
        self, scene: SceneFacts, reason: str, knowledge: Knowledge
    ) -> list[Proposal]:
        """Return what is to be changed because the file could not be looked at."""


class WholeReader:
    """What a reader that sees all of a video at once, one after the other, shares."""

    parallel = 1

    def is_complete(self, output: Mapping[str, Any]) -> bool:
        """Return True: it saw everything the first time."""
        return True

    def look(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return the raw output for the scene's file."""
        raise NotImplementedError

    def look_again(
        self, scene: SceneFacts, known: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the output of a whole new look."""
        return self.look(scene)

    def propose_failure(
        self, scene: SceneFacts, reason: str, knowledge: Knowledge
    ) -> list[Proposal]:
        """Return nothing: a file that cannot be read changes nothing in Stash."""
        return []
