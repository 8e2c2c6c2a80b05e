"""Which names of the library a text model is offered for a scene."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from stashhog_core.detection import names
from stashhog_core.detection.name_finder import Kind, KnownName, NameFinder, fold_words

_LEAST_LETTERS = 3


class Candidates:
    """Finds names that share a word with a text; those given are always offered.

    Args:
        finder: Everything Stash knows.
        kinds: Which kinds of names are asked for.
        most: So many names of each kind, those that share most of their words.
        tags: Names of tags that are always offered, if Stash knows them.
    """

    def __init__(
        self, finder: NameFinder, kinds: set[Kind], most: int, tags: Sequence[str]
    ) -> None:
        self._finder = finder
        self._kinds = kinds
        self._most = most
        given = (finder.lookup(tag, "tags") for tag in tags if "tags" in kinds)
        self._given = [known.name for known in given if known is not None]
        self._by_word: dict[str, list[tuple[int, KnownName]]] | None = None
        self._lock = threading.Lock()

    def of(self, texts: Iterable[str]) -> dict[Kind, list[str]]:
        """Return main names by kind, the likeliest first; no kind without any."""
        shared: dict[Kind, Counter[str]] = defaultdict(Counter)
        found: Counter[tuple[Kind, str, str]] = Counter()
        lengths: dict[tuple[Kind, str, str], int] = {}
        by_word = self._words()
        for word in {word for text in texts for word in fold_words(text)}:
            for length, known in by_word.get(word, ()):
                key = (known.kind, known.name, known.alias)
                found[key] += 1
                lengths[key] = length
        for (kind, name, alias), count in found.items():
            share = count / lengths[kind, name, alias]
            shared[kind][name] = max(shared[kind][name], share)  # type: ignore[assignment]
        offered: dict[Kind, list[str]] = {}
        for kind in sorted(self._kinds):
            given = self._given if kind == "tags" else []
            likely = sorted(shared[kind], key=lambda n: (-shared[kind][n], n))
            if of_kind := list(dict.fromkeys([*given, *likely[: self._most]])):
                offered[kind] = of_kind
        return offered

    def _words(self) -> dict[str, list[tuple[int, KnownName]]]:
        with self._lock:
            if self._by_word is None:
                self._by_word = defaultdict(list)
                for words, known in self._finder.names():
                    if known.kind not in self._kinds or names.is_technical(known):
                        continue
                    for word in words:
                        if len(word) >= _LEAST_LETTERS:
                            self._by_word[word].append((len(words), known))
            return self._by_word
