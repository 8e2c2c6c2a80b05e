"""Files with decisions on a plan: carried out as a whole, or refused as a whole."""

import csv
import io
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError
from stashhog_core.plans.export import Format, export_plan, import_plan
from stashhog_core.plans.proposals import add_member, set_text
from tests.support.fuzzing import check_sentence, many, mutated, texts
from tests.support.plans import add_scenes

pytestmark = pytest.mark.slow


class NotKept(Exception):  # noqa: N818 - no error
    """Ends a transaction so that nothing of it stays."""


@pytest.fixture
def plan(database: Database) -> int:
    """A plan that adds two tags and a title to two scenes."""
    add_scenes(database)
    with database.transaction() as session:
        plan = AnalysisPlan(name="Plan", state="draft")
        session.add(plan)
        session.flush()
        for scene_id in (1, 2):
            for proposal in (
                add_member("tags", None, "Dawn", 0.8, "reader", {}),
                add_member("tags", None, "Dusk", 0.8, "reader", {}),
                set_text("title", "", f"Title {scene_id}", 0.9, "reader", {}),
            ):
                change = PlanChange(plan_id=plan.id, scene_id=scene_id, **proposal.row)
                session.add(change)
        return plan.id


def rows_of(database: Database, plan_id: int) -> list[dict[str, Any]]:
    with database.transaction() as session:
        rows: list[dict[str, Any]] = json.loads(
            "".join(export_plan(session, plan_id, "json"))
        )
    return rows


def reviewed(draw: st.DrawFn, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows as somebody has filled them in."""
    words = st.sampled_from(["", "accept", "reject", " Accept ", "perhaps"])
    return [
        {
            **row,
            "decision": draw(words),
            "value": draw(st.one_of(st.just(row["value"]), texts)),
        }
        for row in rows
    ]


@st.composite
def json_files(draw: st.DrawFn, rows: list[dict[str, Any]]) -> str:
    return json.dumps(mutated(Random(draw(st.integers())), reviewed(draw, rows)))


@st.composite
def csv_files(draw: st.DrawFn, rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=draw(st.sampled_from(",;\t")))
    writer.writeheader()
    writer.writerows(reviewed(draw, rows))
    text = out.getvalue()
    cut = draw(st.integers(0, len(text)))
    inserted = draw(texts)
    skipped = draw(st.integers(0, 20))
    return text[:cut] + inserted + text[cut + skipped :]


@pytest.mark.parametrize(
    ("files", "as_format"), [(json_files, "json"), (csv_files, "csv")]
)
def test_a_file_is_carried_out_or_refused(
    database: Database, plan: int, files: Any, as_format: Format
) -> None:
    """What is refused is named in a sentence; what is counted has happened."""
    rows = rows_of(database, plan)

    @given(content=files(rows))
    @many
    def check(content: str) -> None:
        try:
            with database.transaction() as session:
                done = import_plan(session, plan, content, as_format)
                states = session.scalars(select(PlanChange.state)).all()
                assert states.count("approved") == done.accepted
                assert states.count("rejected") == done.rejected
                raise NotKept
        except NotKept:
            pass
        except StashHogError as error:
            check_sentence(error)

    check()
