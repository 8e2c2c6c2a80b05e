"""Finds names of Stash in texts: whole words only, and the longest name wins.

Case, accents and the characters between words do not matter: `jade.kush`, `JADE_KUSH`
and `Jadé Kush` are the same name. So is `JadeKush`, because file names and text
recognition often drop the space.
"""

import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import ahocorasick
from sqlalchemy import text
from sqlalchemy.orm import Session

Kind = Literal["performers", "studio", "tags"]

JOINED_LENGTH = 8
"""Minimum length of a name of several words that is also found without spaces."""

_WORD = re.compile(r"[^\W_]+")
_SEPARATOR = re.compile(
    r"[/\\()\[\]{},;:|&+\n]|\s[-\u2013\u2014]\s|_-_|\.-\."
    # A date, as in `vixen.21.05.03.jade.kush`.
    r"|[\s._-](?:19|20)?\d\d[\s._-]\d\d[\s._-]\d\d(?!\d)"
    # Words between names, and words next to names on title cards.
    r"|(?<![^\W_])(?:and|feat|featuring|ft|with|vs|x|starring|stars|performers?|models?"
    r"|cast|studios?|presents|presented|production|productions|by|from|tags?"
    r"|categories|category)(?![^\W_])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class KnownName:
    """A name or alias of a performer, studio or tag in Stash."""

    kind: Kind
    id: int
    name: str
    alias: str
    """The text to find: `name` itself or another name of the same object."""

    @property
    def is_alias(self) -> bool:
        """Whether `alias` differs from the main name."""
        return self.alias != self.name


@dataclass(frozen=True, slots=True)
class Match:
    """A known name in a text, at `text[start:end]`."""

    known: KnownName
    start: int
    end: int
    word_count: int
    """Number of words in the name, also if the text has no spaces between them."""


@dataclass(frozen=True, slots=True)
class _Entry:
    word_count: int
    tokens: int
    known: tuple[KnownName, ...]


class NameFinder:
    """Finds all of `names` in a text in one pass, whatever their number.

    A name is ambiguous if it belongs to two objects of one kind, such as two performers
    of the same name. An ambiguous name is never reported, but it still hides shorter
    names inside it. A main name takes precedence over an alias of another object.
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
        """Yield every unambiguous name with its folded words."""
        for spelling, known in self._exact.items():
            for name in _unambiguous(known):
                yield spelling.split(" "), name

    def lookup(self, name: str, kind: Kind) -> KnownName | None:
        """Return the object with exactly this name or alias; None: none, or several."""
        known = self._exact.get(" ".join(fold_words(name)), [])
        return next((k for k in _unambiguous(known) if k.kind == kind), None)

    def find(self, text: str) -> list[Match]:
        """Return the names in `text` in their order; matches do not overlap."""
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
        # The longest first; of equally long names the first in the text.
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
    """Tell whether a match has only separators around it.

    Jade stands alone in `Jade - Summer Day` and in `Starring: Jade`, but not in `Jade
    Temple Tour`.
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
    """Return one name per kind: the only name, or the only main name."""
    found = []
    for kind in sorted({name.kind for name in names}):
        of_kind = [name for name in names if name.kind == kind]
        main = [name for name in of_kind if not name.is_alias]
        best = main or of_kind
        if len({name.id for name in best}) == 1:
            found.append(best[0])
    return tuple(found)


_TABLES: tuple[tuple[str, Kind, str], ...] = (
    ("performer", "performers", "disambiguation"),
    ("studio", "studio", "''"),
    ("tag", "tags", "''"),
)
# A checksum of all names of each table: far cheaper than reading the names.
_STAMP = " UNION ALL ".join(
    f"SELECT count(*), coalesce(sum(hashtextextended(id || ':' || name || ':' || "  # noqa: S608 - names from the constant above
    f"aliases::text || ':' || {disambiguation}, 0)::numeric), 0)::text FROM {table} "
    "WHERE missing_since IS NULL AND NOT ignore_auto_tag"
    for table, _, disambiguation in _TABLES
)

_lock = threading.Lock()
_kept: dict[str, tuple[object, NameFinder]] = {}


def load_name_finder(session: Session) -> NameFinder:
    """Return a finder of all names and aliases in the mirror.

    Objects that are missing in Stash, or that the user excludes from automatic tagging
    (`ignore_auto_tag` in Stash), are left out. The finder of a database is built once
    and shared by all threads until a name changes.
    """
    database = str(session.get_bind().engine.url)
    stamp = [tuple(row) for row in session.execute(text(_STAMP))]
    with _lock:
        kept = _kept.get(database)
        if kept is None or kept[0] != stamp:
            kept = (stamp, NameFinder(_names(session)))
            _kept[database] = kept
        return kept[1]


def _names(session: Session) -> Iterator[KnownName]:
    for table, kind, disambiguation in _TABLES:
        rows = session.execute(
            text(
                f"SELECT id, name, aliases, {disambiguation} FROM {table} "  # noqa: S608 - a constant
                "WHERE missing_since IS NULL AND NOT ignore_auto_tag ORDER BY id"
            )
        )
        for identity, name, aliases, more in rows:
            yield KnownName(kind, identity, name, name)
            if more:
                # The disambiguation distinguishes people of one name: `Jade Kush (II)`.
                yield KnownName(kind, identity, name, f"{name} {more}")
            for alias in aliases:
                yield KnownName(kind, identity, name, alias)
