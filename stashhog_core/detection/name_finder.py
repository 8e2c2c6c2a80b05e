"""Finds names of Stash in texts by their letters; the longest name wins.

Case, accents and the characters between words do not matter: `jade.kush`, `JADE_KUSH`,
`Jadé Kush`, `JadeKush` and `J A D E  K U S H` are the same name. One automaton finds
all names in the letters of a text (see `letters`); then the gaps around and inside each
hit decide whether the hit is a whole name.
"""

import itertools
import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import ahocorasick

from stashhog_core.detection.common_words import EVERYDAY_WORDS, WORDS_BESIDE_NAMES
from stashhog_core.detection.letters import (
    MAY_BE_LEFT_OUT,
    READ_INSTEAD,
    SPACELESS,
    Gap,
    Letters,
    fold,
    fold_words,
    script_of,
)

logger = logging.getLogger(__name__)

Kind = Literal["performers", "studio", "tags"]
KINDS: frozenset[Kind] = frozenset(get_args(Kind))

JOINED_LENGTH = 7
"""Minimum number of letters of a name that is found with its spaces left out."""

SPLIT_LENGTH = 8
"""Minimum number of letters of a name that is found with one more space inside."""

LONGEST_NAME = 120
"""A longer name is not looked for: no person writes it whole."""

MOST_STEPS = 2_000_000
"""Maximum number of steps that the search of a text takes: one for each letter of each
name that the text contains, and `STEPS_OF_A_NAME` for each name. The rest of the text
is not searched. A list of names of a million characters takes fewer steps."""

STEPS_OF_A_NAME = 8

ALWAYS_SEARCHED = 500
"""Number of letters that are searched, whatever the steps."""

_LEAST_MISREAD, _LEAST_MISREAD_SPACELESS = 5, 3
_LEAST_GLUED = 7
_MOST_LEFT_OUT = 4
# Names that end with each other, such as Rose and Lily Rose: the longest ones count.
_MOST_NESTED = 6
# Two words between signs, with or without a comma.
_TURNED = re.compile(
    r"(?:^|[^\w\s,])\s*(?P<last>[^\W\d_]{2,}+)(?:,\s?|\s)"
    r"(?P<first>[^\W\d_]{2,}+)(?=\s*(?:$|[^\w\s,]))"
)
# `Eva "Evie" Lang` is also Eva Lang.
_NICKNAME = re.compile(
    r"(?<=\S)\s+[\"\u201c'\u2018(][^\s\W]+[\"\u201d'\u2019)]\s+(?=\S)"
)
_AMPERSAND = re.compile(r"\s*&\s*")
_FIRST_SPACELESS = "\u1100"
PLAIN_WORDS = re.compile(r"[A-Z]?[a-z]{2,}(?: [A-Z]?[a-z]{2,})*")
"""Words that spaces part, as most names are written."""
# Signs that part one name from the next, unless the name itself has them there.
_PARTING = frozenset(",;|/\\&+()[]{}<>:=\u00d7\u3001\uff0c\u3010\u3011\u300a\u300b")
_JOINING = frozenset(" ._-")
_NO_SIGNS: frozenset[str] = frozenset()
_OPENING, _CLOSING = frozenset("(["), (")", "]")
_DASHES = frozenset("-\u2010\u2011\u2012\u2013\u2014\u2212")
_APOSTROPHES = frozenset("'\u2019\u2018`\u00b4\u02bc\uff07")
# Particles that follow a name without a space, in Japanese, Chinese and Korean.
_PARTICLES = frozenset("のとがはをにでもへや的和与跟在의와과은는이가을를도랑로에")


@dataclass(frozen=True, slots=True)
class KnownName:
    """A name or alias of a performer, studio or tag in Stash."""

    kind: Kind
    id: int
    name: str
    alias: str
    """The text to find: `name` itself or another name of the same object."""
    is_turned: bool = False
    """Whether `alias` has the last name first, as catalogues write it."""

    @property
    def is_alias(self) -> bool:
        """Whether `alias` differs from the main name."""
        return self.alias != self.name


class Match(NamedTuple):
    """A known name in a text, at `text[start:end]`."""

    known: KnownName
    start: int
    end: int
    word_count: int
    """Number of words in the name, also if the text has no spaces between them."""
    spelling: int = 0
    """0: spelled as the name; 1: without apostrophes, hyphens or, between capitals,
    spaces; 2: joined or spaced out; 3: with letters that text recognition confuses."""
    rivals: tuple[str, ...] = ()
    """Names of other objects that differ only by accents or the like."""


class Hit(NamedTuple):
    """All names of the same letters at one place: none if the name is ambiguous."""

    start: int
    end: int
    length: int
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class _Spelling:
    """Where the words of a name meet: number of the letter → characters between."""

    known: KnownName
    strong: Mapping[int, frozenset[str]]
    soft: frozenset[int]
    word_count: int
    exact: str | None
    """For very short names: the name itself, letter for letter."""


class _PlainName(NamedTuple):
    """A name of plain words that only one object has, as it is written small."""

    known: KnownName
    written: str
    word_count: int


Judge = Callable[[Match], bool]
"""Tells whether a match is meant as a name."""


class NameFinder:
    """Finds all of `names` in a text in one pass, whatever their number.

    A name is ambiguous if two objects of one kind, such as two performers, have exactly
    this name. An ambiguous name is never reported, but it still hides shorter names
    inside it. If two names differ only by accents or the like, both are reported, each
    with the other among its `rivals`. A main name takes precedence over an alias of
    another object.

    Args:
        names: The names to find.
        most_steps: Maximum number of steps for a text, see `MOST_STEPS`.
    """

    def __init__(
        self, names: Iterable[KnownName], *, most_steps: int = MOST_STEPS
    ) -> None:
        self._most_steps = most_steps
        self._exact: dict[str, list[KnownName]] = {}
        for name in names:
            for spelled in _as_written(name):
                letters = Letters(spelled.alias).letters
                if 0 < len(letters) <= LONGEST_NAME:
                    self._exact.setdefault(letters, []).append(spelled)
        self._automaton = _automaton(self._exact)
        self._spellings: dict[str, list[_Spelling]] = {}
        self._plain = {
            key: plain
            for key, known in self._exact.items()
            if (plain := _plain(known)) is not None
        }
        self._misread: _MisreadNames | None = None

    def names(self) -> Iterator[tuple[list[str], KnownName]]:
        """Yield every unambiguous name with its folded words."""
        for known in self._exact.values():
            for name in _unambiguous(known):
                yield fold_words(name.alias), name

    def lookup(self, name: str, kind: Kind) -> KnownName | None:
        """Return the object with this name or alias; None: none, or several.

        A name of the same letters counts if no name is spelled exactly so.
        """
        of_kind = [
            known
            for known in self._exact.get(Letters(name).letters, ())
            if known.kind == kind
        ]
        exact = [known for known in of_kind if _key(known.alias) == _key(name)]
        found = _unambiguous(exact or of_kind)
        return found[0] if len(found) == 1 else None

    def find(self, text: str) -> list[Match]:
        """Return the names in `text` in their order; matches do not overlap."""
        return chosen(self.hits(text), len(text))

    def hits(self, text: str, *, misread: bool = False) -> list[Hit]:
        """Return every whole name in a text; hits may overlap.

        Args:
            text: Any text.
            misread: Also find names with letters that text recognition confuses.
        """
        if not text or not self._exact:
            return []
        letters = _searchable(Letters(text), self._automaton, self._most_steps)
        text = letters.text
        found = self._automaton.iter(letters.letters)
        hits: list[Hit] = []
        if text.isascii():
            found = self._plain_hits(letters, found, hits)
        if found:
            hits += _hits(letters, found, self._spellings_of)
        if misread:
            if self._misread is None:
                self._misread = _MisreadNames(self._exact)
            hits += self._misread.hits(text, self._most_steps)
            hits += self._glued_hits(letters)
        elif "," in text or _TURNED.match(text):
            hits += self._turned_hits(text)
        return hits

    def _turned_hits(self, text: str) -> Iterator[Hit]:
        """Yield performers whose last name stands first, as in `Kush, Jade`.

        Such a name is a part of its own: two neighbours in a list are not one person.
        """
        for turned in _TURNED.finditer(text):
            # Without a comma only at the start, where catalogues have the name.
            if turned.start() > 0 and "," not in text:
                return
            first, last = turned["first"], turned["last"]
            letters = first + last
            key = letters.lower() if letters.isascii() else fold(letters)
            if key not in self._exact:
                continue
            people = [
                known
                for known in self._exact[key]
                if known.kind == "performers"
                and fold_words(known.alias) == [fold(first), fold(last)]
            ]
            if len({known.id for known in people}) == 1:
                start, end = turned.start("last"), turned.end("first")
                known = replace(people[0], alias=text[start:end], is_turned=True)
                yield Hit(start, end, len(key), (Match(known, start, end, 2),))

    def _glued_hits(self, letters: Letters) -> Iterator[Hit]:
        """Yield full names whose border text recognition has lost.

        That is the border to another name, as in `JADE KUSHMIA COLE`, or to a word that
        stands beside names, as in `STARRINGJADE KUSH`. In scripts without spaces these
        are names of any kind.
        """
        found = [
            (end + 1 - len(key), end + 1, key)
            for end, key in self._automaton.iter(letters.letters)
            if len(key) >= _LEAST_GLUED or (len(key) > 1 and _is_spaceless(key))
        ]
        firsts = {first for first, _, _ in found}
        lasts = {last for _, last, _ in found}
        for first, last, key in found:
            gaps = letters.gap(first), letters.gap(last)
            if Gap.WITHIN in gaps or Gap.NONE not in gaps:
                continue
            if gaps[0] == Gap.NONE and first not in lasts:
                word = letters.letters[letters.border(first, -1) : first]
                if word not in WORDS_BESIDE_NAMES:
                    continue
            if gaps[1] == Gap.NONE and last not in firsts:
                word = letters.letters[last : letters.border(last, 1)]
                if word not in WORDS_BESIDE_NAMES:
                    continue
            spellings = [
                spelling
                for spelling in self._spellings_of(key)
                if spelling.word_count > 1 or _is_spaceless(key)
            ]
            yield from _judged(letters, first, last, spellings, gaps)

    def _plain_hits(
        self, letters: Letters, found: Iterable[tuple[int, str]], hits: list[Hit]
    ) -> list[tuple[int, str]]:
        """Add what most texts have, and return the rest that may be names.

        Most texts have names of plain words, written as in Stash, that only one object
        has. A name that begins or ends inside a word of small letters is none.
        """
        text, plain_names = letters.text, self._plain
        # Faster than `translate` with a table of three signs.
        written = text.replace(".", " ").replace("_", " ").replace("-", " ").lower()
        starts: Sequence[int] = ()
        rest = []
        for end, key in found:
            starts = starts or letters.starts
            start, stop = starts[end + 1 - len(key)], starts[end] + 1
            plain = plain_names.get(key)
            before, after = text[start - 1 : start], text[stop : stop + 1]
            if (
                plain is not None
                and written[start:stop] == plain.written
                and not before.isalnum()
                and not after.isalnum()
            ):
                match = Match(plain.known, start, stop, plain.word_count)
                hits.append(Hit(start, stop, len(key), (match,)))
            elif not (
                (before.islower() and text[start].islower())
                or (after.islower() and text[stop - 1].islower())
            ):
                rest.append((end, key))
        return rest

    def _spellings_of(self, key: str) -> list[_Spelling]:
        spellings = self._spellings.get(key)
        if spellings is None:
            spellings = [_spelling(known) for known in self._exact[key]]
            self._spellings[key] = spellings
        return spellings


def chosen(
    hits: Sequence[Hit], text_length: int, judge: Judge | None = None
) -> list[Match]:
    """Return the matches of the longest hits, in their order, without overlaps.

    Args:
        hits: Hits in a text.
        text_length: Length of the text.
        judge: Rejects matches that are not meant as names. A rejected name does not
            hide shorter names inside it.
    """
    if len(hits) < 2:
        return [m for hit in hits for m in hit.matches if judge is None or judge(m)]
    taken = bytearray(text_length)
    matches: list[Match] = []
    # The longest first; of equally long names the first in the text.
    for hit in sorted(hits, key=lambda hit: (-hit.length, hit.start)):
        if taken.find(1, hit.start, hit.end) >= 0:
            continue
        meant = [m for m in hit.matches if judge is None or judge(m)]
        if hit.matches and not meant:
            continue
        taken[hit.start : hit.end] = b"\1" * (hit.end - hit.start)
        matches += meant
    return sorted(matches, key=lambda match: (match.start, match.known.kind))


class _MisreadNames:
    """Finds names although single letters were taken for others that look alike."""

    def __init__(self, names: Mapping[str, Sequence[KnownName]]) -> None:
        self._names: dict[str, list[_Spelling]] = {}
        for known in names.values():
            for name in known:
                for spelled in _readings(name.alias):
                    letters = Letters(spelled).misread()
                    key = letters.letters
                    least = _LEAST_MISREAD
                    if _is_spaceless(key):
                        least = _LEAST_MISREAD_SPACELESS
                    if len(key) >= least:
                        self._names.setdefault(key, []).append(_spelling(name, letters))
        self._automaton = _automaton(self._names)

    def hits(self, text: str, most_steps: int) -> list[Hit]:
        """Return the names in a text; each match says that letters were confused."""
        if not self._names:
            return []
        letters = Letters(text).misread()
        letters = _searchable(letters, self._automaton, most_steps)
        found = self._automaton.iter(letters.letters)
        return [
            # A name with its own letters goes first, unless it is much shorter.
            hit._replace(
                length=hit.length - 2,
                matches=tuple(m._replace(spelling=3) for m in hit.matches),
            )
            for hit in _hits(letters, found, self._names.__getitem__)
        ]


def _is_spaceless(key: str) -> bool:
    return bool(key) and script_of(key[0]) in SPACELESS


def _readings(alias: str) -> set[str]:
    """Return what may be read where a picture shows a name."""
    if alias.isascii():
        return {alias}
    composed = unicodedata.normalize("NFC", alias)
    found = {composed, *(composed.translate(instead) for instead in READ_INSTEAD)}
    unsure = [n for n, letter in enumerate(composed) if letter in MAY_BE_LEFT_OUT]
    for count in range(1, len(unsure[:_MOST_LEFT_OUT]) + 1):
        for left_out in itertools.combinations(unsure[:_MOST_LEFT_OUT], count):
            found.add("".join(c for n, c in enumerate(composed) if n not in left_out))
    return found


def _automaton(keys: Iterable[str]) -> ahocorasick.Automaton:
    automaton = ahocorasick.Automaton()
    for key in keys:
        automaton.add_word(key, key)
    if len(automaton):
        automaton.make_automaton()
    return automaton


def _searchable(
    letters: Letters, automaton: ahocorasick.Automaton, most_steps: int
) -> Letters:
    """Return as many of the letters as can be searched in `most_steps`."""
    if len(letters.letters) <= ALWAYS_SEARCHED:
        return letters
    steps = 0
    previous, nested = -1, 0
    for end, key in automaton.iter(letters.letters):
        nested = nested + 1 if end == previous else 0
        previous = end
        steps += STEPS_OF_A_NAME + len(key) if nested <= _MOST_NESTED else 1
        if steps > most_steps:
            count = max(end, ALWAYS_SEARCHED)
            logger.warning(
                "Searched only the first %d of %d characters of a text for names, "
                "because the text contains too many names: %.40s",
                letters.end(count - 1),
                len(letters.text),
                letters.text,
            )
            return letters.first(count)
    return letters


def _hits(
    letters: Letters,
    found: Iterable[tuple[int, str]],
    spellings: Callable[[str], list[_Spelling]],
) -> Iterator[Hit]:
    previous, nested = -1, 0
    for end, key in found:
        nested = nested + 1 if end == previous else 0
        previous = end
        if nested > _MOST_NESTED:
            continue
        last = end + 1
        first = last - len(key)
        right = letters.gap(last)
        if right <= Gap.NONE and not (right and key[-1] > _FIRST_SPACELESS):
            continue
        left = letters.gap(first)
        if left <= Gap.NONE and not (left and key[0] > _FIRST_SPACELESS):
            continue
        if not _is_whole(letters, first, last, left, right):
            continue
        yield from _judged(letters, first, last, spellings(key), (left, right))


def _judged(
    letters: Letters,
    first: int,
    last: int,
    spellings: Sequence[_Spelling],
    gaps: tuple[Gap, Gap],
) -> Iterator[Hit]:
    """Yield the hit of the names whose spelling fits the letters, if there is one."""
    judged = [
        (quality, spelling)
        for spelling in spellings
        for quality in [_spelled(letters, first, last, spelling, *gaps)]
        if quality is not None
    ]
    if not judged:
        return
    best = min(quality for quality, _ in judged)
    of_best = {s.known: s for quality, s in judged if quality == best}
    start, stop = letters.starts[first], letters.end(last - 1)
    reported = _unambiguous(list(of_best))
    matches = []
    for known in reported:
        rivals = sorted(
            other.name
            for other in reported
            if other.kind == known.kind and other.id != known.id
        )
        count = of_best[known].word_count
        matches.append(Match(known, start, stop, count, best, tuple(rivals)))
    yield Hit(start, stop, last - first, tuple(matches))


def _is_whole(letters: Letters, first: int, last: int, left: Gap, right: Gap) -> bool:
    """Tell whether a match in a script without spaces may be a whole name."""
    if left > Gap.NONE and right > Gap.NONE:
        return True
    key = letters.letters[first:last]
    # Other scripts begin and end a name with a border.
    for gap, edge in ((left, key[0]), (right, key[-1])):
        if gap <= Gap.NONE and script_of(edge) not in SPACELESS:
            return False
    after = letters.letters[last : last + 1]
    if left > Gap.NONE and after in _PARTICLES and len(key) > 2:
        return True
    scripts = {script_of(letter) for letter in key}
    if len(key) < 3 or scripts == {"katakana"}:
        return False
    if "katakana" in (script_of(key[0]), script_of(key[-1])) and not _edges(
        letters, first, last
    ):
        return False
    if len(key) == 3:
        # Korean writes words apart, so that a syllable more is another word.
        return "hangul" not in scripts and max(left, right) > Gap.NONE
    return "hangul" not in scripts or max(left, right) > Gap.NONE


def _edges(letters: Letters, first: int, last: int) -> bool:
    """Tell whether no katakana of the match continues outside of the match."""
    text = letters.letters
    return not any(
        script_of(text[inside]) == "katakana" == script_of(text[outside])
        for inside, outside in ((first, first - 1), (last - 1, last))
        if 0 <= outside < len(text) and letters.gap(max(inside, outside)) <= Gap.NONE
    )


def _plain(known: Sequence[KnownName]) -> _PlainName | None:
    alias = known[0].alias
    if len(known) > 1 or not PLAIN_WORDS.fullmatch(alias):
        return None
    return _PlainName(known[0], alias.lower(), alias.count(" ") + 1)


def _spelling(known: KnownName, folded: Letters | None = None) -> _Spelling:
    """Return where the words of a name meet."""
    strong: dict[int, frozenset[str]] = {}
    if folded is None and PLAIN_WORDS.fullmatch(known.alias):
        words = known.alias.split(" ")
        for number in itertools.accumulate(map(len, words[:-1])):
            strong[number] = _NO_SIGNS
        return _Spelling(known, strong, frozenset(), len(words), None)
    letters = folded or Letters(known.alias)
    soft: set[int] = set()
    count = 1
    for index in range(1, len(letters.letters)):
        gap = letters.gap(index)
        if gap == Gap.SEPARATOR:
            count += 1
            between = letters.between(index)
            initials = letters.is_initial(index - 1) and letters.is_initial(index)
            if initials or not any(c.isspace() or c in "_" for c in between):
                soft.add(index)
            strong[index] = _parting(between)
        elif gap > Gap.NONE:
            count += gap == Gap.CAPITAL
            soft.add(index)
        elif gap == Gap.NONE and letters.is_in_initials(index):
            soft.add(index)
    short = len(letters.letters) <= 3 and any(strong.values())
    return _Spelling(
        known, strong, frozenset(soft), count, known.alias.casefold() if short else None
    )


def _parting(between: str) -> frozenset[str]:
    """Return the signs between two letters that part names."""
    if between in _JOINING:
        return _NO_SIGNS
    found = _PARTING.intersection(between)
    if any(c in _DASHES for c in between) and not all(c in _DASHES for c in between):
        # A dash with spaces, underscores or dots on both sides; a hyphen joins.
        return found | {"-"}
    return found


def _spelled(
    letters: Letters,
    first: int,
    last: int,
    spelling: _Spelling,
    left: Gap,
    right: Gap,
) -> int | None:
    """Return how close the text is to the name's spelling; None: another name."""
    count = last - first
    if spelling.exact is not None:
        written = letters.text[letters.starts[first] : letters.end(last - 1)]
        return 0 if written.casefold() == spelling.exact else None
    strong, soft = spelling.strong, spelling.soft
    extra: list[str] = []
    plain = True
    separators = letters.separators_in(first, last)
    for index in separators:
        number = index - first
        between = letters.between(index)
        if number in strong:
            signs = _parting(between)
            if signs - strong[number] and not (
                # `Jade Kush (II)`: the bracket closes right after the name.
                signs - strong[number] <= _OPENING
                and letters.text.startswith(_CLOSING, letters.end(last - 1))
            ):
                return None
            plain = plain and signs == strong[number]
        elif _parting(between) or (
            # A line may end where a capital begins a word: `NorthLight`.
            "\n" in between and (number not in soft or count < JOINED_LENGTH)
        ):
            return None
        elif number in soft or not _APOSTROPHES.isdisjoint(between):
            plain = False
        else:
            extra.append(between)
    lacking = [n for n in strong if first + n not in separators]
    plain = plain and not lacking
    missing = any(
        n not in soft and letters.gap(first + n) != Gap.CAPITAL for n in lacking
    )
    if not extra and not missing:
        return 0 if plain else 1
    if script_of(letters.letters[first]) in SPACELESS:
        return _spelled_without_spaces(count, extra, left, right)
    if extra and len(separators) >= 0.75 * (count - 1) and count >= 4:
        return 2 if letters.gap(first) == letters.gap(last) == Gap.SEPARATOR else None
    joined = letters.letters[first:last]
    if joined in EVERYDAY_WORDS or (missing and count < JOINED_LENGTH):
        return None
    if not extra:
        return 2
    if len(extra) > 1:
        return None
    hyphen = all(c in _DASHES for c in extra[0])
    return 2 if count >= SPLIT_LENGTH or (hyphen and count >= 5) else None


def _spelled_without_spaces(
    count: int, extra: Sequence[str], left: Gap, right: Gap
) -> int | None:
    """Return the spelling in a script without spaces; one space may stand inside."""
    if not extra:
        return 0
    if count > 2 and len(extra) == count - 1 and set(extra) == {" "}:
        return 2
    if len(extra) > 1 or extra[0].strip():
        return None
    # `山本 さくら` is one name, but the last and first letters of two words are none.
    return 1 if left >= Gap.SCRIPT and (right >= Gap.SCRIPT or count > 2) else None


def _as_written(name: KnownName) -> Iterator[KnownName]:
    """Yield a name, and the other ways in which people write the name."""
    yield name
    if "&" in name.alias:
        yield replace(name, alias=_AMPERSAND.sub(" and ", name.alias))
    elif " and " in name.alias:
        yield replace(name, alias=name.alias.replace(" and ", " & "))
    if name.kind != "performers":
        return
    if (short := _NICKNAME.sub(" ", name.alias)) != name.alias:
        yield replace(name, alias=short)


def _key(name: str) -> str:
    """Return what two spellings share that differ by nothing but case."""
    return unicodedata.normalize("NFC", name.strip()).casefold()


def _unambiguous(names: Sequence[KnownName]) -> tuple[KnownName, ...]:
    """Return the names to report of the same letters, in the order of their kinds.

    Of each kind: the main names, and the aliases that are spelled otherwise; without
    those that two objects spell alike; and one name of each object.
    """
    if len(names) == 1:
        return tuple(names)
    found: list[KnownName] = []
    for kind in sorted({name.kind for name in names}):
        main = [n for n in names if n.kind == kind and not n.is_alias]
        taken = {_key(name.alias) for name in main}
        aliases = [n for n in names if n.kind == kind and n.is_alias]
        best = [*main, *(n for n in aliases if _key(n.alias) not in taken)]
        spelled: defaultdict[str, set[int]] = defaultdict(set)
        for name in best:
            spelled[_key(name.alias)].add(name.id)
        one_each: dict[int, KnownName] = {}
        for name in best:
            if len(spelled[_key(name.alias)]) == 1:
                one_each.setdefault(name.id, name)
        found += one_each.values()
    return tuple(found)
