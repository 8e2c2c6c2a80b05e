"""Review beyond yes and no, on real PostgreSQL: replacing, editing, files."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from stashhog_core.db.models import PlanChange, ReviewMemory, Scene
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import ReviewPlanParams
from stashhog_core.plans.decisions import decide
from stashhog_core.plans.export import (
    export_plan,
    from_cell,
    import_plan,
    to_cell,
)
from stashhog_core.plans.plans import change_rows, plan_changes, read_plan, value_rows
from stashhog_core.plans.proposals import (
    add_marker,
    add_member,
    set_text,
)
from stashhog_core.plans.rejections import remember_rejected
from stashhog_core.plans.review import (
    ReviewOutcome,
    approve,
    cancel,
    edit_text,
    open_plan,
    reject,
    replace_value,
)
from stashhog_core.plans.selection import Selection
from stashhog_core.results import ImportedDecisions
from tests.support.plans import add_scenes, plan_of

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
    return plan_of(
        database, {1: [OUTSIDE, BEACH, MARKER, TITLE], 2: [OUTSIDE]}, state="pending"
    )


def words(database: Database, plan_id: int) -> list[tuple[int, str, str]]:
    with database.transaction() as session:
        return [
            (c.scene_id, c.in_words, c.state) for c in plan_changes(session, plan_id)
        ]


def test_value_is_replaced_in_all_scenes(database: Database, plan: int) -> None:
    """By an existing name or alias; the old value is remembered as rejected."""
    with database.transaction() as session:
        outcome = replace_value(session, plan, Selection(value="outside"), "open air")

    assert outcome == ReviewOutcome(changed=3)
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
    for change_id, message in (
        (ids["tags"], "not an open text"),
        (999, "no change 999"),
    ):
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
        assert approve(session, plan, selection) == ReviewOutcome(changed=expected)


def test_cancelled_plan_may_be_proposed_again(database: Database, plan: int) -> None:
    """Cancelling is no rejection; the plan takes no more decisions."""
    with database.transaction() as session:
        cancel(session, open_plan(session, plan))
    with database.transaction() as session:
        assert read_plan(session, plan).state == "cancelled"
        assert session.scalars(select(ReviewMemory)).all() == []
    with pytest.raises(JobError, match="cancelled"), database.transaction() as session:
        reject(session, plan, Selection())


def decided(database: Database, plan_id: int, decide: Any, *change_ids: int) -> None:
    with database.transaction() as session:
        decide(session, plan_id, Selection(change_ids=change_ids))


def ids_of(database: Database, plan_id: int) -> list[int]:
    with database.transaction() as session:
        return [change.id for change in plan_changes(session, plan_id)]


def test_replacing_in_bulk_leaves_approved_changes_alone(
    database: Database, plan: int
) -> None:
    """As every bulk decision; named by id or with `again`, they get the new value."""
    first, *_, last = ids_of(database, plan)
    decided(database, plan, approve, first, last)

    def replaced(**selection: Any) -> ReviewOutcome:
        again = selection.pop("again", False)
        with database.transaction() as session:
            chosen = Selection(value="Outside", **selection)
            return replace_value(session, plan, chosen, "Outdoor", again=again)

    in_bulk = replaced()
    after_bulk = words(database, plan)
    by_id, again = replaced(change_ids=[first]), replaced(again=True)

    assert in_bulk == ReviewOutcome(changed=1, left_alone={"approved": 2})
    assert after_bulk[0] == (1, "add tag Outside", "approved")
    assert by_id == again == ReviewOutcome(changed=1, overruled=1)
    assert words(database, plan)[0] == (1, "add tag Outdoor", "approved")


def test_value_that_is_replaced_back_is_not_rejected(
    database: Database, plan: int
) -> None:
    """Changing one's mind leaves nothing behind: it is accepted like any other."""
    with database.transaction() as session:
        replace_value(session, plan, Selection(value="Beach"), "Outdoor")
    with database.transaction() as session:
        replace_value(session, plan, Selection(value="Outdoor"), "Beach")
    with database.transaction() as session:
        outcome = approve(session, plan, Selection(value="Beach"))
        remembered = session.scalars(select(ReviewMemory.value_key)).all()

    assert outcome == ReviewOutcome(changed=1)
    assert remembered == ["outdoor"]


@pytest.mark.parametrize("decision", ["reject", "replace"])
def test_a_decision_says_nothing_about_a_later_scene_with_the_same_id(
    database: Database, plan: int, decision: str
) -> None:
    """The changes of the scene that is lost are decided; no rejection is remembered."""
    before = datetime(2026, 1, 1, tzinfo=UTC)
    with database.transaction() as session:
        session.execute(update(PlanChange).values(scene_created_at=before))
        session.execute(update(Scene).values(stash_created_at=before))
        session.get_one(Scene, 1).stash_created_at = before + timedelta(days=1)

    chosen = Selection(value="Outside", field="tags")
    with database.transaction() as session:
        if decision == "reject":
            outcome = reject(session, plan, chosen)
        else:
            outcome = replace_value(session, plan, chosen, "Outdoor")

    assert outcome.changed == 2
    with database.transaction() as session:
        assert session.scalars(select(ReviewMemory.scene_id)).all() == [2]


def test_form_counts_what_it_left_alone(database: Database, plan: int) -> None:
    """The result tells it by decision; with `again` all of them are decided anew."""
    first, second, *_ = ids_of(database, plan)
    decided(database, plan, reject, first)
    decided(database, plan, approve, second)

    def review(**values: Any) -> Any:
        params = ReviewPlanParams(plan_id=plan, decision="accept", **values)
        with database.transaction() as session:
            result = decide(session, params)
        return result.decided, result.overruled, result.already, result.left_alone

    assert review() == (3, 0, 1, {"rejected": 1})
    assert review(again=True) == (1, 1, 4, {})


def row_of(database: Database, plan_id: int, **cells: str) -> dict[str, Any]:
    """Return the first row of an exported plan, with these cells written over."""
    with database.transaction() as session:
        row: dict[str, Any] = json.loads(
            "".join(export_plan(session, plan_id, "json"))
        )[0]
    return row | cells


def imported(
    database: Database, plan_id: int, *rows: dict[str, Any], again: bool = False
) -> ImportedDecisions:
    """Import rows; return the counts, without the id of the import."""
    with database.transaction() as session:
        done = import_plan(session, plan_id, json.dumps(rows), "json", again=again)
    return done.model_copy(update={"decision_id": None})


def test_import_leaves_alone_what_was_decided_after_the_export(
    database: Database, plan: int
) -> None:
    """The file's author has not seen that decision; with `again` the file wins."""
    row = row_of(database, plan, decision="accept")
    first = row["id"]
    decided(database, plan, reject, first)

    left = imported(database, plan, row)
    after = words(database, plan)[0]
    again = imported(database, plan, row, again=True)

    assert left == ImportedDecisions(left_alone={"rejected": 1})
    assert after == (1, "add tag Outside", "rejected")
    assert again == ImportedDecisions(accepted=1, overruled=1)
    assert imported(database, plan, row) == ImportedDecisions(already=1)


def test_import_respects_what_was_rejected_in_another_plan(
    database: Database, plan: int
) -> None:
    """Unseen, the rejection stays; the export shows it, and then a yes is meant."""
    unseen = row_of(database, plan, decision="accept")
    with database.transaction() as session:
        remember_rejected(session, [(1, "tags", "outside", "ai")])
    seen = row_of(database, plan, decision="accept")

    left, accepted = imported(database, plan, unseen), imported(database, plan, seen)

    assert left == ImportedDecisions(left_alone={"rejected": 1})
    assert seen["state"] == "rejected"
    assert (accepted.accepted, accepted.overruled) == (1, 1)
    with database.transaction() as session:
        assert session.scalars(select(ReviewMemory.value_key)).all() == []


def test_import_decides_on_changes_that_stash_has_refused(
    database: Database, plan: int
) -> None:
    """A failed change needs a person: a row that shows it is one's decision."""
    with database.transaction() as session:
        change = session.get_one(PlanChange, ids_of(database, plan)[0])
        change.state = "failed"
    row = row_of(database, plan, decision="reject")

    assert row["state"] == "failed"
    assert imported(database, plan, row).rejected == 1


def test_import_changes_a_decision_that_its_author_has_seen(
    database: Database, plan: int
) -> None:
    """`state` says rejected and the row says accept: that is no oversight."""
    first = ids_of(database, plan)[0]
    decided(database, plan, reject, first)
    seen = row_of(database, plan, decision="accept", value="Outdoor")
    unseen = {"id": first, "decision": "accept"}

    assert imported(database, plan, unseen).left_alone == {"rejected": 1}
    assert imported(database, plan, seen) == ImportedDecisions(
        accepted=1, replaced=1, overruled=1
    )
    assert words(database, plan)[0] == (1, "add tag Outdoor", "approved")


def test_import_does_not_bring_replaced_values_back(
    database: Database, plan: int
) -> None:
    """A row that shows the old value says nothing about the new one."""
    untouched = row_of(database, plan)
    accepting, renaming = (
        untouched | {"decision": "accept"},
        untouched | {"value": "Beach"},
    )
    with database.transaction() as session:
        replace_value(session, plan, Selection(value="Outside"), "Outdoor")

    assert imported(database, plan, untouched) == ImportedDecisions()
    for row in (accepting, renaming):
        assert imported(database, plan, row) == ImportedDecisions(
            left_alone={"replaced": 1}
        )
    assert words(database, plan)[0] == (1, "add tag Outdoor", "pending")
    same = untouched | {"value": "open air", "decision": "accept"}
    assert imported(database, plan, same) == ImportedDecisions(accepted=1)


def test_file_can_be_imported_twice(database: Database, plan: int) -> None:
    """The second time there is nothing left to do, and nothing to complain of."""
    row = row_of(database, plan, decision="accept", value="Outdoor")

    first, second = imported(database, plan, row), imported(database, plan, row)

    assert first == ImportedDecisions(accepted=1, replaced=1)
    assert second == ImportedDecisions(already=1)


@pytest.mark.parametrize(
    "title",
    [
        '=HYPERLINK("http://x","y")',
        "+1",
        "-1 and more",
        "@SUM(A1)",
        "\tTab",
        "\r\nNew line",
        "'=quoted by its author",
        "''twice",
        "'Tis",
        "1=1",
    ],
)
def test_no_cell_of_csv_is_a_formula(database: Database, plan: int, title: str) -> None:
    """A spreadsheet computes none of them, and importing the file changes nothing."""
    with database.transaction() as session:
        (change,) = plan_changes(session, plan, Selection(field="title"))
        edit_text(session, plan, change.id, title)
    with database.transaction() as session:
        content = "".join(export_plan(session, plan, "csv"))
    cells = [
        cell for row in csv.reader(io.StringIO(content, newline="")) for cell in row
    ]

    assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r\n"))]
    with database.transaction() as session:
        assert import_plan(session, plan, content, "csv") == ImportedDecisions()
    assert (1, f"set title {title}", "pending") in words(database, plan)


@given(text=st.text(alphabet="'=+-@\t\r\nab\uff1d"))
def test_cell_comes_back_as_it_was(text: str) -> None:
    """Whatever apostrophes a text begins with itself."""
    assert from_cell(to_cell(text)) == text
    assert not to_cell(text).startswith(tuple("=+-@\t\r\n\uff1d"))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_spreadsheet_may_write_another_separator(
    database: Database, plan: int, separator: str
) -> None:
    """As it does where a comma is the decimal sign."""
    first = ids_of(database, plan)[0]
    lines = (("id", "state", "decision"), (str(first), "pending", "accept"))
    content = "\r\n".join(separator.join(line) for line in lines)

    with database.transaction() as session:
        counts = import_plan(session, plan, content, "csv")

    assert (counts.accepted, counts.left_alone) == (1, {})


@pytest.mark.parametrize("as_format", ["csv", "json"])
def test_file_comes_back_with_decisions(
    database: Database, plan: int, as_format: str
) -> None:
    """Decisions and changed values of an exported file are carried out."""
    with database.transaction() as session:
        content = "".join(export_plan(session, plan, as_format))
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

    assert (counts.accepted, counts.rejected, counts.replaced) == (1, 1, 2)
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
        pytest.param('[{"decision": "accept"}]', "Row 1 has no valid id", id="no id"),
        pytest.param("[{", "not JSON", id="half"),
        pytest.param("{}", "not a list", id="object"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        pytest.param(f'[{{"id": {"9" * 5000}}}]', "not JSON", id="5,000 digits"),
        pytest.param(
            f'[{{"id": {"9" * 20}}}]', "Row 1 has no valid id", id="beyond 2^63"
        ),
        pytest.param('[{"id": true}]', "Row 1 has no valid id", id="true"),
        pytest.param('[{"id": 1.9}]', "Row 1 has no valid id", id="fraction"),
        pytest.param('[{"id": Infinity}]', "Row 1 has no valid id", id="infinity"),
        pytest.param('[{"id": [1]}]', "Row 1 has no valid id", id="list"),
        pytest.param(
            '[{"id": 1, "value": {"a": 1}}]', "value is not a text", id="value"
        ),
        pytest.param(
            '[{"id": 1, "value": "\\u0000"}]', "database cannot store", id="nul"
        ),
        pytest.param(
            '[{"id": 1, "value": "\\ud800"}]', "database cannot store", id="surrogate"
        ),
        pytest.param('[{"id": 1}, {"id": "1"}]', "is also in row 1", id="twice"),
        pytest.param("", "no column id", id="empty csv"),
        pytest.param("name,decision\n1,accept\n", "no column id", id="header"),
        pytest.param("id\n1.0\n", "Row 1 has no valid id", id="cell"),
        pytest.param('id\n"1\n', "not CSV", id="quotation mark"),
        pytest.param(f"id\n{'1' * 200_000}\n", "not CSV", id="long cell"),
        pytest.param("id,decision\n1,\0\n", "database cannot store", id="nul in csv"),
    ],
)
def test_bad_file_changes_nothing(
    database: Database, plan: int, content: str, message: str
) -> None:
    """All of a file is carried out, or nothing; the reason is said in one sentence."""
    with database.transaction() as session:
        first = plan_changes(session, plan)[0].id
    content = re.sub(r'((?:"id": "?|\n))1(?=[,}"])', rf"\g<1>{first}", content)
    as_format = "json" if content.startswith(("[", "{")) else "csv"
    with (
        pytest.raises(JobError, match=message),
        database.transaction() as session,
    ):
        import_plan(session, plan, content, as_format)

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

    assert (values[0]["change"], values[0]["scenes"]) == ("add tag Outside", 2)
    assert changes[0]["scene"] == "[scene 1](http://stash/scenes/1?t=5)"
    assert changes[0]["why"] == "seen at 5 s"
