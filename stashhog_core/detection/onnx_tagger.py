"""Detector `onnx_tagger`: tags and markers by an image-tagging model of one's own.

With `STASHHOG_ONNX__MODEL` set, and no AI server, this is what `detect_video_tags`
means. Keyframes of the whole video are judged at a distance, and what holds for
neighbours becomes a span, as an AI server has them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from stashhog_core.batches import batched
from stashhog_core.detection.image_model import load_model
from stashhog_core.detection.readers import SequentialReader, StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.detection.spans import SpanProposals
from stashhog_core.detection.title_cards import local_file
from stashhog_core.errors import ItemError
from stashhog_core.media.frames import spaced_stills
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import Proposal
from stashhog_core.settings.taggers import OnnxSettings

NAME = "onnx_tagger"
VERSION = "1"

NEIGHBOUR_SECONDS = 12.0
"""Two pictures no further apart may be of one span: encoders leave up to ten seconds
between keyframes."""

SAME_SCORE = 0.1
"""Neighbours whose scores differ more are spans of their own: what is plain to see in
one part does not get lost among guesses in the others."""


class OnnxTagger(SequentialReader):
    """Judges keyframes by the user's own model.

    Args:
        settings: The model, how it looks at videos, what is made of that.
        path_map: Stash's paths to those of this machine.
        checkpoint: Called between batches of frames; raises to stop.

    Raises:
        ConfigurationError: The model cannot be run here.
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
        """The content of the model and its labels, and how pictures are given to it."""
        width, height = self._model.size
        s = self._settings
        return (
            f"{self._model.content};interval={s.frame_interval_seconds:g}"
            f";threshold={s.threshold:g};{width}x{height}"
            f";{s.fit};{s.channels};{s.pixels};{s.outputs}"
        )

    def read(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return the spans in which each label was sure enough."""
        if scene.file is None:
            raise ItemError("The scene has no file")
        path = local_file(scene.file.path, self._path_map)
        stills = spaced_stills(
            path,
            self._settings.frame_interval_seconds,
            self._model.size,
            keep_shape=self._settings.fit == "pad",
        )
        seen: dict[int, list[_Seen]] = {}
        before, last = None, 0.0
        count = 0
        for batch in batched(stills, self._model.batch):
            self._checkpoint()
            scores = self._model([still.picture for still in batch])
            for still, row in zip(batch, scores, strict=True):
                for label in (row >= self._settings.threshold).nonzero()[0].tolist():
                    _add(seen.setdefault(label, []), still.second, row[label], before)
                before = last = still.second
            count += len(batch)
        return {
            "duration": scene.file.duration_seconds or last,
            "pictures": count,
            "spans": self._spans(seen),
        }

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> list[Proposal]:
        """Return the tags that were seen long enough, and a marker per merged span."""
        skipped = self._settings.skipped_categories
        spans = {c: tags for c, tags in output["spans"].items() if c not in skipped}
        return self._proposals.propose(scene, {**output, "spans": spans}, names)

    def _spans(self, seen: Mapping[int, list["_Seen"]]) -> dict[str, dict[str, Any]]:
        spans: dict[str, dict[str, Any]] = {}
        for number, of_label in sorted(seen.items()):
            label = self._model.labels[number]
            if label.name:
                of_tag = spans.setdefault(label.category, {}).setdefault(label.name, [])
                of_tag += [span.as_json() for span in of_label]
        return spans


class _Seen:
    """A label in one picture, or in neighbours that show it about as surely."""

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


def _add(spans: list[_Seen], second: float, score: float, before: float | None) -> None:
    """Add a picture to the last span if that reaches to the picture before it."""
    near = before is not None and second - before <= NEIGHBOUR_SECONDS
    goes_on = near and bool(spans) and spans[-1].end == before
    if goes_on and abs(score - spans[-1].mean) <= SAME_SCORE:
        spans[-1].extend(second, score)
        return
    if goes_on:
        # Nothing lies between the two.
        spans[-1].end = second
    spans.append(_Seen(second, score))
