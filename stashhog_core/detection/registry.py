"""Selects the detectors that a run requests, and combines their proposals.

- `detect_video_tags`: tags and markers by an AI server or by the user's ONNX model. If
  neither is set, the tags on title cards; with the options for performers and studios
  also these names, on title cards and in the file's name.
- `detect_tags`: tag names in all texts, and tags for properties of the file.
- `detect_performers`, `detect_studios`: names and aliases in all texts; with studios
  also the date and the studio's code in the file's name.
- Any of the last three: also a text model, if one is set.
- `detect_details`: cleans up the details.
- `detect_fingerprints`: what stash-boxes know about the scene's files.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from stashhog_core.db.session import Database
from stashhog_core.detection import details, known_names, release, technical
from stashhog_core.detection.ai_server import AiServer
from stashhog_core.detection.name_finder import Kind, NameFinder
from stashhog_core.detection.ocr import load_ocr
from stashhog_core.detection.onnx_tagger import OnnxTagger
from stashhog_core.detection.readers import ReaderResult, SceneReader, StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.detection.stash_box import StashBox
from stashhog_core.detection.text_model import TextModel
from stashhog_core.detection.title_cards import TitleCards
from stashhog_core.params import AnalysisParams, or_setting
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import (
    CANDIDATES,
    NamedValue,
    Proposal,
    best_of,
    name_key,
)
from stashhog_core.settings import Settings
from stashhog_core.stash.client import StashClient

logger = logging.getLogger(__name__)


@contextmanager
def video_reader(
    settings: Settings, params: AnalysisParams, checkpoint: Callable[[], None]
) -> Iterator[SceneReader]:
    """Yield the reader of videos: AI server, else ONNX model, else title cards.

    Args:
        settings: The settings of the readers.
        params: Selects the kinds of names that title cards propose.
        checkpoint: Called while a long video is read; raises to stop.

    Raises:
        ConfigurationError: The model cannot be run, or title cards cannot be read.
    """
    path_map = PathMap(settings.stash.path_map)
    if settings.ai_server.url is not None:
        with AiServer(settings.ai_server) as server:
            yield server
    elif settings.onnx.model is not None:
        yield OnnxTagger(settings.onnx, path_map, checkpoint)
    else:
        yield TitleCards(load_ocr(), path_map, {"tags", *_kinds(params)})


@contextmanager
def text_models(
    settings: Settings, params: AnalysisParams, finder: NameFinder
) -> Iterator[list[SceneReader]]:
    """Yield the text model, if one is set and the run requests names.

    Raises:
        ConfigurationError: The text model cannot be used on this machine.
    """
    kinds = _kinds(params)
    if settings.text_model.base_url is None or not kinds:
        yield []
        return
    roots = settings.stash.scan_paths
    with TextModel(settings.text_model, finder, kinds, roots) as model:
        yield [model]


def stash_boxes(
    settings: Settings, params: AnalysisParams, stash: StashClient, database: Database
) -> list[SceneReader]:
    """Return the reader that asks stash-boxes, if the run requests it.

    Raises:
        ConfigurationError: Stash knows no stash-box, or lacks one of the settings.
    """
    if not params.detect_fingerprints:
        return []
    reader = StashBox(settings.stash_box, stash, database)
    logger.debug("Asking %s", ", ".join(reader.endpoints))
    return [reader]


class Detectors:
    """The detectors of a run.

    Args:
        settings: Roots of the library, names of technical tags.
        params: Selects the detectors.
        readers: The readers of the run.
        finder: Finds the names that Stash has.
        stash: Looks up tags that the mirror lacks.
        habits: Returns what the scenes of a studio prove; None: nothing is known.

    Attributes:
        versions: Name → version of each detector.
    """

    def __init__(
        self,
        settings: Settings,
        params: AnalysisParams,
        readers: Sequence[SceneReader],
        finder: NameFinder,
        stash: StashClient,
        habits: Callable[[int], release.StudioHabits] | None = None,
    ) -> None:
        self._settings = settings
        self._params = params
        self._readers = readers
        self._finder = finder
        self._stash = stash
        self._habits = habits
        self._live_tags: dict[str, tuple[int, str] | None] = {}
        self._kinds = _kinds(params)
        self._create_missing = settings.analysis.create_missing_tags
        self.versions = _versions(params, readers)

    def propose(
        self, scene: SceneFacts, results: Sequence[ReaderResult]
    ) -> list[Proposal]:
        """Return one proposal per value that the scene lacks, above the threshold.

        Args:
            scene: The scene.
            results: The result of each reader, in the order of the readers.
        """
        found: list[Proposal] = []
        names = StashNames(self._finder, self._find_tag, self._create_missing)
        for reader, result in zip(self._readers, results, strict=True):
            if result.reason is not None:
                found += reader.propose_failure(scene, result.reason, names)
            elif result.output is not None:
                found += reader.propose(scene, result.output, names)
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
            found += release.propose(scene, habits=self._habits_of(scene, found))
        if self._params.detect_details:
            found += details.propose(scene)
        least = or_setting(
            self._params.confidence_threshold,
            self._settings.analysis.confidence_threshold,
        )
        # Of several possible scenes none is certain, and all are shown.
        return best_of(
            p
            for p in found
            if p.confidence >= least or p.evidence.get(CANDIDATES, 1) > 1
        )

    def _habits_of(
        self, scene: SceneFacts, found: Sequence[Proposal]
    ) -> Callable[[], release.StudioHabits] | None:
        """Return the reader of the habits of the scene's studio, set or proposed."""
        studio_id = scene.studio_id
        if studio_id is None:
            studios = [p for p in best_of(found) if p.field == "studio"]
            if studios and isinstance(studios[0].proposed, NamedValue):
                studio_id = studios[0].proposed.id
        if self._habits is None or studio_id is None:
            return None
        return partial(self._habits, studio_id)

    def _find_tag(self, name: str) -> tuple[int, str] | None:
        known = self._finder.lookup(name, "tags")
        if known is not None:
            return known.id, known.name
        key = name_key(name)
        if key not in self._live_tags:
            tag = self._stash.find_tag(name)
            self._live_tags[key] = None if tag is None else (tag.id, tag.name)
        return self._live_tags[key]


def _versions(params: AnalysisParams, readers: Sequence[SceneReader]) -> dict[str, str]:
    found = {reader.name: reader.version for reader in readers}
    if _kinds(params):
        found[known_names.NAME] = known_names.VERSION
    if params.detect_tags:
        found[technical.NAME] = technical.VERSION
    if params.detect_studios:
        found[release.NAME] = release.VERSION
    if params.detect_details:
        found[details.NAME] = details.VERSION
    return found


def _kinds(params: AnalysisParams) -> set[Kind]:
    chosen: dict[Kind, bool] = {
        "performers": params.detect_performers,
        "studio": params.detect_studios,
        "tags": params.detect_tags,
    }
    return {kind for kind, wanted in chosen.items() if wanted}
