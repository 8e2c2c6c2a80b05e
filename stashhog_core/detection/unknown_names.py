"""Lists names of people that occur in titles and paths but not in Stash.

A part of a text counts as a name if it consists of two or three capitalised words, has
no name that Stash knows, and occurs in several scenes: titles differ, people recur.
StashHog never creates these people.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import Scene, SceneFile
from stashhog_core.detection.common_words import FILLER_WORDS, SINGLE_NAMES
from stashhog_core.detection.letters import fold
from stashhog_core.detection.name_finder import NameFinder

SCENES_PER_PAGE = 5000

_PART = re.compile(
    r"[\[\](){}/,&+]|\s[-\u2013\u2014]\s|_-_|\.-\.|\s(?:and|feat\.?|ft\.?|with|vs\.?)\s",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"[^\W\d_][^\W\d_'\u2019-]+(?:\s[^\W\d_][^\W\d_'\u2019-]+){1,2}", re.UNICODE
)
_SPACES = re.compile(r"[\s._]+")


@dataclass(frozen=True)
class UnknownName:
    """A name, the number of scenes with the name, and the ids of the first scenes."""

    name: str
    scenes: int
    examples: tuple[int, ...]


def unknown_names(
    session: Session, finder: NameFinder, *, least_scenes: int = 2, limit: int = 100
) -> list[UnknownName]:
    """Return names that Stash lacks, the most frequent first."""
    found: dict[str, set[int]] = defaultdict(set)
    spelled: dict[str, str] = {}
    for scene_id, texts in _texts(session):
        for text in texts:
            for name in names_in(text, finder):
                key = " ".join(fold(word) for word in name.split())
                spelled.setdefault(key, name)
                found[key].add(scene_id)
    ranked = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        UnknownName(spelled[key], len(ids), tuple(sorted(ids)[:3]))
        for key, ids in ranked[:limit]
        if len(ids) >= least_scenes
    ]


def names_in(text: str, finder: NameFinder) -> list[str]:
    """Return the parts of a text that look like names of unknown people."""
    names = []
    for part in _PART.split(text):
        words = _SPACES.sub(" ", part).strip()
        if not _NAME.fullmatch(words):
            continue
        each = words.split(" ")
        if not all(word[0].isupper() and not word.isupper() for word in each):
            continue
        plain = [fold(word) for word in each]
        # A last name is hardly ever an everyday word; a first name often is.
        if plain[-1] in SINGLE_NAMES or FILLER_WORDS.intersection(plain):
            continue
        if not finder.find(words):
            names.append(words)
    return names


def _texts(session: Session) -> Iterator[tuple[int, Iterable[str]]]:
    after = 0
    while True:
        rows = session.execute(
            select(Scene.id, Scene.title, SceneFile.path)
            .outerjoin(
                SceneFile, (SceneFile.scene_id == Scene.id) & (SceneFile.position == 0)
            )
            .where(Scene.id > after, Scene.missing_since.is_(None))
            .order_by(Scene.id)
            .limit(SCENES_PER_PAGE)
        ).all()
        for scene_id, title, path in rows:
            yield scene_id, {title, _stem(path or "")}
        if len(rows) < SCENES_PER_PAGE:
            return
        after = rows[-1][0]


def _stem(path: str) -> str:
    name = re.split(r"[/\\]", path)[-1]
    return name.rpartition(".")[0] or name
