"""Detector `onnx_tagger`: tags and markers by the user's image-tagging model.

`detect_video_tags` runs this detector if `STASHHOG_ONNX__MODEL` is set and no AI server
is. The model scores spaced keyframes of the whole video; neighbouring frames with the
same label form a span like the spans of an AI server.
"""

from collections.abc import Callable, Mapping
from typing import Any

from stashhog_core.batches import batched
from stashhog_core.detection.image_model import load_model
from stashhog_core.detection.readers import SceneReader, StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.detection.spans import SpanProposals
from stashhog_core.media.frames import spaced_stills
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import Proposal
from stashhog_core.settings.taggers import OnnxSettings

NAME = "onnx_tagger"
VERSION = "1"

NEIGHBOUR_SECONDS = 12.0
"""Maximum distance of neighbours in one span: encoders leave up to ten seconds between
keyframes."""

SAME_SCORE = 0.1
"""Neighbours whose scores differ more belong to separate spans, so that a high score in
one part of a video is not averaged away by low scores in others."""


class OnnxTagger(SceneReader):
    """Scores keyframes with the user's model.

    Args:
        settings: The model, how it examines videos, how tags and markers are made from
            its scores.
        path_map: Maps Stash's paths to paths on this machine.
        checkpoint: Called between batches of frames; raises to stop.

    Raises:
        ConfigurationError: The model cannot be run on this machine.
    """

    name = NAME
    version = VERSION

    def __init__(
        self,
        settings: OnnxSettings,
        path_map: PathMap,
        checkpoint: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._path_map = path_map
        self._checkpoint = checkpoint
        self._model = load_model(settings)
        self._proposals = SpanProposals(NAME, "seen by your ONNX model", settings)

    @property
    def configuration(self) -> str:
        """Hash of the model and its labels, and how pictures are fed to the model."""
        width, height = self._model.size
        s = self._settings
        return (
            f"{self._model.content};interval={s.frame_interval_seconds:g}"
            f";threshold={s.threshold:g};{width}x{height}"
            f";{s.fit};{s.channels};{s.pixels};{s.outputs}"
        )

    def read(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return the spans in which each label reaches the threshold."""
        path = scene.local_file(self._path_map)
        stills = spaced_stills(
            path,
            self._settings.frame_interval_seconds,
            self._model.size,
            keep_shape=self._settings.fit == "pad",
        )
        spans: dict[int, list[_LabelSpan]] = {}
        before, last = None, 0.0
        count = 0
        for batch in batched(stills, self._model.batch):
            self._checkpoint()
            scores = self._model([still.picture for still in batch])
            for still, row in zip(batch, scores, strict=True):
                for label in (row >= self._settings.threshold).nonzero()[0].tolist():
                    _add(spans.setdefault(label, []), still.second, row[label], before)
                before = last = still.second
            count += len(batch)
        return {
            "duration": (scene.file and scene.file.duration_seconds) or last,
            "pictures": count,
            "spans": self._named(spans),
        }

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> list[Proposal]:
        """Return the tags that are visible long enough, and the merged markers."""
        skipped = self._settings.skipped_categories
        spans = {c: tags for c, tags in output["spans"].items() if c not in skipped}
        return self._proposals.propose(scene, {**output, "spans": spans}, names)

    def _named(
        self, by_label: Mapping[int, list["_LabelSpan"]]
    ) -> dict[str, dict[str, Any]]:
        spans: dict[str, dict[str, Any]] = {}
        for number, of_label in sorted(by_label.items()):
            label = self._model.labels[number]
            if label.name:
                of_tag = spans.setdefault(label.category, {}).setdefault(label.name, [])
                of_tag += [span.as_json() for span in of_label]
        return spans


class _LabelSpan:
    """A label in one picture, or in neighbours that have a similar score for it."""

    def __init__(self, second: float, score: float) -> None:
        self.start = self.end = second
        self._scores = [score]

    @property
    def mean(self) -> float:
        return float(sum(self._scores)) / len(self._scores)

    def extend(self, second: float, score: float) -> None:
        self.end = second
        self._scores.append(score)

    def as_json(self) -> dict[str, float | None]:
        return {
            "start": round(self.start, 2),
            "end": round(self.end, 2) if self.end > self.start else None,
            "confidence": round(self.mean, 4),
        }


def _add(
    spans: list[_LabelSpan], second: float, score: float, before: float | None
) -> None:
    """Add a picture to the last span, if that span includes the picture before."""
    near = before is not None and second - before <= NEIGHBOUR_SECONDS
    goes_on = near and bool(spans) and spans[-1].end == before
    if goes_on and abs(score - spans[-1].mean) <= SAME_SCORE:
        spans[-1].extend(second, score)
        return
    if goes_on:
        # No picture lies between the two spans.
        spans[-1].end = second
    spans.append(_LabelSpan(second, score))
