"""What Stash answers, decoded: two answers about the same thing are equal."""

from random import Random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.stash.payloads import (
    StashPerformer,
    StashScene,
    StashStudio,
    StashTag,
)
from stashhog_core.sync.compare import content_hash
from stashhog_core.sync.rows import file_rows, scene_row
from tests.support.fake_stash import FakeStash, refs

ORDERED = {"urls"}
"""Lists to which Stash gives an order of their own."""


def whole_scene() -> dict[str, Any]:
    """Return a scene with several of everything, as it comes on the wire."""
    stash = FakeStash()
    scene = stash.add_scene(
        files=[stash.new_file(f"/data/{name}.mp4") for name in "abcd"],
        tags=refs(1, 2, 3),
        performers=refs(4, 5, 6),
        urls=("https://b.invalid", "https://a.invalid"),
    )
    for tag in (1, 2, 3):
        stash.add_marker(scene, tag)
    stash.edit_markers(scene, tags=refs(4, 5, 6))
    lists = {
        "groups": [
            {"group": {"id": i, "name": f"film {i}"}, "scene_index": None}
            for i in (7, 8, 9)
        ],
        "galleries": [{"id": i} for i in (7, 8, 9)],
        "captions": [
            {"language_code": code, "caption_type": kind}
            for code, kind in (("de", "srt"), ("de", "vtt"), ("en", "srt"))
        ],
        "stash_ids": stash_ids(),
    }
    return {**msgspec.to_builtins(stash.scene_rows[scene]), **lists}


def stash_ids() -> list[dict[str, str]]:
    return [
        {"endpoint": e, "stash_id": i} for e, i in (("a", "2"), ("a", "3"), ("b", "1"))
    ]


def shuffled(value: Any, chance: Random, name: str = "") -> Any:
    """Return the same in another order; the primary file keeps its place."""
    if isinstance(value, dict):
        return {key: shuffled(below, chance, key) for key, below in value.items()}
    if not isinstance(value, list | tuple) or name in ORDERED:
        return value
    kept = 1 if name == "files" else 0
    others = [shuffled(below, chance) for below in value[kept:]]
    chance.shuffle(others)
    return [*(shuffled(below, chance) for below in value[:kept]), *others]


@given(st.randoms(use_true_random=False))
def test_order_of_lists_means_nothing(chance: Random) -> None:
    """A scene whose lists come in another order is the same scene, with one hash."""
    wire = whole_scene()
    one = msgspec.convert(wire, StashScene)
    other = msgspec.convert(shuffled(wire, chance), StashScene)

    assert other == one
    assert content_hash(other) == content_hash(one)
    assert (scene_row(other), file_rows(other)) == (scene_row(one), file_rows(one))


def test_place_of_the_primary_file_counts() -> None:
    """The first file is the primary one: with another one, the scene is another."""
    wire = whole_scene()
    one = msgspec.convert(wire, StashScene)
    first, *others = wire["files"]
    other = msgspec.convert({**wire, "files": [*others, first]}, StashScene)

    assert one.files[0].id == first["id"]
    assert other.files[0].id == others[0]["id"]
    assert content_hash(other) != content_hash(one)


def test_urls_keep_their_order() -> None:
    """Stash gives URLs an order, so the order is kept."""
    wire = whole_scene()

    assert list(msgspec.convert(wire, StashScene).urls) == list(wire["urls"])


@given(st.randoms(use_true_random=False))
def test_order_of_aliases_means_nothing(chance: Random) -> None:
    """A tag, performer or studio whose lists come in another order is the same."""
    named = {"id": 1, "name": "name", "stash_ids": stash_ids()}
    aliases = ["b", "a", "c"]
    rows: list[tuple[Any, dict[str, Any]]] = [
        (StashTag, {**named, "aliases": aliases, "parents": [{"id": 3}, {"id": 2}]}),
        (
            StashPerformer,
            {**named, "alias_list": aliases, "tags": [{"id": 3}, {"id": 2}]},
        ),
        (StashStudio, {**named, "aliases": aliases, "tags": [{"id": 3}, {"id": 2}]}),
    ]

    for kind, wire in rows:
        one, other = (
            msgspec.convert(row, kind) for row in (wire, shuffled(wire, chance))
        )
        assert one == other
