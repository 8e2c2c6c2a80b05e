"""Review beyond yes and no, on real PostgreSQL: replacing, editing, files."""

import csv
import io
import json
from typing import Any

import pytest
from sqlalchemy import select

from stashhog_core.analysis.deciding import decide
from stashhog_core.analysis.exchange import export_plan, import_plan
from stashhog_core.analysis.plans import plan_changes, read_plan
from stashhog_core.analysis.proposals import (
    Proposal,
    add_marker,
    add_member,
    set_text,
)
from stashhog_core.analysis.replacing import edit_text, replace_value
from stashhog_core.analysis.review import Selection, approve, cancel, reject
from stashhog_core.analysis.review_table import change_rows, value_rows
from stashhog_core.db.models import AnalysisPlan, PlanChange, ReviewMemory
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import ReviewPlanParams
from tests.analysis_mirror import add_scenes

OUTSIDE = add_member("tags", None, "Outside", 0.8, "ai", {"rule": "seen", "second": 5})
BEACH = add_member("tags", 2, "Beach", 0.9, "ai", {"rule": "seen"})
MARKER = add_marker(
    None, "Outside", 5.0, None, 0.8, "ai", {"rule": "seen", "second": 5}
)
TITLE = set_text("title", "", "A day|out", 0.6, "details", {"rule": "html"})


@pytest.fixture
def plan(database: Database) -> int:
    """Two scenes outside, one of them also on the beach."""
    add_scenes(database)
    return store(database, {1: [OUTSIDE, BEACH, MARKER, TITLE], 2: [OUTSIDE]})


def store(database: Database, proposals: dict[int, list[Proposal]]) -> int:
    with database.transaction() as session:
        plan = AnalysisPlan(name="Plan", state="draft")
        session.add(plan)
        session.flush()
        session.add_all(
            PlanChange(plan_id=plan.id, scene_id=scene_id, **vars(p))
            for scene_id, of_scene in proposals.items()
            for p in of_scene
        )
        return plan.id


def words(database: Database, plan_id: int) -> list[tuple[int, str, str]]:
    with database.transaction() as session:
        return [
            (c.scene_id, c.in_words, c.state) for c in plan_changes(session, plan_id)
        ]


def test_value_is_replaced_in_all_scenes(database: Database, plan: int) -> None:
    """By an existing name or alias; the old value is remembered as turned down."""
    with database.transaction() as session:
        count = replace_value(session, plan, Selection(value="outside"), "open air")

    assert count == 3
    assert words(database, plan) == [
        (1, "add tag Outdoor", "pending"),
        (1, "add tag Beach", "pending"),
        (1, "add marker Outdoor at 5 s", "pending"),
        (1, "set title A day|out", "pending"),
        (2, "add tag Outdoor", "pending"),
    ]
    with database.transaction() as session:
        assert sorted(session.scalars(select(ReviewMemory.value_key))) == [
            "outside",
            "outside",
            "outside@5.00",
        ]
        proposed = plan_changes(session, plan)[0]
    assert proposed.proposed == {"id": 1, "name": "Outdoor"}
    assert proposed.evidence["instead of"] == "Outside"


def test_value_that_is_there_already_is_not_proposed_twice(
    database: Database, plan: int
) -> None:
    """Where the new value is proposed too, the old change is just rejected."""
    with database.transaction() as session:
        replace_value(session, plan, Selection(value="outside", field="tags"), "Beach")

    assert words(database, plan)[:2] == [
        (1, "add tag Outside", "rejected"),
        (1, "add tag Beach", "pending"),
    ]
    assert words(database, plan)[-1] == (2, "add tag Beach", "pending")


def test_unknown_name_is_refused(database: Database, plan: int) -> None:
    """Replacing never invents; the error offers the nearest name."""
    with (
        pytest.raises(JobError, match="did you mean Beach"),
        database.transaction() as session,
    ):
        replace_value(session, plan, Selection(value="Outside"), "Beech")


def test_text_is_edited(database: Database, plan: int) -> None:
    """What is applied is the reviewer's text; a name is no text."""
    with database.transaction() as session:
        ids = {c.field: c.id for c in plan_changes(session, plan)}
    with database.transaction() as session:
        edit_text(session, plan, ids["title"], "A day")

    assert (1, "set title A day", "pending") in words(database, plan)
    for change_id, message in ((ids["tags"], "no open text"), (999, "no change 999")):
        with (
            pytest.raises(JobError, match=message),
            database.transaction() as session,
        ):
            edit_text(session, plan, change_id, "x")


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        pytest.param(Selection(confidence_from=0.85), 1, id="sure"),
        pytest.param(Selection(confidence_below=0.7), 1, id="unsure"),
        pytest.param(Selection(scene_ids=[2]), 1, id="scene"),
        pytest.param(Selection(detector="ai"), 4, id="detector"),
        pytest.param(Selection(value="OUTSIDE"), 3, id="value, markers too"),
        pytest.param(Selection(field="markers"), 1, id="field"),
        pytest.param(Selection(), 5, id="all"),
    ],
)
def test_selection(
    database: Database, plan: int, selection: Selection, expected: int
) -> None:
    """Every way to narrow counts what it should."""
    with database.transaction() as session:
        assert approve(session, plan, selection) == expected


def test_cancelled_plan_may_be_proposed_again(database: Database, plan: int) -> None:
    """Cancelling is no rejection; the plan takes no more decisions."""
    with database.transaction() as session:
        cancel(session, plan)
    with database.transaction() as session:
        assert read_plan(session, plan).state == "cancelled"
        assert session.scalars(select(ReviewMemory)).all() == []
    with pytest.raises(JobError, match="cancelled"), database.transaction() as session:
        reject(session, plan, Selection())


@pytest.mark.parametrize("as_format", ["csv", "json"])
def test_file_comes_back_with_decisions(
    database: Database, plan: int, as_format: str
) -> None:
    """Decisions and changed values of an exported file are carried out."""
    with database.transaction() as session:
        content = export_plan(session, plan, as_format)
    rows = (
        json.loads(content)
        if as_format == "json"
        else list(csv.DictReader(io.StringIO(content)))
    )
    rows[0]["value"], rows[0]["decision"] = "Outdoor", "accept"
    rows[1]["decision"] = "Reject"
    rows[3]["value"] = "A better, longer\ntitle"
    if as_format == "json":
        content = json.dumps(rows)
    else:
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        content = "\ufeff" + out.getvalue()

    with database.transaction() as session:
        counts = import_plan(session, plan, content, as_format)

    assert counts == {"accepted": 1, "rejected": 1, "replaced": 2}
    assert words(database, plan) == [
        (1, "add tag Outdoor", "approved"),
        (1, "add tag Beach", "rejected"),
        (1, "add marker Outside at 5 s", "pending"),
        (1, "set title A better, longer\ntitle", "pending"),
        (2, "add tag Outside", "pending"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param('[{"id": 1, "decision": "perhaps"}]', "perhaps", id="decision"),
        pytest.param('[{"id": 77}]', "no change 77", id="foreign"),
        pytest.param('[{"decision": "accept"}]', "Row 1 has no id", id="no id"),
        pytest.param("[{", "no JSON", id="half"),
        pytest.param("{}", "no list", id="object"),
    ],
)
def test_bad_file_changes_nothing(
    database: Database, plan: int, content: str, message: str
) -> None:
    """All of a file is carried out, or nothing."""
    with database.transaction() as session:
        first = plan_changes(session, plan)[0].id
    content = content.replace('"id": 1', f'"id": {first}')
    with (
        pytest.raises(JobError, match=message),
        database.transaction() as session,
    ):
        import_plan(session, plan, content, "json")

    assert {state for *_, state in words(database, plan)} == {"pending"}


def test_form_replaces_then_decides(database: Database, plan: int) -> None:
    """`tag X in n scenes: replace by Y and accept` is one step."""
    with database.transaction() as session:
        result = decide(
            session,
            ReviewPlanParams(
                plan_id=plan, value="Outside", replace_by="Outdoor", decision="accept"
            ),
        )

    assert (result.replaced, result.decided, result.pending) == (3, 3, 2)
    assert result.plan_state == "reviewing"


def test_form_tried_again_finds_what_it_replaced(database: Database, plan: int) -> None:
    """The task is retried as a whole: what it did before is no slip in a name."""
    params = ReviewPlanParams(
        plan_id=plan, value="Outside", replace_by="open air", decision="accept"
    )
    with database.transaction() as session:
        decide(session, params)
    before = words(database, plan)

    with database.transaction() as session:
        result = decide(session, params)

    assert (result.replaced, result.decided, result.pending) == (0, 0, 2)
    assert words(database, plan) == before


@pytest.mark.parametrize(
    "params",
    [
        {"decision": "accept", "value": "Nope"},
        {"decision": "reject", "scene_ids": (999,)},
        {"value": "Nope", "replace_by": "Outdoor"},
    ],
    ids=["accept", "reject", "replace"],
)
def test_form_refuses_what_matches_nothing(
    database: Database, plan: int, params: dict[str, Any]
) -> None:
    """As the terminal does; the plan stays as it was."""
    with (
        pytest.raises(JobError, match=f"No change of plan {plan} matches"),
        database.transaction() as session,
    ):
        decide(session, ReviewPlanParams(plan_id=plan, **params))

    with database.transaction() as session:
        assert read_plan(session, plan).state == "draft"


def test_tables_show_values_and_evidence(database: Database, plan: int) -> None:
    """One row per value with its scenes; each change links to the second in Stash."""
    with database.transaction() as session:
        values = value_rows(session, plan)
        changes = change_rows(session, plan, "http://stash")

    assert (values[0]["change"], values[0]["scenes"]) == ("add tags Outside", 2)
    assert changes[0]["scene"] == "[scene 1](http://stash/scenes/1?t=5)"
    assert changes[0]["why"] == "seen at 5 s"
