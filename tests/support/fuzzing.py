"""Inputs that nobody would think of: how many, and of what kinds."""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_WANTED = os.environ.get("STASHHOG_TEST_FUZZ_EXAMPLES")
EXAMPLES = int(_WANTED or 25)
"""Inputs that `make test` tries of each kind: the same ones each time. `make fuzz`
tries more, and others each time.
"""

SEED = 0 if _WANTED is None else secrets.randbelow(2**40)
"""Where the numbers begin that draw inputs."""

many = settings(
    max_examples=EXAMPLES,
    derandomize=_WANTED is None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "1.0",
            "1e3",
            "1_000",
            "null",
            "true",
            "[1,2]",
            "{}",
            "\u0661",
            "a\0b",
            "\ud800",
            "../..",
            "x" * 10_000,
        ]
    ),
)
numbers = st.one_of(
    st.integers(min_value=-(2**70), max_value=2**70),
    st.sampled_from([0, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63]),
    st.floats(),
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(texts, below, max_size=2)
    ),
    max_leaves=4,
)
"""Whatever JSON can hold, and a few things that it cannot."""


_DEEPER = 0.85


def check_sentence(error: Exception) -> None:
    """Check that an error's text is one line, not longer than a person reads."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 1600


_OTHERS: list[Any] = [
    *(None, True, False, 0, -1, 2**31, 2**63, 1.5, 1e400, "", "0", "x", "a\0b"),
    *("\ud800", "2026-13-01", "x" * 10_000, [], [None], {}, {"id": "1"}),
]


def mutated(chance: Random, tree: Any) -> Any:
    """Return a value of JSON in which something has become something else.

    One place is replaced, removed or doubled, at any depth.
    """
    if isinstance(tree, dict) and tree and chance.random() < _DEEPER:
        name = chance.choice(sorted(tree))
        if chance.random() < _DEEPER:
            return {**tree, name: mutated(chance, tree[name])}
        return {key: value for key, value in tree.items() if key != name}
    if isinstance(tree, list) and tree and chance.random() < _DEEPER:
        index = chance.randrange(len(tree))
        changed = list(tree)
        match chance.randrange(4):
            case 0:
                del changed[index]
            case 1:
                changed.append(tree[index])
            case _:
                changed[index] = mutated(chance, tree[index])
        return changed
    return chance.choice(_OTHERS)


@dataclass
class LyingOnce:
    """Changes one answer of a server: the `left`-th one that is JSON.

    Args:
        seed: What the change is drawn from.
        left: The number of the answer, from 1.
        change: Returns a changed answer.
        is_meant: Whether an answer is one of those that are counted.
    """

    seed: int
    left: int
    change: Callable[[Random, Any], Any] = mutated
    is_meant: Callable[[Any], bool] = lambda _: True

    def __call__(self, body: bytes) -> bytes:
        """Return what is answered instead of this."""
        try:
            answer = json.loads(body)
        except ValueError:
            return body
        if not self.is_meant(answer):
            return body
        self.left -= 1
        if self.left != 0:
            return body
        changed = self.change(Random(self.seed), answer)
        if isinstance(changed, list) and len(changed) < len(answer):
            # Nothing tells a list that lacks an item from the truth.
            return body
        return json.dumps(changed).encode()
