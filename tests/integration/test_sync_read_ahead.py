"""Reading the mirror while Stash lists."""

from itertools import combinations, pairwise

import pytest
from sqlalchemy import insert, select

from stashhog_core.db.models import Tag
from stashhog_core.db.session import Database
from stashhog_core.sync.read_ahead import reading_ahead

IDS = [1, 2, 3, 5, 8, 13]


@pytest.mark.parametrize("page_size", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("starts_early", [True, False])
def test_rows_read_ahead_are_those_of_each_window(
    database: Database,
    page_size: int,
    starts_early: bool,
) -> None:
    """Whatever the pages, and also where windows are left out."""
    with database.transaction() as session:
        session.execute(insert(Tag), [{"id": id_, "name": str(id_)} for id_ in IDS])
    for cuts in combinations(range(0, 15, 3), 3):
        windows = [*pairwise(cuts), (cuts[-1], None)]
        with reading_ahead(database, select(Tag.id), page_size=page_size) as (rows,):
            if starts_early:
                rows.start()
            for after, until in windows:
                end = IDS[-1] if until is None else until
                assert rows.between(after, until) == [
                    (id_,) for id_ in IDS if after < id_ <= end
                ]
