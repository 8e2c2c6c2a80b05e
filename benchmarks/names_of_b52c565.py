"""Runs the name detectors of build b52c565, in a process that imports that build.

Reads a request from standard input as JSON and writes the answer as JSON: `cases` gives
the labels of each case, `paths` the seconds of processor time to find all names.
"""

import json
import sys
import time
from typing import Any

# The modules of that build: this file runs with its folder first in the search path.
from stashhog_core.analysis import names, release  # type: ignore[import-not-found]
from stashhog_core.analysis.name_finder import (  # type: ignore[import-not-found]
    KnownName,
    NameFinder,
)
from stashhog_core.analysis.proposals import best_of  # type: ignore[import-not-found]
from stashhog_core.analysis.reader import Knowledge  # type: ignore[import-not-found]
from stashhog_core.analysis.scenes import (  # type: ignore[import-not-found]
    FileFacts,
    SceneFacts,
)
from stashhog_core.analysis.title_cards import (  # type: ignore[import-not-found]
    TitleCards,
)
from stashhog_core.paths import PathMap

KINDS = {"performers", "studio", "tags"}


def labels(case: dict[str, Any], finder: Any, threshold: float) -> list[list[str]]:
    """Return field and value of everything that is proposed for a case."""
    file = FileFacts(case["path"], 60, 640, 360, 25, "h264", "aac", None)
    scene = SceneFacts(id=1, file=file, title=case["title"], details=case["details"])
    if case["lines"]:
        reader = TitleCards(lambda pictures: [], PathMap({}))
        known = Knowledge(finder, lambda name: None, False)
        found = reader.propose(scene, {"lines": case["lines"]}, known)
    else:
        found = names.propose(scene, finder, KINDS, ["/data"])
        found += release.propose(scene)
    return [
        [p.field, p.proposed if isinstance(p.proposed, str) else p.proposed["name"]]
        for p in best_of(p for p in found if p.confidence >= threshold)
    ]


def main() -> None:
    """Answer the request."""
    request = json.load(sys.stdin)
    finder = NameFinder(KnownName(*name) for name in request["names"])
    if "paths" in request:
        started = time.process_time()
        for path in request["paths"]:
            finder.find(path)
        answer: Any = time.process_time() - started
    else:
        answer = [labels(c, finder, request["threshold"]) for c in request["cases"]]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
