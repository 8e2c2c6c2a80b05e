"""The detectors that a run asks for, together.

`detect_video_tags` is what the video shows: tags and markers by an AI server or a model
of the user's own, or else whatever title cards and the file's name say of it, studio
and performers included (why: `title_cards`). `detect_tags` adds tag names in all texts
and tags for the file's facts; `detect_performers` and `detect_studios` add their names
and aliases in all texts, `detect_studios` also the date and the studio's code in the
file's name; a text model, where one is set, is asked for the same three kinds of names;
`detect_details` cleans the details.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from stashhog_core.detection import details, known_names, release, technical
from stashhog_core.detection.ai_server import AiServer
from stashhog_core.detection.name_finder import Kind, NameFinder
from stashhog_core.detection.ocr import text_reader
from stashhog_core.detection.onnx_tagger import OnnxTagger
from stashhog_core.detection.parallel import Looked
from stashhog_core.detection.reader import Knowledge, SceneReader
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.detection.text_model import TextModel
from stashhog_core.detection.title_cards import TitleCards
from stashhog_core.params import AnalysisParams
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import Proposal, best_of, member_key
from stashhog_core.settings import Settings
from stashhog_core.stash.payloads import Tag


class TagLookup(Protocol):
    """The part of Stash that analysis needs: tags newer than the mirror."""

    def find_tag(self, name: str) -> Tag | None:
        """Return the tag of this name or alias, whatever its case."""


@contextmanager
def video_reader(
    settings: Settings, checkpoint: Callable[[], None]
) -> Iterator[SceneReader]:
    """Yield what looks at videos: the AI server, else one's own model, else cards.

    Args:
        settings: Which of them there is.
        checkpoint: Called while a long video is looked at; raises to stop.

    Raises:
        ConfigurationError: The model cannot be run, or cards cannot be read here.
    """
    path_map = PathMap(settings.stash.path_map)
    if settings.ai_server.url is not None:
        with AiServer(settings.ai_server) as server:
            yield server
    elif settings.onnx.model is not None:
        yield OnnxTagger(settings.onnx, path_map, checkpoint)
    else:
        yield TitleCards(text_reader(), path_map)


@contextmanager
def text_readers(
    settings: Settings, params: AnalysisParams, finder: NameFinder
) -> Iterator[list[SceneReader]]:
    """Yield the text model, if one is set and names are asked for.

    Raises:
        ConfigurationError: It cannot be asked from here.
    """
    kinds = _kinds(params)
    if settings.text_model.base_url is None or not kinds:
        yield []
        return
    roots = settings.stash.scan_paths
    with TextModel(settings.text_model, finder, kinds, roots) as model:
        yield [model]


class Detection:
    """Turns a scene, and what was seen of its video, into proposals.

    Args:
        settings: Roots of the library, names of technical tags.
        params: Which detectors.
        readers: What looks at scenes.
        finder: Everything Stash knows by name.
        stash: Looks up tags that the mirror does not have.
    """

    def __init__(
        self,
        settings: Settings,
        params: AnalysisParams,
        readers: Sequence[SceneReader],
        finder: NameFinder,
        stash: TagLookup,
    ) -> None:
        self._settings = settings
        self._params = params
        self._readers = readers
        self._finder = finder
        self._stash = stash
        self._live_tags: dict[str, tuple[int, str] | None] = {}
        self._kinds = _kinds(params)
        self._create_missing = settings.analysis.create_missing_tags

    def propose(self, scene: SceneFacts, looks: Sequence[Looked]) -> list[Proposal]:
        """Return what the scene lacks, each value once, sure enough for the run.

        Args:
            scene: The scene.
            looks: What each reader saw of it.
        """
        found: list[Proposal] = []
        knowledge = Knowledge(self._finder, self._find_tag, self._create_missing)
        for reader, looked in zip(self._readers, looks, strict=True):
            if looked.reason is not None:
                found += reader.propose_failure(scene, looked.reason, knowledge)
            elif looked.output is not None:
                found += reader.propose(scene, looked.output, knowledge)
        if self._kinds:
            roots = self._settings.stash.scan_paths
            found += known_names.propose(scene, self._finder, self._kinds, roots)
        if self._params.detect_tags:
            found += technical.propose(
                scene,
                self._find_tag,
                self._create_missing,
                self._settings.analysis.technical_tags,
            )
        if self._params.detect_studios:
            found += release.propose(scene)
        if self._params.detect_details:
            found += details.propose(scene)
        least = self._params.confidence_threshold
        if least is None:
            least = self._settings.analysis.confidence_threshold
        return best_of(p for p in found if p.confidence >= least)

    def _find_tag(self, name: str) -> tuple[int, str] | None:
        known = self._finder.lookup(name, "tags")
        if known is not None:
            return known.id, known.name
        key = member_key(name)
        if key not in self._live_tags:
            tag = self._stash.find_tag(name)
            self._live_tags[key] = None if tag is None else (tag.id, tag.name)
        return self._live_tags[key]


def versions(params: AnalysisParams, readers: Sequence[SceneReader]) -> dict[str, str]:
    """Return the detectors that a run asks for, and their versions."""
    asked = {reader.name: reader.version for reader in readers}
    if _kinds(params):
        asked[known_names.NAME] = known_names.VERSION
    if params.detect_tags:
        asked[technical.NAME] = technical.VERSION
    if params.detect_studios:
        asked[release.NAME] = release.VERSION
    if params.detect_details:
        asked[details.NAME] = details.VERSION
    return asked


def _kinds(params: AnalysisParams) -> set[Kind]:
    asked: dict[Kind, bool] = {
        "performers": params.detect_performers,
        "studio": params.detect_studios,
        "tags": params.detect_tags,
    }
    return {kind for kind, wanted in asked.items() if wanted}
