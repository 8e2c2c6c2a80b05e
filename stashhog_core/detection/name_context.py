"""Decides by its place in a text whether a match is meant as a name.

Many names are also words: a performer Summer, a studio Golden Hour, a tag Art. Their
place tells what is meant: before a dash, in a list of people, in brackets, in a folder
of its own, right after the date of a release. Each verdict says its reason.
"""

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from stashhog_core.detection.common_words import (
    EVERYDAY_WORDS,
    FILLER_WORDS,
    FUNCTION_WORDS,
    GIVEN_NAMES,
    OTHER_SENSE,
)
from stashhog_core.detection.letters import SPACELESS, Letters, fold_words, script_of
from stashhog_core.detection.name_finder import PLAIN_WORDS, Match, NameFinder, chosen

LEAST_LETTERS_OF_PERSON = 4
LEAST_LETTERS_OF_TAG = 3

Border = Literal[
    "edge", "dash", "list", "bracket", "line", "folder", "colon", "stop", "word", "and",
    "date", "site", "weak",
]  # fmt: skip

_BORDERS = re.compile(
    r"(?P<folder>[/\\])|(?P<bracket>[()\[\]{}<>\u3008-\u3011\u3014-\u301b\uff08\uff09"
    r"\u201c\u201d\u00ab\u00bb])"
    r"|(?P<line>\n)|(?P<list>[,;&+\u00d7\u3001\uff0c\uff06]|\s[~\u00b7\u2022]\s)"
    r"|(?P<dash>\s[-\u2012-\u2015]+\s|_-_|\.-\.|[|\uff5c])"
    # A date or an episode, as in `vixen.21.05.03.jade.kush` and `vixen.e12.jade.kush`.
    r"|(?P<date>(?<![^\W_])(?:(?:19|20)?\d\d[\s._-]\d\d[\s._-]\d\d(?!\d)"
    r"|e\d{2,4}(?![^\W_])))"
    # Words between names, and words next to names on title cards.
    r"|(?<![^\W_])(?:(?P<and>(?:feat|ft|vs)\.?|and|featuring|x|und|et|y)"
    r"|(?P<word>with|starring|stars|performers?|models?|cast|studios?|presents|presented"
    r"|productions?|presentation|by|from|tags?|categories|category))(?![^\W_])"
    r"|(?P<colon>[:\uff1a])|(?P<stop>[.!?\u3002](?=\s))"
    r"|(?P<site>(?<![^\W_])www\.|\.(?:com|net|org|tv|xxx|club|co)(?![^\W_]))",
    re.IGNORECASE,
)
_WEAK_IN_SPACED = re.compile(r"(?P<weak>_|(?<=[^\W_]{3})\.(?=[^\W_]{2}))")
_WEAK_UNSPACED = re.compile(r"(?P<weak>[_-])")
_LETTERS = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_SIGNS = re.compile(r"[\W_]")


_EVERYDAY_AND_FUNCTION_WORDS = EVERYDAY_WORDS | FUNCTION_WORDS
_RECORDINGS = frozenset(["clip", "scene", "session", "set", "shoot", "video"])
_UNCLEAR_TAGS = OTHER_SENSE | FILLER_WORDS
_FRIENDS = re.compile(
    r"[\s._-]*(?:&|\+|,|and)[\s._-]*(?:(?:her|his|their)[\s._-]+)?"
    r"(?:friends?|others|guests?)(?![^\W_])",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"(?:starring|stars|performers?|models?|cast)[\W_]*$", re.IGNORECASE
)
_PRODUCTION = re.compile(r"[\W_]*(?:production|presentation)", re.IGNORECASE)
# So far a text is looked at on each side of a match: details can be very long.
_NEAR = 200
_WORDS_NEAR = 40
_PEOPLE_IN_A_LIST = 50


class Verdict(NamedTuple):
    """How sure a name is, 0 to 1, and why."""

    confidence: float
    reason: str


_FULL_NAME = Verdict(0.97, "a full name")


class Named(NamedTuple):
    """A name that a text means."""

    match: Match
    verdict: Verdict


def names_in(
    text: str, finder: NameFinder, *, on_card: bool = False, is_folder: bool = False
) -> list[Named]:
    """Return the names that a text means, in their order; they do not overlap.

    Args:
        text: A file's name, folders (with slashes between), a title, details or the
            lines of a card.
        finder: Finds the names that Stash has.
        on_card: The text was read off a picture: lines stand for themselves, and
            letters may be misread.
        is_folder: The text is one or more folders.
    """
    hits = finder.hits(text, misread=on_card)
    if not hits:
        return []
    matches = [m for hit in hits for m in hit.matches]
    place = _Place(text, matches, on_card, is_folder)
    verdicts: dict[int, Verdict] = {}

    def is_meant(match: Match) -> bool:
        verdict = place.verdict(match)
        if verdict is not None:
            verdicts[id(match)] = verdict
        return verdict is not None

    return [Named(m, verdicts[id(m)]) for m in chosen(hits, len(text), is_meant)]


@dataclass(frozen=True, slots=True)
class _Part:
    start: int
    end: int
    before: Border
    after: Border


class _Place:
    """The parts of a text, and what stands around each match."""

    def __init__(
        self, text: str, hits: Sequence[Match], on_card: bool, is_folder: bool
    ) -> None:
        self._text = text
        self._edge: Border = "folder" if is_folder else "edge"
        self._hits = hits
        self._on_card = on_card

    def verdict(self, match: Match) -> Verdict | None:
        """Return how sure it is that a match is meant as a name; None: it is not."""
        words = _words_of(match.known.alias)
        if match.known.is_turned:
            found = self._turned(match, words)
        elif match.known.kind == "tags":
            found = self._tag(match, words.joined)
        elif match.word_count > 1 or words.is_full_name:
            found = self._full(match, words)
        else:
            found = self._single(match, words.joined)
        return None if found is None else _weighed(found, match)

    # What surrounds a match

    @cached_property
    def _parts(self) -> list[_Part]:
        text = self._text
        borders = [(m.start(), m.end(), m.lastgroup) for m in _BORDERS.finditer(text)]
        spaced = " " in text.strip()
        weak: re.Pattern[str] | None = _WEAK_IN_SPACED if spaced else None
        if not spaced and "_" in text and "-" in text:
            weak = _WEAK_UNSPACED
        if weak is not None:
            borders += [(m.start(), m.end(), "weak") for m in weak.finditer(text)]
            borders.sort()
        parts: list[_Part] = []
        start, before = 0, self._edge
        for first, last, kind in [*borders, (len(text), len(text), self._edge)]:
            if first < start:
                continue
            parts.append(_Part(start, first, before, kind))  # type: ignore[arg-type]
            start, before = last, kind  # type: ignore[assignment]
        return [p for p in parts if _has_letters(text, p.start, p.end)] or parts

    @cached_property
    def _part_starts(self) -> list[int]:
        return [part.start for part in self._parts]

    def _part_number(self, match: Match) -> int:
        return max(bisect.bisect_right(self._part_starts, match.start) - 1, 0)

    def _around(self, match: Match) -> tuple[str, str, Border, Border]:
        """Return the texts of the part before and after a match, and its borders.

        The texts are cut to what can hold the nearest words.
        """
        first = self._parts[self._part_number(match)]
        number = bisect.bisect_left(self._part_starts, match.end) - 1
        last = self._parts[max(number, 0)]
        left = self._text[max(first.start, match.start - _NEAR) : match.start]
        right = self._text[match.end : min(last.end, match.end + _NEAR)]
        return left, right, first.before, last.after

    def _is_alone(self, match: Match) -> bool:
        left, right, _, _ = self._around(match)
        # A year on a card is that of the film.
        word = _LETTERS if self._on_card else _WORD
        return not word.search(left) and not word.search(right)

    def _is_joined(self, match: Match) -> bool:
        """Tell whether several words are written as one: no sentence does that."""
        start, end = match.start, match.end
        around = self._text[max(0, start - 1) : start] + self._text[end : end + 1]
        return (
            not self._on_card
            and self._text[start:end].isalnum()
            and not any(character.isalnum() for character in around)
        )

    @cached_property
    def _is_mixed_case(self) -> bool:
        """Whether this text begins with a capital, so that names have them too."""
        return next((c for c in self._text if c.isalpha()), "").isupper()

    def _is_written_small(self, match: Match) -> bool:
        return self._is_mixed_case and self._text[match.start].islower()

    def _is_written_as_name(self, match: Match) -> bool:
        """Tell whether a match has the capitals that tell a name from a word.

        Where nothing has capitals, an everyday word says nothing about its neighbours.
        """
        if self._is_mixed_case:
            return not self._is_written_small(match)
        return match.word_count > 1 or (
            _words_of(match.known.alias).joined not in EVERYDAY_WORDS
        )

    @cached_property
    def _sure_places(self) -> tuple[frozenset[int], ...]:
        """Where names are sure enough to support a name beside them.

        Begin and end of people's full names; begin and end of studios too; begin of
        people, also of those whose single name is no everyday word.
        """
        sure = [
            m
            for m in self._hits
            if m.known.kind != "tags"
            and not m.known.is_turned
            and (m.word_count > 1 or _words_of(m.known.alias).is_full_name)
            and (not _words_of(m.known.alias).are_everyday or self._is_joined(m))
        ]
        people = [m for m in sure if m.known.kind == "performers"]
        rare = [m for m in self._hits if m.known.kind == "performers" and _is_rare(m)]
        short = [m for m in self._hits if self._is_short_studio(m)]
        return (
            frozenset(m.start for m in people),
            frozenset(m.end for m in people),
            frozenset(m.start for m in sure),
            frozenset(m.end for m in [*sure, *short]),
            frozenset(m.start for m in [*people, *rare]),
        )

    def _is_short_studio(self, match: Match) -> bool:
        """Tell whether a studio's short name stands first, in capitals."""
        written = self._text[match.start : match.end]
        return match.known.kind == "studio" and not match.start and written.isupper()

    def _is_beside_person(self, match: Match, *, after: bool) -> bool:
        """Tell whether a person's full name stands right beside a match."""
        starts, ends, *_ = self._sure_places
        return self._is_beside(match, starts if after else ends, after)

    def _is_beside_name(self, match: Match, *, after: bool) -> bool:
        """Tell whether a person or studio stands right beside a match."""
        _, _, starts, ends, _ = self._sure_places
        return self._is_beside(match, starts if after else ends, after)

    def _is_beside(self, match: Match, places: frozenset[int], after: bool) -> bool:
        at = match.end if after else match.start
        for _ in range(4):
            if at in places:
                return True
            next_at = at if after else at - 1
            if not 0 <= next_at < len(self._text) or self._text[next_at].isalnum():
                return False
            at += 1 if after else -1
        return False

    @cached_property
    def _lone_people(self) -> dict[int, set[int]]:
        """The ids of the people who are alone in a part, by the part's number."""
        found: dict[int, set[int]] = {}
        for match in self._hits:
            known = match.known
            if (
                known.kind == "performers"
                and (match.word_count > 1 or len(known.alias) > 1)
                and (self._is_alone(match) or self._leads_into_sentence(match))
                and self._is_written_as_name(match)
            ):
                found.setdefault(self._part_number(match), set()).add(known.id)
        return found

    def _leads_into_sentence(self, match: Match) -> bool:
        """Tell whether a match ends a list: `Jade & Kim at the pool`."""
        left, right, before, _ = self._around(match)
        following = fold_words(right)
        return (
            before in ("list", "and")
            and not _WORD.search(left)
            and bool(following)
            and following[0] in FUNCTION_WORDS
        )

    def _is_among_people(self, match: Match) -> bool:
        """Tell whether a match is one of a list, beside another person."""
        if _FRIENDS.match(self._text, match.end):
            return True
        parts = self._parts
        for step in (-1, 1):
            at = self._part_number(match)
            for _ in range(_PEOPLE_IN_A_LIST):
                border = parts[at].before if step < 0 else parts[at].after
                if border not in ("list", "and", "line") and not (
                    border == "word" and self._lists_with(parts[at], step)
                ):
                    break
                at += step
                if not 0 <= at < len(parts):
                    break
                if self._lone_people.get(at, set()) - {match.known.id}:
                    return True
        return False

    def _lists_with(self, part: _Part, step: int) -> bool:
        end = part.start if step < 0 else part.end
        around = self._text[max(0, end - 6) : end + 6].casefold()
        return "with" in around

    # Verdicts

    def _is_production(self, match: Match) -> bool:
        """Tell whether a studio stands as in `A Golden Hour Production`."""
        left, right, _, after = self._around(match)
        return (
            match.known.kind == "studio"
            and after == "word"
            and not _WORD.search(right)
            and fold_words(left) in (["a"], ["an"], ["the"], ["another"])
            and _PRODUCTION.match(self._text, match.end) is not None
        )

    def _full(self, match: Match, name: "_Words") -> Verdict | None:
        """Judge a first and last name, or a studio's name of several words."""
        known = match.known
        if not name.are_everyday:
            return _FULL_NAME
        if len(name.joined) <= 3:
            return self._single(match, name.joined)
        left, right, before, after = self._around(match)
        if self._is_joined(match):
            return Verdict(0.88, "everyday words that are written as one")
        if self._is_production(match):
            return Verdict(0.88, "before a word for productions")
        if self._is_alone(match):
            found = self._alone(match, sure=0.9)
            if found is None and before == after == "edge":
                return Verdict(0.75, "the whole text")
            if (
                found is None
                and known.kind == "performers"
                and name.words[0] in GIVEN_NAMES
                and not self._is_written_small(match)
            ):
                return Verdict(0.8, "a first and a last name, a part of its own")
            return found
        words = fold_words(left), fold_words(right)
        if before == "date" and not words[0]:
            return Verdict(0.8, "right after the date of a release")
        if known.kind == "studio":
            first = not words[0] and before in ("edge", "folder")
            if first and self._is_beside_person(match, after=True):
                return Verdict(0.8, "first, followed by a person")
            return None
        if self._is_beside_person(match, after=True) and not words[0]:
            return Verdict(0.75, "next to a person")
        is_person = (
            name.words[0] in GIVEN_NAMES
            and not (words[0] and words[0][-1] in FUNCTION_WORDS)
            and not (words[1] and words[1][0] in ("of", "von", "de"))
            and not self._is_written_small(match)
        )
        in_sentence = before == "word" and not self._is_mixed_case
        if is_person and not words[0] and not in_sentence:
            return Verdict(0.8, "a first and a last name, first in its part")
        return None

    def _turned(self, match: Match, name: "_Words") -> Verdict | None:
        """Judge a last name before a first name: a part of its own, with one comma."""
        _, _, before, after = self._around(match)
        in_list = "list" in (before, after) or "and" in (before, after)
        if (
            name.are_everyday
            or not self._is_alone(match)
            or ("," in self._text[match.start : match.end] and in_list)
        ):
            return None
        return Verdict(0.85, "last name first, a part of its own")

    def _alone(self, match: Match, *, sure: float) -> Verdict | None:
        """Judge an everyday word or words that are a part of their own."""
        _, _, before, after = self._around(match)
        if self._on_card:
            return Verdict(sure, "alone in its line")
        if before == "bracket" and after == "bracket":
            return Verdict(sure, "in brackets")
        if self._is_written_small(match):
            return None
        if match.known.kind == "performers" and self._is_among_people(match):
            return Verdict(sure, "in a list of people")
        if after == "date" or before == "date":
            return Verdict(sure, "next to the date of a release")
        if after in ("dash", "colon") and before in (
            "edge",
            "dash",
            "folder",
            "bracket",
        ):
            return Verdict(sure, "a part of its own before a dash")
        if {before, after} <= {"edge", "folder"} and "folder" in (before, after):
            return Verdict(sure, "a folder of its own")
        if {before, after} <= {"edge", "site", "weak"} and before != after:
            return Verdict(sure - 0.05, "a part of its own")
        if match.known.kind == "studio" and (after == "word" or before == "word"):
            return Verdict(sure, "alone next to a word for studios")
        if match.known.kind == "performers" and before in ("word", "colon"):
            heading = self._text[max(0, match.start - _WORDS_NEAR) : match.start]
            if _HEADING.search(heading):
                return Verdict(sure, "after a word for people")
        return None

    def _single(self, match: Match, word: str) -> Verdict | None:
        """Judge a performer or studio whose name is one word."""
        known = match.known
        letters = len(word)
        if letters < 2 and script_of(word[0]) not in SPACELESS:
            return None
        left, _, before, _ = self._around(match)
        if not self._is_alone(match):
            return self._single_among_others(match, left, before)
        if self._on_card:
            least = LEAST_LETTERS_OF_TAG if word.isascii() else 1
            return Verdict(0.9, "alone in its line") if letters >= least else None
        everyday = word in EVERYDAY_WORDS or (
            word.isascii() and letters < LEAST_LETTERS_OF_PERSON
        )
        if everyday:
            found = self._alone(match, sure=0.83)
            written = self._text[match.start : match.end]
            if (
                found is None
                and known.kind == "studio"
                and word not in EVERYDAY_WORDS
                and written.isupper()
                and before in ("weak", "dash", "bracket")
            ):
                return Verdict(0.8, "a short name in capitals, a part of its own")
            return found
        if self._is_written_small(match) and before in ("list", "and", "stop"):
            return None
        return Verdict(0.85, "a part of its own")

    def _single_among_others(
        self, match: Match, left: str, before: Border
    ) -> Verdict | None:
        first = not _WORD.search(left)
        if self._is_production(match):
            return Verdict(0.88, "before a word for productions")
        if self._on_card:
            return None
        if first and before == "date" and match.known.kind == "performers":
            return Verdict(0.78, "right after the date of a release")
        rare = match.known.kind == "performers" and _is_rare(match)
        if rare and not self._is_written_small(match):
            if any(self._is_beside_name(match, after=after) for after in (False, True)):
                return Verdict(0.78, "beside a person or studio")
            if self._is_among_tags(match):
                return Verdict(0.78, "beside nothing but tags")
        if not first:
            return None
        if (
            match.known.kind == "performers"
            and self._leads_into_sentence(match)
            and self._is_among_people(match)
        ):
            return Verdict(0.8, "in a list of people")
        is_first = match.known.kind == "studio" and before in ("edge", "folder")
        if is_first and self._is_beside_person(match, after=True):
            return Verdict(0.8, "first, followed by a person")
        if self._is_short_studio(match) and self._is_beside(
            match, self._sure_places[4], True
        ):
            return Verdict(0.78, "a short name in capitals, followed by a person")
        return None

    def _tag(self, match: Match, word: str) -> Verdict | None:
        """Judge a tag: most words mean it wherever they stand."""
        if match.word_count > 1 and len(word) > 3 and match.spelling < 3:
            return Verdict(0.97, "a name of several words")
        written = self._text[match.start : match.end]
        # A list of tags on a card may hold any word, such as Night.
        alone_on_card = self._on_card and self._is_alone(match)
        if word.isdigit() or (word in FILLER_WORDS and not alone_on_card):
            return None
        if not word.isascii() and script_of(word[0]) in SPACELESS:
            return Verdict(0.87, "a whole word")
        exact = written.isupper() or any(c.isdigit() for c in word)
        if len(word) < LEAST_LETTERS_OF_TAG and not (exact and len(word) > 1):
            return None
        hashed = self._text[max(0, match.start - 1) : match.start] == "#"
        if hashed:
            return Verdict(0.95, "after a number sign")
        if alone_on_card:
            return Verdict(0.97, "alone in its line")
        if self._on_card and match.spelling == 3:
            return None
        if word in OTHER_SENSE:
            return self._tag_with_other_sense(match)
        if not _ends_at_words(self._text, match):
            return None
        return Verdict(0.87, "a whole word")

    @cached_property
    def _tags(self) -> tuple[list[Match], list[int]]:
        """The tags in their order, and where they begin."""
        tags = sorted((m for m in self._hits if m.known.kind == "tags"), key=_start)
        return tags, [tag.start for tag in tags]

    def _is_among_tags(self, match: Match) -> bool:
        """Tell whether a part has only tags beside a match.

        If the match is a tag, one of the tags must have no other sense.
        """
        left, right, _, _ = self._around(match)
        first, last = match.start - len(left), match.end + len(right)
        if last - first > _NEAR:
            return False
        is_clear = match.known.kind != "tags" and match.end - match.start < last - first
        tags, starts = self._tags
        among = tags[
            bisect.bisect_left(starts, first) : bisect.bisect_left(starts, last)
        ]
        at = first
        for each in sorted([match, *among], key=_start):
            if each.end > last:
                continue
            if _WORD.search(self._text, at, max(at, each.start)):
                return False
            at = max(at, each.end)
            if each is not match:
                word = _words_of(each.known.alias).joined
                is_clear = is_clear or word not in _UNCLEAR_TAGS
        return is_clear and not _WORD.search(self._text, at, last)

    def _tag_with_other_sense(self, match: Match) -> Verdict | None:
        _, right, before, after = self._around(match)
        if self._is_alone(match):
            if before == "stop" or after == "stop":
                return None
            if "word" in (before, after) and "colon" not in (before, after):
                return None
            if {before, after} <= {"and", "edge"} and before != after:
                return None
            return Verdict(0.85, "a part of its own")
        if self._is_among_tags(match):
            return Verdict(0.8, "among other tags")
        if self._is_beside_person(match, after=False):
            following = fold_words(right)
            if (
                not following
                or any(c.isdigit() for c in following[0])
                or following[0] in _RECORDINGS
            ):
                return Verdict(0.8, "right after a person")
        return None


def _is_rare(match: Match) -> bool:
    """Tell whether a name is one word, but none of everyday life."""
    word = _words_of(match.known.alias).joined
    return (
        match.word_count == 1
        and len(word) >= LEAST_LETTERS_OF_PERSON
        and word not in EVERYDAY_WORDS
    )


def _start(match: Match) -> int:
    return match.start


def _has_letters(text: str, start: int, end: int) -> bool:
    return any(c.isalnum() for c in text[start:end])


class _Words(NamedTuple):
    """What the words of a name are, apart from any text."""

    words: tuple[str, ...]
    joined: str
    is_full_name: bool
    are_everyday: bool


@lru_cache(maxsize=100_000)
def _words_of(name: str) -> _Words:
    words = _split_words(name)
    joined = "".join(words)
    # Three everyday words in one order are rarely there by chance.
    everyday = len(words) < 3 and _EVERYDAY_AND_FUNCTION_WORDS.issuperset(words)
    return _Words(tuple(words), joined, _is_full_name(joined), everyday)


def _split_words(name: str) -> list[str]:
    """Return the folded words of a name, also those that only capitals part."""
    if PLAIN_WORDS.fullmatch(name):
        return name.lower().split(" ")
    letters = Letters(name)
    starts = [i for i in range(len(letters.letters)) if letters.gap(i) > 2]
    return [
        letters.letters[a:b]
        for a, b in zip(starts, [*starts[1:], len(letters.letters)], strict=True)
    ]


def _is_full_name(name: str) -> bool:
    """Tell whether a name without spaces has a family name and a given name."""
    if name.isascii():
        return False
    scripts = {script_of(letter) for letter in name}
    if not scripts <= SPACELESS:
        return False
    if "han" in scripts:
        return len(name) >= 2
    return len(name) >= 3 if "hangul" in scripts else len(name) >= 5


def _ends_at_words(text: str, match: Match) -> bool:
    """Tell whether a match begins and ends like a word.

    A capital parts words in a title such as `OutdoorYogaDay`. Two words that are
    joined, such as `BlueHarbor`, are rather one name.
    """
    start, end = match.start, match.end
    joined_before = _are_joined(text[start - 1 : start], text[start])
    joined_after = _are_joined(text[end - 1], text[end : end + 1])
    if joined_before == joined_after:
        return True
    if joined_before:
        rest = _SIGNS.split(text[max(0, start - _WORDS_NEAR) : start])[-1]
    else:
        rest = _SIGNS.split(text[end : end + _WORDS_NEAR], maxsplit=1)[0]
    return len(_split_words(rest)) >= 2


def _are_joined(one: str, other: str) -> bool:
    """Tell whether two neighbours in a text are letters of one script."""
    return (one + other).isascii() and one.isalpha() and other.isalpha()


def _weighed(verdict: Verdict, match: Match) -> Verdict:
    """Return a verdict that takes into account how the name is spelled."""
    confidence, reason = verdict.confidence, verdict.reason
    if match.spelling < 2 and not match.rivals and not match.known.is_alias:
        return verdict
    if match.known.is_alias:
        confidence -= 0.04
    if match.spelling == 2:
        confidence -= 0.05
        reason += ", joined or spaced out"
    elif match.spelling == 3:
        confidence -= 0.1
        reason += ", with letters that text recognition confuses"
    if match.rivals:
        confidence = min(confidence, 0.75) - 0.02
        reason += f"; spelled almost like {', '.join(match.rivals)}"
    return Verdict(round(confidence, 3), reason)
