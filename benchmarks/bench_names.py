"""Names: right and missed values of labelled texts and cards, and the time taken."""

import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measurement import Measurement
from stashhog_core.detection.name_finder import KnownName, NameFinder
from stashhog_core.detection.ocr import load_ocr
from stashhog_core.detection.title_cards import TitleCards
from stashhog_core.paths import PathMap
from tests.support import labelled
from tests.support.labelled import Card, Case, Label, Score

EARLIER = "b52c565"
PATHS, NAMES = 100_000, 50_000
ROUNDS = 3
_PROJECT = Path(__file__).parents[1]
_COMPLETE_CARDS = 0.95
_GOALS = {"performers": (0.98, 0.95), "studio": (0.98, 0.95), "tags": (0.95, 0.98)}

Tagger = Callable[[Case], frozenset[Label]]


def measure() -> list[Measurement]:
    """Score the three taggers, and time this build and the earlier one in turn."""
    cases = labelled.labelled_cases()
    library = labelled.labelled_library()
    finder = NameFinder(library)

    def this_build(case: Case) -> frozenset[Label]:
        return labelled.labels_of(labelled.proposed(case, finder))

    measured = []
    with ExitStack() as stack:
        earlier = _earlier_build(stack)
        taggers: dict[str, Tagger] = {}
        if earlier is not None:
            taggers[EARLIER] = _earlier_tagger(earlier, cases, library)
        taggers["this build"] = this_build
        _show("labelled names: all", cases, taggers)
        _show("labelled names: kept back", [c for c in cases if c.held], taggers)
        paths = [c for c in cases if c.place in ("file", "path")]
        taggers["Stash"] = lambda case: stash_auto_tag(case, library)
        _show("labelled names: files and folders", paths, taggers)
        for kind, (precision, recall) in _GOALS.items():
            score = labelled.scores(cases, this_build)[kind]
            measured += [
                Measurement(
                    f"names: precision, {kind}", score.precision, "", precision, "min"
                ),
                Measurement(f"names: recall, {kind}", score.recall, "", recall, "min"),
            ]
        measured.append(_cards(earlier, library, finder))
        if earlier is not None:
            measured.append(_time(earlier))
    return measured


def stash_auto_tag(case: Case, library: Iterable[KnownName]) -> frozenset[Label]:
    """Return what Stash's auto tag sets, by the rules of its manual.

    Words in their order, with `.`, `-`, `_` or white space between them or nothing;
    whole words; any case. Aliases of performers do not count. Of several studios the
    one that stands last in the path is taken. Stash reads paths only.
    """
    path = (case.scene.file.path if case.scene.file else "").casefold()
    found: set[Label] = set()
    last_studio: tuple[int, str] | None = None
    for known in library:
        if known.kind == "performers" and known.is_alias:
            continue
        words = (re.escape(word) for word in known.alias.casefold().split())
        joined = r"[.\-_\s]*".join(words)
        pattern = rf"(?<![^\W_]){joined}(?![^\W_])"
        places = [match.start() for match in re.finditer(pattern, path)]
        if places and known.kind == "studio":
            place = (places[-1], known.name)
            last_studio = max(last_studio or place, place)
        elif places:
            found.add((known.kind, known.name))
    if last_studio is not None:
        found.add(("studio", last_studio[1]))
    return frozenset(found)


def _earlier_build(stack: ExitStack) -> Path | None:
    """Return a folder with the earlier build; None: the history does not reach it."""
    archive = subprocess.run(
        ["git", "archive", EARLIER, "stashhog_core"],
        cwd=_PROJECT,
        capture_output=True,
        check=False,
    )
    if archive.returncode != 0:
        print(
            f"This checkout has no history back to {EARLIER}: the figures of that "
            "build are left out. `git fetch --unshallow` fetches the history.",
            file=sys.stderr,
        )
        return None
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _ask_earlier(folder: Path, request: dict[str, Any]) -> Any:
    script = Path(__file__).with_name(f"names_of_{EARLIER}.py")
    answer = subprocess.run(
        [sys.executable, script],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )
    return json.loads(answer.stdout)


def _earlier_tagger(
    folder: Path, cases: Sequence[Case], library: Sequence[KnownName]
) -> Tagger:
    answers = _ask_earlier(
        folder,
        {
            "threshold": labelled.THRESHOLD,
            "names": _as_rows(library),
            "cases": [
                {
                    "path": case.scene.file.path if case.scene.file else "",
                    "title": case.scene.title,
                    "details": case.scene.details,
                    "lines": case.card_lines,
                }
                for case in cases
            ],
        },
    )
    by_case = dict(zip(cases, answers, strict=True))
    return lambda case: frozenset((field, value) for field, value in by_case[case])


def _cards(
    earlier: Path | None, library: Sequence[KnownName], finder: NameFinder
) -> Measurement:
    """Print how many cards of each group are complete: all values, and no others.

    The earlier build needs a package that this build does not install. So the text that
    it has read is stored in `cards_of_b52c565.json`, and the names are found anew.
    """
    cards = labelled.labelled_cards()
    reader = TitleCards(load_ocr(), PathMap({}))
    read = {card.name: reader.read(card.scene)["lines"] for card in cards}
    tag = labelled.proposed_for_cards(finder, read)
    found = {"this build": {card: tag(card) for card in cards}}
    if earlier is not None:
        stored = Path(__file__).with_name(f"cards_of_{EARLIER}.json")
        lines = json.loads(stored.read_text(encoding="utf8"))
        asked = [
            {"path": "", "title": "", "details": "", "lines": lines[card.name]}
            for card in cards
        ]
        request = {
            "threshold": labelled.THRESHOLD,
            "names": _as_rows(library),
            "cases": asked,
        }
        answers = _ask_earlier(earlier, request)
        found[EARLIER] = {
            card: frozenset((field, value) for field, value in labels)
            for card, labels in zip(cards, answers, strict=True)
        }
    groups: dict[str, list[Card]] = {"all": cards}
    groups["kept back"] = [card for card in cards if card.held]
    for card in cards:
        groups.setdefault(card.group, []).append(card)
    table = Table("Group", "Cards", *found, title="labelled cards: complete")
    for group, of_group in groups.items():
        counts = [
            str(sum(labels[card] == card.labels for card in of_group))
            for labels in found.values()
        ]
        table.add_row(group, str(len(of_group)), *counts)
    Console().print(table)
    for card in cards:
        if found["this build"][card] != card.labels:
            text = " / ".join(line["text"] for line in read[card.name])
            print(f"not complete: {card.name}, read as: {text}")
    complete = [found["this build"][card] == card.labels for card in cards]
    share = sum(complete) / len(cards)
    return Measurement(
        "names: share of cards complete", share, "", _COMPLETE_CARDS, "min"
    )


def _as_rows(names: Iterable[KnownName]) -> list[tuple[str, int, str, str]]:
    return [(name.kind, name.id, name.name, name.alias) for name in names]


def _show(title: str, cases: Sequence[Case], taggers: dict[str, Tagger]) -> None:
    """Print precision and recall of each tagger by kind."""
    table = Table("Kind", title=f"{title} ({len(cases)})")
    found: dict[str, dict[str, Score]] = {}
    for name, tagger in taggers.items():
        table.add_column(f"{name}: precision", justify="right")
        table.add_column("recall", justify="right")
        found[name] = labelled.scores(cases, tagger)
    for kind in labelled.KINDS.values():
        scores = [found[name][kind] for name in taggers]
        values = [f"{v:.3f}" for s in scores for v in (s.precision, s.recall)]
        table.add_row(kind, *values)
    Console().print(table)


def _time(earlier: Path) -> Measurement:
    """Find 50,000 names in 100,000 paths, by this build and the earlier one in turn."""
    draw = random.Random(7)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u")]

    def word() -> str:
        return "".join(draw.choices(syllables, k=3)).title()

    spelled = [f"{word()} {word()}" for _ in range(NAMES)]
    names = [KnownName("performers", n, name, name) for n, name in enumerate(spelled)]
    paths = [
        f"/data/{word()}/{draw.choice(spelled) if number % 3 else word()} - {word()} "
        f"{word()}.mp4"
        for number in range(PATHS)
    ]
    request = {"names": _as_rows(names), "paths": paths}
    before, now = [], []
    for _ in range(ROUNDS):
        before.append(float(_ask_earlier(earlier, request)))
        finder = NameFinder(names)
        started = time.process_time()
        for path in paths:
            finder.find(path)
        now.append(time.process_time() - started)
    print(f"processor time: {min(before):.2f} s before, {min(now):.2f} s now")
    return Measurement(
        f"names: processor time by that of {EARLIER}",
        min(now) / min(before),
        "x",
        1.05,
        "max",
    )
