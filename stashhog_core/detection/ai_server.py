"""Detector `ai_server`: tags and markers by an AI server.

`detect_video_tags` runs this detector if `STASHHOG_AI_SERVER__URL` is set.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from stashhog_core.detection.ai_client import AiClient, RequestGate
from stashhog_core.detection.readers import SceneReader, StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.detection.spans import SpanProposals
from stashhog_core.errors import Deferred
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import Proposal, add_member, remove_member
from stashhog_core.settings import AiServerSettings

NAME = "ai_server"
VERSION = "3"

ASKED_FOR = "AI_TagMe"
TAGGED = "AI_Tagged"
ERRORED = "AI_Errored"


class AiServer(AiClient, SceneReader):
    """Reads videos through an AI server.

    Args:
        settings: Address of the server, how it examines videos, how tags and markers
            are made from its answers. The other arguments are those of `AiClient`.
    """

    name = NAME
    version = VERSION

    def __init__(
        self,
        settings: AiServerSettings,
        transport: httpx.BaseTransport | None = None,
        gate: RequestGate | None = None,
        retry_delays_seconds: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(settings, transport, gate, retry_delays_seconds)
        self._paths = PathMap(settings.path_map)
        # With interface v1 the server itself applies its minimum lengths.
        self._proposals = SpanProposals(NAME, "seen by the AI server", settings)

    @property
    def parallel(self) -> int:
        """Maximum number of videos in parallel."""
        return self._settings.parallel_requests

    @property
    def configuration(self) -> str:
        """Settings that the answer depends on, apart from the video and the models."""
        return (
            f"{self._settings.interface}"
            f";interval={self._settings.frame_interval_seconds:g}"
            f";threshold={self._settings.threshold:g}"
            f"{';vr' if self._settings.vr_video else ''}"
        )

    def is_complete(self, output: Mapping[str, Any]) -> bool:
        """Tell whether all loaded models have examined the video.

        While the server is unavailable, every stored output counts as complete.
        """
        try:
            return bool(output["model_set"] == self.model_set())
        except Deferred:
            return True

    def read(
        self, scene: SceneFacts, known: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Return the server's tags and spans; the categories in `known` are kept."""
        path = self._paths.to_local(scene.primary_file().path)
        return self.process(path, known)

    complete = read

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> list[Proposal]:
        """Return the tags that are visible long enough, and the merged markers."""
        return [
            *self._proposals.propose(scene, output, names),
            *self._status(scene, TAGGED, (ASKED_FOR, ERRORED), names),
        ]

    def propose_failure(
        self, scene: SceneFacts, reason: str, names: StashNames
    ) -> list[Proposal]:
        """Return the status tags of a scene that the server could not process."""
        return self._status(scene, ERRORED, (ASKED_FOR,), names, reason)

    def _status(
        self,
        scene: SceneFacts,
        wanted: str,
        unwanted: tuple[str, ...],
        names: StashNames,
        reason: str = "",
    ) -> list[Proposal]:
        if not self._settings.status_tags:
            return []
        evidence = {"rule": "state of the AI server's work"}
        if reason:
            evidence["reason"] = reason
        proposals = []
        found = names.find_tag(wanted)
        if found is None or found[0] not in scene.tag_ids:
            tag_id = found[0] if found else None
            proposals.append(add_member("tags", tag_id, wanted, 1.0, NAME, evidence))
        for name in unwanted:
            tag = names.find_tag(name)
            if tag is not None and tag[0] in scene.tag_ids:
                proposals.append(remove_member("tags", *tag, 1.0, NAME, evidence))
        return proposals
