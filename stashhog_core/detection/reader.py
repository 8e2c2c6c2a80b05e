"""What looks at scenes at some cost: at their video, or by asking a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stashhog_core.detection.name_finder import NameFinder
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.detection.technical import FindTag
from stashhog_core.plans.proposals import Proposal


@dataclass(frozen=True)
class Knowledge:
    """What Stash knows, for turning raw output into proposals."""

    finder: NameFinder
    find_tag: FindTag
    create_missing_tags: bool


class SceneReader(Protocol):
    """Looks at a scene once; what it saw becomes proposals as often as wanted.

    `name`, `version` and `configuration` say what the raw output depends on, beside
    what `cache_key` names: together they are its key in the cache.
    """

    @property
    def name(self) -> str:
        """Name of the detector."""

    @property
    def version(self) -> str:
        """Changes when the same scene would be seen differently."""

    @property
    def configuration(self) -> str:
        """Settings that the output depends on."""

    @property
    def parallel(self) -> int:
        """How many scenes may be looked at at a time, from as many threads.

        0: one after the other, in the caller's thread.
        """

    def cache_key(self, scene: SceneFacts, content: str | None) -> str | None:
        """Return what the output belongs to; None: it cannot be kept.

        Args:
            scene: The scene.
            content: The hash of its file; None: not known.
        """

    def costs(self) -> Mapping[str, float | str]:
        """Return what looking has cost so far beside time; empty: nothing."""

    def is_complete(self, output: Mapping[str, Any]) -> bool:
        """Tell whether an earlier output lacks nothing that would be seen now.

        Raises:
            Deferred: That cannot be told now.
        """

    def look_again(
        self, scene: SceneFacts, known: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the output for a scene of which part was seen before."""

    def look(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return the raw output for the scene, as JSON holds it.

        Raises:
            ItemError: This scene cannot be looked at.
            Deferred: None can now; the scene stays unanalyzed.
        """

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], knowledge: Knowledge
    ) -> list[Proposal]:
        """Return what the raw output says about the scene that it lacks."""

    def propose_failure(
        self, scene: SceneFacts, reason: str, knowledge: Knowledge
    ) -> list[Proposal]:
        """Return what is to be changed because it could not be looked at."""


class WholeReader:
    """What a reader that sees all of a scene at once, one after the other, shares."""

    parallel = 0

    def cache_key(self, scene: SceneFacts, content: str | None) -> str | None:
        """Return the content: what is seen depends on nothing else of the scene."""
        return content

    def costs(self) -> Mapping[str, float | str]:
        """Return nothing: it costs time only."""
        return {}

    def is_complete(self, output: Mapping[str, Any]) -> bool:
        """Return True: it saw everything the first time."""
        return True

    def look(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return the raw output for the scene."""
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
