"""The detectors that a run asks for, together.

`detect_video_tags` is what the video shows: tags and markers by an AI server or a model
of the user's own, or else whatever title cards and the file's name say of it, studio
and performers included (why: `title_cards`). `detect_tags` adds tag names in all texts
and tags for the file's facts; `detect_performers` and `detect_studios` add their names
and aliases in all texts, `detect_studios` also the date and the studio's code in the
file's name; `detect_details` cleans the details.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from stashhog_core.analysis import details, names, release, technical
from stashhog_core.analysis.ai_server import AiServer
from stashhog_core.analysis.name_finder import Kind, NameFinder
from stashhog_core.analysis.onnx_tagger import OnnxTagger
from stashhog_core.analysis.proposals import Proposal, best_of, member_key
from stashhog_core.analysis.scenes import SceneFacts
from stashhog_core.analysis.text_recognition import text_reader
from stashhog_core.analysis.title_cards import TitleCards
from stashhog_core.analysis.video import Knowledge, VideoReader
from stashhog_core.params import AnalysisParams
from stashhog_core.paths import PathMap
from stashhog_core.settings import Settings
from stashhog_core.stash.payloads import Tag


class TagLookup(Protocol):
    """The part of Stash that analysis needs: tags newer than the mirror."""

    def find_tag(self, name: str) -> Tag | None:
        """Return the tag of this name or alias, whatever its case."""


@contextmanager
def video_reader(
    settings: Settings, checkpoint: Callable[[], None]
) -> Iterator[VideoReader]:
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


class Detection:
    """Turns a scene, and what was seen of its video, into proposals.

    Args:
        settings: Roots of the library, names of technical tags.
        params: Which detectors.
        video: Looks at videos; None: nobody does.
        finder: Everything Stash knows by name.
        stash: Looks up tags that the mirror does not have.
    """

    def __init__(
        self,
        settings: Settings,
        params: AnalysisParams,
        video: VideoReader | None,
        finder: NameFinder,
        stash: TagLookup,
    ) -> None:
        self._settings = settings
        self._params = params
        self._video = video
        self._finder = finder
        self._stash = stash
        self._live_tags: dict[str, tuple[int, str] | None] = {}
        self._kinds = _kinds(params)
        self._create_missing = settings.analysis.create_missing_tags

    def propose(
        self,
        scene: SceneFacts,
        output: Mapping[str, Any] | None,
        failure: str | None = None,
    ) -> list[Proposal]:
        """Return what the scene lacks, each value once, sure enough for the run.

        Args:
            scene: The scene.
            output: What was seen of its video; None: nothing.
            failure: Why its video could not be looked at; None: it could.
        """
        found: list[Proposal] = []
        knowledge = Knowledge(self._finder, self._find_tag, self._create_missing)
        if self._video is not None and output is not None:
            found += self._video.propose(scene, output, knowledge)
        elif self._video is not None and failure is not None:
            found += self._video.propose_failure(scene, failure, knowledge)
        if self._kinds:
            roots = self._settings.stash.scan_paths
            found += names.propose(scene, self._finder, self._kinds, roots)
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


def versions(params: AnalysisParams, video: VideoReader | None) -> dict[str, str]:
    """Return the detectors that a run asks for, and their versions."""
    asked = {}
    if video is not None:
        asked[video.name] = video.version
    if _kinds(params):
        asked[names.NAME] = names.VERSION
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
