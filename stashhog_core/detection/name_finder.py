"""Finding known names in texts: whole words only, the longest name wins.

Case, accents and whatever separates words do not matter: `jade.kush`, `JADE_KUSH` and
`Jadé Kush` are one name, and so is `JadeKush`, as file names and text recognition often
drop the space.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import ahocorasick

Kind = Literal["performers", "studio", "tags"]

JOINED_LENGTH = 8
"""A name of several words is also found without its spaces when it is so long."""

_WORD = re.compile(r"[^\W_]+")
_SEPARATOR = re.compile(
    r"[/\\()\[\]{},;:|&+\n]|\s[-\u2013\u2014]\s|_-_|\.-\."
    # A date, as in `vixen.21.05.03.jade.kush`.
    r"|[\s._-](?:19|20)?\d\d[\s._-]\d\d[\s._-]\d\d(?!\d)"
    # Words that stand between names, and words that stand beside them on title cards.
    r"|(?<![^\W_])(?:and|feat|featuring|ft|with|vs|x|starring|stars|performers?|models?"
    r"|cast|studios?|presents|presented|production|productions|by|from|tags?"
    r"|categories|category)(?![^\W_])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class KnownName:
    """A name of something that Stash knows."""

    kind: Kind
    id: int
    name: str
    alias: str
    """The name that is looked for: `name` itself or another name of the same."""

    @property
    def is_alias(self) -> bool:
        """Whether it is not the main name."""
        return self.alias != self.name


@dataclass(frozen=True, slots=True)
class Match:
    """A known name in a text, at `text[start:end]`."""

    known: KnownName
    start: int
    end: int
    word_count: int
    """Words of the name, however it is written in the text."""


@dataclass(frozen=True, slots=True)
class _Entry:
    word_count: int
    tokens: int
    known: tuple[KnownName, ...]


class NameFinder:
    """Finds all of `names` in a text in one pass, however many they are.

    A name that means two different things of one kind (two performers called the same)
    is ambiguous and never reported, but it still hides shorter names. A main name goes
    before another one's alias.
    """

    def __init__(self, names: Iterable[KnownName]) -> None:
        spellings: dict[str, list[KnownName]] = {}
        joined: dict[str, tuple[int, list[KnownName]]] = {}
        for name in names:
            words = fold_words(name.alias)
            if not words:
                continue
            spellings.setdefault(" ".join(words), []).append(name)
            together = "".join(words)
            if len(words) > 1 and len(together) >= JOINED_LENGTH:
                joined.setdefault(together, (len(words), []))[1].append(name)
        self._automaton = ahocorasick.Automaton()
        self._exact = spellings
        for key, known in spellings.items():
            count = key.count(" ") + 1
            self._add(key, _Entry(count, count, _unambiguous(known)))
        for key, (count, known) in joined.items():
            if key not in spellings:
                self._add(key, _Entry(count, 1, _unambiguous(known)))
        if spellings:
            self._automaton.make_automaton()

    def _add(self, key: str, entry: _Entry) -> None:
        self._automaton.add_word(f" {key} ", (len(key) + 2, entry))

    def names(self) -> Iterator[tuple[list[str], KnownName]]:
        """Yield every name that means one thing of its kind, with its folded words."""
        for spelling, known in self._exact.items():
            for name in _unambiguous(known):
                yield spelling.split(" "), name

    def lookup(self, name: str, kind: Kind) -> KnownName | None:
        """Return what is called exactly `name`, or None (also if that is ambiguous)."""
        known = self._exact.get(" ".join(fold_words(name)), [])
        return next((k for k in _unambiguous(known) if k.kind == kind), None)

    def find(self, text: str) -> list[Match]:
        """Return the known names in `text`, in its order, none inside another."""
        if not self._exact:
            return []
        words = [(m.group(), m.start(), m.end()) for m in _WORD.finditer(text)]
        starts: dict[int, int] = {}
        position = 0
        folded = []
        for number, (word, _, _) in enumerate(words):
            starts[position] = number
            plain = fold(word)
            folded.append(plain)
            position += len(plain) + 1
        line = f" {' '.join(folded)} "
        hits: list[tuple[int, int, _Entry]] = [
            (length, starts[end - length + 1], entry)
            for end, (length, entry) in self._automaton.iter(line)
        ]
        # The longest first; of equals the first in the text.
        hits.sort(key=lambda hit: (-hit[0], hit[1]))
        taken: set[int] = set()
        matches: list[Match] = []
        for _, first, entry in hits:
            span = range(first, first + entry.tokens)
            if taken.isdisjoint(span):
                taken.update(span)
                start, end = words[first][1], words[span[-1]][2]
                matches.extend(
                    Match(known, start, end, entry.word_count) for known in entry.known
                )
        return sorted(matches, key=lambda match: (match.start, match.known.kind))


def stands_alone(text: str, match: Match) -> bool:
    """Tell whether nothing but separators surrounds a match.

    `Jade - Summer Day` and `Starring: Jade` give Jade room of its own; `Jade Temple
    Tour` does not.
    """
    left = _SEPARATOR.split(text[: match.start])[-1]
    right = _SEPARATOR.split(text[match.end :], maxsplit=1)[0]
    return not _WORD.search(left) and not _WORD.search(right)


def fold(word: str) -> str:
    """Return `word` without case and accents."""
    if word.isascii():
        return word.lower()
    parts = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in parts if not unicodedata.combining(c) and c != " ")


def fold_words(text: str) -> list[str]:
    """Return the words of `text`, folded."""
    return [fold(word) for word in _WORD.findall(text)]


def _unambiguous(names: Sequence[KnownName]) -> tuple[KnownName, ...]:
    """Return one name per kind: the only one, or the only main name."""
    found = []
    for kind in sorted({name.kind for name in names}):
        of_kind = [name for name in names if name.kind == kind]
        main = [name for name in of_kind if not name.is_alias]
        best = main or of_kind
        if len({name.id for name in best}) == 1:
            found.append(best[0])
    return tuple(found)
