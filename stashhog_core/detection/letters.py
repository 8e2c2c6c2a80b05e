"""The letters of a text: folded, without separators, with their places in the text.

Names are compared by their letters alone. Whether a match is a whole name is judged
afterwards by the gaps between the letters: separators, capitals, digits, scripts.
"""

import itertools
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

_PLAIN = {
    **dict(zip("øłđħıŧŋƒɓɗƙ", "oldhitnfbdk", strict=True)),
    "ð": "d",
    "æ": "ae",
    "œ": "oe",
    "þ": "th",
}
"""Letters that Unicode does not decompose, as people type them without the key."""

# Letters that stand for an apostrophe, and the Arabic stroke that widens a word.
_NO_LETTERS = frozenset("\u02b9\u02ba\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u0640")
_VOICE_MARKS = frozenset("\u3099\u309a")
_HALF_WIDTH_VOICE_MARKS = frozenset("\uff9e\uff9f")

# ASCII is folded as bytes, which takes a third of the time.
_LOWER = bytes(range(256)).lower()
_NOT_ALPHANUMERIC = bytes(code for code in range(128) if not chr(code).isalnum())
_IS_ALPHANUMERIC = bytes(code < 128 and chr(code).isalnum() for code in range(256))

_MISREAD = (
    str.maketrans("015829ij", "olsbzgll")
    # Cyrillic and Greek letters that look like Latin ones.
    | str.maketrans("авекмнорстух", "abekmhopctyx")
    | str.maketrans("αβεζηικμνορτυχ", "abezhlkmnoptyx")
    # Chinese characters and hiragana that look like katakana.
    | str.maketrans("力口二工夕卜八千へべぺり", "カロニエタトハチヘベペリ")
)
"""Letters that text recognition confuses, each pair as one of the two."""

READ_INSTEAD = (
    str.maketrans("œæßþŒÆẞÞ", "eabpEABP"),
    str.maketrans({"œ": "ce", "Œ": "CE"}),
)
"""What may be read instead of letters that are two when folded."""

MAY_BE_LEFT_OUT = frozenset(map(chr, range(0x1EA0, 0x1EFA)))
"""Letters of Vietnamese: text recognition leaves them out, or reads a plain letter."""
_LONGEST_WORD = 20
# No script puts more marks on a letter; to order marks takes their number squared.
_LONGEST_CLUSTER = 32
_MISREAD_PAIRS = {"rn": "m", "vv": "w"}


class Gap(IntEnum):
    """What lies between two neighbouring letters; a higher gap is a clearer border."""

    WITHIN = 0
    """Both letters come from one character, such as `ß`."""
    NONE = 1
    DIGIT = 2
    """A letter beside a digit."""
    CAPITAL = 3
    """A capital that begins a word, as in `JadeKush`."""
    SCRIPT = 4
    SEPARATOR = 5
    """Other characters, or the end of the text."""


class Letters:
    """The letters of `text`; letter `i` stands at `text[starts[i]:end(i)]`."""

    __slots__ = ("_ends", "_gaps", "_separators", "_starts", "letters", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._gaps: dict[int, Gap] = {}
        self._separators: list[int] | None = None
        self._starts: Sequence[int] | None = None
        self._ends: Sequence[int] | None = None
        if text.isascii():
            folded = text.encode("ascii").translate(_LOWER, _NOT_ALPHANUMERIC)
            self.letters = folded.decode("ascii")
            return
        letters: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        for start, end in _clusters(text):
            plain = _folded(text[start : min(end, start + _LONGEST_CLUSTER)])
            letters.append(plain)
            starts.extend([start] * len(plain))
            ends.extend([end] * len(plain))
        self.letters = "".join(letters)
        self._starts, self._ends = starts, ends

    @property
    def starts(self) -> Sequence[int]:
        """Where each letter begins in the text."""
        if self._starts is None:
            are_letters = self.text.encode("ascii").translate(_IS_ALPHANUMERIC)
            self._starts = list(itertools.compress(range(len(self.text)), are_letters))
        return self._starts

    def end(self, index: int) -> int:
        """Return where a letter ends in the text."""
        return self.starts[index] + 1 if self._ends is None else self._ends[index]

    def between(self, index: int) -> str:
        """Return the characters between a letter and the letter before it."""
        return self.text[self.end(index - 1) : self.starts[index]]

    def gap(self, index: int) -> Gap:
        """Return what lies before letter `index`; at both ends a separator."""
        found = self._gaps.get(index)
        if found is None:
            found = self._gaps[index] = self._gap(index)
        return found

    def _gap(self, index: int) -> Gap:
        letters, starts = self.letters, self.starts
        if index <= 0 or index >= len(letters):
            return Gap.SEPARATOR
        if starts[index] == starts[index - 1]:
            return Gap.WITHIN
        if starts[index] > self.end(index - 1):
            return Gap.SEPARATOR
        before, after = letters[index - 1], letters[index]
        if before.isdecimal() != after.isdecimal():
            return Gap.DIGIT
        if not (before.isascii() and after.isascii()) and _apart(before, after):
            return Gap.SCRIPT
        text = self.text
        if text[starts[index]].isupper():
            if text[starts[index - 1]].islower():
                return Gap.CAPITAL
            following = index + 1 < len(letters) and text[starts[index + 1]]
            if following and following.islower() and text[starts[index - 1]].isupper():
                return Gap.CAPITAL
        return Gap.NONE

    def separators_in(self, first: int, last: int) -> Sequence[int]:
        """Return the letters with a separator before them, between two letters."""
        if self._separators is None:
            starts = self.starts
            ends = self._ends or [start + 1 for start in starts]
            self._separators = [
                i for i in range(1, len(starts)) if starts[i] > ends[i - 1]
            ]
        found = self._separators
        return found[bisect_right(found, first) : bisect_left(found, last)]

    def is_initial(self, index: int) -> bool:
        """Tell whether a letter stands alone."""
        return self.gap(index) == Gap.SEPARATOR and self.gap(index + 1) == Gap.SEPARATOR

    def is_in_initials(self, index: int) -> bool:
        """Tell whether a letter belongs to initials written as one: `JK Doe`."""
        first, last = index - 1, index
        while self.gap(first) == Gap.NONE:
            first -= 1
        while self.gap(last + 1) == Gap.NONE:
            last += 1
        word = self.text[self.starts[first] : self.end(last)]
        whole = len(self.letters) > last - first + 1
        return whole and last - first <= 2 and word.isupper() and word.isascii()

    def border(self, index: int, step: int) -> int:
        """Return the nearest border from letter `index` on, in the direction `step`.

        After a word's length the search ends, so that its time is bounded.
        """
        for _ in range(_LONGEST_WORD):
            if self.gap(index) > Gap.NONE:
                break
            index += step
        return index

    def first(self, count: int) -> "Letters":
        """Return the first letters alone, as if the text ended after them."""
        other = Letters.__new__(Letters)
        other.letters, other._gaps = self.letters[:count], {}
        other._separators = None
        other._starts = self.starts[:count]
        other._ends = None if self._ends is None else self._ends[:count]
        other.text = self.text[: self.end(count - 1)]
        return other

    def misread(self) -> "Letters":
        """Return the same letters, without differences that a misreading may make."""
        plain = self.letters.translate(_MISREAD)
        other = Letters.__new__(Letters)
        other.text, other._gaps, other._separators = self.text, {}, None
        letters: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        index = 0
        while index < len(plain):
            pair = _MISREAD_PAIRS.get(plain[index : index + 2])
            last = index + 1 if pair and self.gap(index + 1) <= Gap.NONE else index
            letters.append(pair if pair and last > index else plain[index])
            starts.append(self.starts[index])
            ends.append(self.end(last))
            index = last + 1
        other.letters, other._starts, other._ends = "".join(letters), starts, ends
        return other


def fold(text: str) -> str:
    """Return the letters of `text` alone, without case, accents and separators."""
    return Letters(text).letters


def fold_words(text: str) -> list[str]:
    """Return the folded words of `text`: what separators part."""
    words = Letters(text)
    borders = [
        i for i in range(len(words.letters) + 1) if words.gap(i) == Gap.SEPARATOR
    ]
    return [words.letters[a:b] for a, b in itertools.pairwise(borders) if a < b]


@lru_cache(maxsize=4096)
def script_of(letter: str) -> str:
    """Return the script of a letter: a name of its own for each that parts words."""
    code = ord(letter)
    if code < 0x250 or 0x1E00 <= code < 0x1F00:
        return "latin"
    for name, first, last in _SCRIPTS:
        if first <= code <= last:
            return name
    return f"block {code >> 8:x}"


_SCRIPTS = (
    ("greek", 0x370, 0x3FF),
    ("greek", 0x1F00, 0x1FFF),
    ("cyrillic", 0x400, 0x52F),
    ("hebrew", 0x590, 0x5FF),
    ("arabic", 0x600, 0x77F),
    ("arabic", 0xFB50, 0xFEFF),
    ("hangul", 0x1100, 0x11FF),
    ("hangul", 0xAC00, 0xD7FF),
    ("hiragana", 0x3041, 0x309F),
    ("katakana", 0x30A0, 0x30FF),
    ("katakana", 0x31F0, 0x31FF),
    ("han", 0x3005, 0x3007),
    ("han", 0x3400, 0x9FFF),
    ("han", 0xF900, 0xFAFF),
    ("han", 0x20000, 0x3FFFF),
)
SPACELESS = frozenset({"han", "hiragana", "katakana", "hangul"})
"""Scripts whose names need no spaces beside them."""

# Their marks change how a letter sounds, not which letter it is.
_ACCENTED = frozenset({"latin", "greek", "cyrillic", "hebrew", "arabic"})


def _apart(before: str, after: str) -> bool:
    one, other = script_of(before), script_of(after)
    # The Chinese characters and the hiragana of a Japanese word belong together.
    return one != other and {one, other} != {"han", "hiragana"}


def _clusters(text: str) -> list[tuple[int, int]]:
    """Return start and end of each character with the marks that belong to it."""
    starts = [i for i, c in enumerate(text) if c.isascii() or not _extends(c)]
    if not starts or starts[0]:
        starts.insert(0, 0)
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


@lru_cache(maxsize=4096)
def _extends(character: str) -> bool:
    """Tell whether a character belongs to the letter before it."""
    code = ord(character)
    return (
        unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")
        or character in _HALF_WIDTH_VOICE_MARKS
        # Vowels and final consonants of Korean syllables that are written in parts.
        or 0x1160 <= code <= 0x11FF
        or 0xD7B0 <= code <= 0xD7FF
    )


@lru_cache(maxsize=16384)
def _folded(cluster: str) -> str:
    # Composed again after folding the case: that may leave a letter with a mark.
    composed = unicodedata.normalize("NFKC", cluster).casefold()
    letters = []
    for character in unicodedata.normalize("NFKC", composed):
        parts = unicodedata.normalize("NFD", character)
        if script_of(parts[0]) in _ACCENTED:
            parts = "".join(c for c in parts if not unicodedata.combining(c))
        else:
            parts = character
        letters += [_PLAIN.get(c, c) for c in parts if _is_letter(c)]
    return "".join(letters)


def _is_letter(character: str) -> bool:
    if character in _NO_LETTERS:
        return False
    # The vowel signs of Hindi or Thai are marks, but other vowels are other words.
    return character.isalnum() or (
        unicodedata.category(character) in ("Mn", "Mc")
        and character not in _VOICE_MARKS
        and script_of(character).startswith("block")
        and not "\ufe00" <= character <= "\ufe0f"
        and not "\u0300" <= character <= "\u036f"
    )
