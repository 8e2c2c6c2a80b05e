"""Comparing listings with what is mirrored, a page at a time."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.stash.payloads import MarkerStamp, Ref, SceneStamp
from stashhog_core.sync.compare import (
    compare_marker_stamps,
    compare_scenes,
    compare_stamps,
    scenes_of_changed_markers,
)

texts = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"])
ids = st.integers(1, 6)
markers = st.dictionaries(ids, st.tuples(ids, texts))


@given(
    listed=st.dictionaries(ids, texts),
    mirrored=st.dictionaries(ids, st.tuples(st.none() | texts, st.booleans())),
)
def test_page_of_scenes_is_compared_as_all_of_them_are(
    listed: Mapping[int, str], mirrored: Mapping[int, tuple[str | None, bool]]
) -> None:
    """What is the same in the same place is skipped, and that loses nothing."""
    stamps = [SceneStamp(id=id_, updated_at=listed[id_]) for id_ in sorted(listed)]
    rows = [(id_, *mirrored[id_]) for id_ in sorted(mirrored)]

    assert compare_stamps(stamps, rows) == compare_scenes(
        listed,
        {id_: known for id_, (known, _) in mirrored.items()},
        {id_ for id_, (_, is_missing) in mirrored.items() if is_missing},
    )


@given(listed=markers, mirrored=markers)
def test_page_of_markers_is_compared_as_all_of_them_are(
    listed: Mapping[int, tuple[int, str]], mirrored: Mapping[int, tuple[int, str]]
) -> None:
    """The same of markers."""
    stamps = [
        MarkerStamp(id=id_, scene=Ref(id=scene_id), updated_at=text)
        for id_, (scene_id, text) in sorted(listed.items())
    ]
    rows = [(id_, *mirrored[id_]) for id_ in sorted(mirrored)]
    theirs = [(id_, *listed[id_]) for id_ in sorted(listed)]

    found = set(compare_marker_stamps(stamps, rows))
    assert found == set(scenes_of_changed_markers(theirs, mirrored))
