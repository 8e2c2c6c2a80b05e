"""Detector `ai_server`: tags and markers by an AI server.

With `STASHHOG_AI_SERVER__URL` set this is what `detect_video_tags` means.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from stashhog_core.detection.ai_client import AiClient
from stashhog_core.detection.ai_gate import Gate
from stashhog_core.detection.readers import StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.detection.spans import SpanProposals
from stashhog_core.errors import Deferred, ItemError
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import Proposal, add_member, remove_member
from stashhog_core.settings import AiServerSettings

NAME = "ai_server"
VERSION = "3"

ASKED_FOR = "AI_TagMe"
TAGGED = "AI_Tagged"
ERRORED = "AI_Errored"


class AiServer(AiClient):
    """An AI server as something that looks at videos.

    Args:
        settings: Its address, how it looks at videos, what is made of its answers.
        transport: What carries the requests; None: the network.
        gate: Lets requests through; None: the one shared in this process.
        retry_delays_seconds: Pauses before a request is tried again; None: the usual.
    """

    name = NAME
    version = VERSION

    def __init__(
        self,
        settings: AiServerSettings,
        transport: httpx.BaseTransport | None = None,
        gate: Gate | None = None,
        retry_delays_seconds: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(settings, transport, gate, retry_delays_seconds)
        self._paths = PathMap(settings.path_map)
        # With interface 1 the server has judged by its own required lengths.
        self._proposals = SpanProposals(NAME, "seen by the AI server", settings)

    @property
    def parallel(self) -> int:
        """How many videos may be looked at at a time."""
        return self._settings.parallel_requests

    @property
    def configuration(self) -> str:
        """What the server's answer depends on beside the video and its models."""
        return (
            f"{self._settings.interface}"
            f";interval={self._settings.frame_interval_seconds:g}"
            f";threshold={self._settings.threshold:g}"
            f"{';vr' if self._settings.vr_video else ''}"
        )

    def cache_key(self, scene: SceneFacts, content: str | None) -> str | None:
        """Return the content: what is seen depends on nothing else of the scene."""
        return content

    def costs(self) -> Mapping[str, float | str]:
        """Return nothing: it costs time only."""
        return {}

    def is_complete(self, output: Mapping[str, Any]) -> bool:
        """Tell whether all models that are loaded now have seen the video.

        While the server is away, what was seen is taken for all there is.
        """
        try:
            return bool(output["model_set"] == self.model_set())
        except Deferred:
            return True

    def read(
        self, scene: SceneFacts, known: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Return the server's tags and spans; categories in `known` stay."""
        if scene.file is None:
            raise ItemError("The scene has no file")
        return self.process(self._paths.to_local(scene.file.path), known)

    complete = read

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> list[Proposal]:
        """Return the tags the server is content with, and a marker per merged span."""
        return [
            *self._proposals.propose(scene, output, names),
            *self._status(scene, TAGGED, (ASKED_FOR, ERRORED), names),
        ]

    def propose_failure(
        self, scene: SceneFacts, reason: str, names: StashNames
    ) -> list[Proposal]:
        """Return the status tags of a scene that the server could not do."""
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
