"""Grouping edits: everything is carried, by few requests."""

from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.plans.requests import group_edits
from stashhog_core.plans.three_way import MemberEdit

edits = st.builds(
    MemberEdit,
    slot=st.sampled_from(["add_tag", "remove_tag", "add_performer"]),
    id=st.integers(1, 5),
)


def test_scenes_with_the_same_set_share_a_request() -> None:
    """A hundred scenes that get the same three tags are one request."""
    tags = [MemberEdit("add_tag", number) for number in (1, 2, 3)]

    (group,) = group_edits((scene, tag) for scene in range(1, 101) for tag in tags)

    assert group.ids("add_tag") == [1, 2, 3]
    assert group.scene_ids == tuple(range(1, 101))


def test_many_different_sets_of_few_values_go_by_value() -> None:
    """Thousand scenes with mixed tags out of twenty are twenty requests."""
    pairs = [
        (scene, MemberEdit("add_tag", (scene * 7 + step * step) % 20))
        for scene in range(1000)
        for step in range(5)
    ]

    assert len(group_edits(pairs)) <= 20


def test_studio_goes_with_the_rest() -> None:
    """A card's studio, performer and tags need one request."""
    (group,) = group_edits(
        [
            (1, MemberEdit("studio", 4)),
            (1, MemberEdit("add_performer", 2)),
            (1, MemberEdit("add_tag", 3)),
        ]
    )

    assert (group.studio_id, group.ids("add_performer"), group.ids("add_tag")) == (
        4,
        [2],
        [3],
    )


@given(st.lists(st.tuples(st.integers(1, 6), edits), max_size=40))
def test_each_edit_is_carried_exactly_once(pairs: list[tuple[int, MemberEdit]]) -> None:
    """Nothing is lost, nothing is added, nothing is sent twice."""
    carried = [
        (scene, edit)
        for group in group_edits(pairs)
        for scene in group.scene_ids
        for edit in group.edits
    ]

    assert sorted(carried) == sorted(set(pairs))
