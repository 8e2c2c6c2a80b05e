"""Ranges of ids by which a full sync fetches all scenes."""

from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.stash.payloads import KindGlance, LibraryListing
from stashhog_core.sync.full import HIGHEST_ID, WholeLibrary

_NOTHING = LibraryListing(iter(()), iter(()), (), (), (), (), None)


def ranges(total: int, newest_id: int) -> list[range]:
    library = WholeLibrary(_NOTHING, KindGlance(total, "", newest_id))
    return list(library.ranges(1000))


@given(newest_id=st.integers(0, 300_000), share=st.floats(0, 1))
def test_every_id_lies_in_one_range(newest_id: int, share: float) -> None:
    """The ranges follow each other from the first to the highest id there can be."""
    found = ranges(int(newest_id * share), newest_id)

    assert found[0].start == 1
    assert found[-1].stop == HIGHEST_ID + 1
    ends = [each.stop for each in found[:-1]]
    assert ends == [each.start for each in found[1:]]
    assert all(0 < len(each) <= 4000 for each in found[:-1])


def test_ranges_follow_the_gaps() -> None:
    """Where every other scene is deleted, a range is twice as wide as a page."""
    assert list(map(len, ranges(5000, 10_000)[:-1])) == [2000] * 5
    assert list(map(len, ranges(10_000, 10_000)[:-1])) == [1000] * 10
    assert ranges(0, 0) == [range(1, HIGHEST_ID + 1)]
