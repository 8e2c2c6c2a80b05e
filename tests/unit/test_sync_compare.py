"""The rules of what differs between Stash and its mirror."""

from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.stash.payloads import Ref, StashTag
from stashhog_core.sync.compare import (
    LocalEntity,
    compare_entities,
    compare_scenes,
    row_hash,
    scenes_of_changed_files,
    scenes_of_changed_markers,
)

texts = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"])
ids = st.integers(1, 12)


def test_scene_differences_by_reason() -> None:
    """New, changed, returned, vanished and missing scenes are told apart."""
    remote = {1: "t1", 2: "t2", 3: "t3", 4: "t4", 5: "t5"}
    local = {1: "t1", 2: "t1", 3: "t3", 4: None, 6: "t6", 7: "t7"}

    difference = compare_scenes(remote, local, missing={3, 7})

    assert difference.new == {5}
    assert difference.changed == {2, 4}
    assert difference.returned == {3}
    assert difference.vanished == {6}
    assert difference.missing == {7}
    assert difference.to_fetch == {2, 3, 4, 5}
    assert difference.pending == 5


def test_each_pending_scene_has_one_reason() -> None:
    """A scene with several reasons is counted once, so reasons add up to the count."""
    difference = compare_scenes({1: "t", 2: "t", 3: "t"}, {2: "s", 3: "t"})
    difference.marker.update({2, 3})
    difference.entity.update({1, 3})

    assert difference.reasons() == {"new": 1, "changed": 1, "marker": 1}
    assert sum(difference.reasons().values()) == difference.pending == 3


@given(
    remote=st.dictionaries(ids, texts),
    local=st.dictionaries(ids, st.none() | texts),
    gone=st.sets(ids),
)
def test_nothing_is_fetched_that_is_the_same(
    remote: dict[int, str], local: dict[int, str | None], gone: set[int]
) -> None:
    """Exactly the scenes whose mirrored time of change is not Stash's are fetched."""
    missing = gone & local.keys()
    difference = compare_scenes(remote, local, missing)

    same = {i for i in remote if local.get(i) == remote[i]} - missing
    assert difference.to_fetch == remote.keys() - same
    assert difference.missing == missing - remote.keys()
    assert difference.vanished | difference.missing == local.keys() - remote.keys()


def test_entity_differences() -> None:
    """Renamed and vanished entities touch scenes; other changes do not."""
    remote = {1: ("same", 1), 2: ("edited", 22), 3: ("new name", 33), 4: ("back", 4)}
    local = {
        1: LocalEntity("same", 1, missing=False),
        2: LocalEntity("edited", 2, missing=False),
        3: LocalEntity("old name", 3, missing=False),
        4: LocalEntity("back", 4, missing=True),
        5: LocalEntity("merged away", 5, missing=False),
        6: LocalEntity("long gone", 6, missing=True),
    }

    difference = compare_entities(remote, local)

    assert difference.changed == {2, 3, 4}
    assert difference.touches_scenes == {3, 5}
    assert difference.missing == {6}


def test_hash_covers_relations() -> None:
    """A row's hash is of all it holds, its relations included."""
    tag = StashTag(id=1, name="a", parents=(Ref(id=2),))

    assert row_hash(tag) == row_hash(StashTag(id=1, name="a", parents=(Ref(id=2),)))
    assert row_hash(tag) != row_hash(StashTag(id=1, name="a"))
    assert -(2**63) <= row_hash(tag) < 2**63


def test_markers_created_changed_moved_and_destroyed() -> None:
    """Each kind of change of a marker marks its scene; a move marks both."""
    local = {1: (10, "t1"), 2: (20, "t1"), 3: (30, "t1"), 4: (40, "t1")}
    remote = [(1, 10, "t1"), (2, 20, "t2"), (3, 31, "t1"), (5, 50, "t1")]

    assert set(scenes_of_changed_markers(remote, local)) == {20, 31, 30, 50, 40}


def test_files_that_moved_or_were_replaced() -> None:
    """A scene is marked when its files are not the mirrored ones, and only then."""
    first, moved = (1, "/a.mp4", 5, None), (1, "/b.mp4", 5, None)
    remote = {10: frozenset({first}), 20: frozenset({moved}), 30: frozenset({first})}
    local = {10: frozenset({first}), 20: frozenset({first})}

    assert set(scenes_of_changed_files(remote, local)) == {20, 30}
