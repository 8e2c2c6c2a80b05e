"""The terminal's `stashhog plans …`: list, review, apply and undo plans."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError

from stashhog.cli.console import (
    ROWS_PER_TABLE,
    AsJson,
    Limit,
    console,
    open_connection,
    open_session,
    path,
    plain,
    print_json,
    print_json_rows,
    print_table,
    wrapped_table,
)
from stashhog_core.batches import batched
from stashhog_core.errors import ConfigurationError, refused_value
from stashhog_core.files import unwritable, written_whole
from stashhog_core.ids import MAX_ID
from stashhog_core.plans.proposals import ChangeState, Field
from stashhog_core.settings import get_settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from stashhog_core.plans.plans import ChangeDetails
    from stashhog_core.plans.summaries import PlanSummary

app = typer.Typer(
    help="Review, apply and undo plans of proposed changes.", no_args_is_help=True
)

PlanId = Annotated[int, typer.Argument(min=1, max=MAX_ID, help="Id of the plan.")]
Changes = Annotated[
    list[int] | None,
    typer.Option(
        "--change",
        "-c",
        min=1,
        max=MAX_ID,
        help="Select the change with this id. Repeat the option for more changes.",
    ),
]
Scenes = Annotated[
    list[int] | None,
    typer.Option(
        "--scene",
        "-s",
        min=1,
        max=MAX_ID,
        help="Select changes of the scene with this id. Repeat the "
        "option for more scenes.",
    ),
]
FieldName = Annotated[
    Field | None, typer.Option("--field", help="Select only changes of this field.")
]
Value = Annotated[
    str | None,
    typer.Option(
        "--value", help="Select only changes of this tag, performer or studio."
    ),
]
Detector = Annotated[
    str | None, typer.Option(help="Select only changes that this detector proposed.")
]
From = Annotated[
    float | None,
    typer.Option(
        "--confidence-from",
        min=0,
        max=1,
        help="Minimum confidence of the selected changes (0 to 1).",
    ),
]
Below = Annotated[
    float | None,
    typer.Option(
        "--confidence-below",
        min=0,
        max=1,
        help="Select only changes with a lower confidence than this (0 to 1).",
    ),
]


Again = Annotated[
    bool,
    typer.Option("--again", help="Also decide on changes that were decided before."),
]


@app.command("list")
def list_plans(
    limit: Limit = 20,
    attention: Annotated[
        bool,
        typer.Option(
            "--attention",
            help="List only plans with changes that Stash refused in several runs.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the plans, newest first."""
    from stashhog_core.plans.summaries import list_plans as read_plans

    with open_connection() as connection:
        plans = read_plans(connection, limit=limit, attention=attention)
    if as_json:
        print_json([plan.model_dump(mode="json") for plan in plans])
        return
    table = wrapped_table(
        "Id", "Plan", "State", "Changes", "Applied", "Failed", "Created"
    )
    for plan in plans:
        table.add_row(
            str(plan.id),
            plain(plan.name),
            plan.outcome,
            str(plan.changes),
            str(plan.applied),
            str(plan.needs_attention or ""),
            f"{plan.created_at:%Y-%m-%d %H:%M} UTC",
        )
    console.print(table)


@app.command("show")
def show_plan(
    plan_id: PlanId,
    by_value: Annotated[
        bool,
        typer.Option(
            "--by-value", help="Show one row per value instead of one row per change."
        ),
    ] = False,
    change: Changes = None,
    scene: Scenes = None,
    field: FieldName = None,
    value: Value = None,
    detector: Detector = None,
    confidence_from: From = None,
    confidence_below: Below = None,
    state: Annotated[
        ChangeState | None,
        typer.Option("--state", help="Show only changes in this state."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the changes of a plan, with their evidence, and what it has cost."""
    from stashhog_core.plans.plans import each_change, read_plan, value_rows
    from stashhog_core.plans.selection import Selection

    selection = Selection(
        change_ids=change,
        field=field,
        value=value,
        scene_ids=scene,
        detector=detector,
        confidence_from=confidence_from,
        confidence_below=confidence_below,
        states=[state] if state else None,
    )
    if not as_json:
        with open_session() as session:
            _print_summary(read_plan(session, plan_id))
    if by_value:
        with open_session() as session:
            rows = value_rows(session, plan_id, selection)
        if as_json:
            print_json(rows)
            return
        table = wrapped_table(
            "Change", "Scenes", "State", "Detector", "Lowest confidence"
        )
        for row in rows:
            table.add_row(*(plain(value) for value in row.values()))
        console.print(table)
        return
    with open_session() as session:
        coming = each_change(session, plan_id, selection)
        if as_json:
            print_json_rows(change.model_dump(mode="json") for change in coming)
            return
        print_table(
            ("Id", "Scene", "Change", "Confidence", "Why", "State"),
            _change_rows(session, plan_id, coming),
        )


def _change_rows(
    session: "Session", plan_id: int, coming: Iterable["ChangeDetails"]
) -> Iterator[tuple[str, ...]]:
    from stashhog_core.db.scenes import scene_titles
    from stashhog_core.plans.conflicts import conflicts_in_words

    for changes in batched(coming, ROWS_PER_TABLE):
        titles = scene_titles(session, list({each.scene_id for each in changes}))
        conflicts = conflicts_in_words(session, plan_id, changes)
        for each in changes:
            yield (
                str(each.id),
                plain(f"{each.scene_id} {titles.get(each.scene_id, '')}".strip()),
                plain(each.in_words),
                f"{each.confidence:.2f}",
                plain(conflicts.get(each.id, each.why)),
                each.state,
            )


def _print_summary(plan: "PlanSummary") -> None:
    from stashhog_core.plans.plans import attention_in_words, costs_in_words
    from stashhog_core.report import counted

    facts = plan.facts
    words = f"Plan {plan.id}: {plan.name}, {plan.outcome}"
    if "scenes" in facts:
        scenes = counted(facts["scenes"], "scene", "scenes")
        words += f", {scenes} in {facts['seconds']:g} s"
    console.print(plain(words))
    if costs := costs_in_words(facts.get("costs", {})):
        console.print(f"Cost: {plain(costs)}")
    if plan.needs_attention:
        console.print(
            attention_in_words(plan.id, plan.needs_attention),
            highlight=False,
            soft_wrap=True,
        )


def _decide(word: Literal["accept", "reject"]) -> Callable[..., None]:
    def command(
        plan_id: PlanId,
        change: Changes = None,
        scene: Scenes = None,
        field: FieldName = None,
        value: Value = None,
        detector: Detector = None,
        confidence_from: From = None,
        confidence_below: Below = None,
        again: Again = False,
        over: Annotated[
            str | None,
            typer.Option(
                help="Accept the selected changes in conflict in which Stash has this "
                "value, and overwrite the value."
            ),
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        _review(
            plan_id,
            as_json,
            decision=word,
            change_ids=change,
            scene_ids=scene,
            field=field,
            value=value,
            detector=detector,
            confidence_from=confidence_from,
            confidence_below=confidence_below,
            again=again,
            over=over,
        )

    return command


def _review(plan_id: int, as_json: bool, **values: Any) -> None:
    """Decide like the form of `review-plan`, and print the outcome."""
    from stashhog_core.params import ReviewPlanParams
    from stashhog_core.plans.decisions import decide
    from stashhog_core.report import review_in_words

    try:
        params = ReviewPlanParams(plan_id=plan_id, **values)
    except ValidationError as error:
        raise refused_value(error, "option") from error
    with open_session() as session:
        result = decide(session, params)
    if as_json:
        print(result.model_dump_json(indent=2))  # noqa: T201 - the asked-for output
        return
    for line in review_in_words(params, result):
        console.print(plain(line), highlight=False, soft_wrap=True)


app.command("accept", help="Approve the selected open changes, or all open changes.")(
    _decide("accept")
)
app.command(
    "reject",
    help="Reject the selected open changes and never propose their values again.",
)(_decide("reject"))


@app.command("replace")
def replace(
    plan_id: PlanId,
    value: Annotated[str, typer.Argument(help="Proposed name.")],
    by: Annotated[str, typer.Argument(help="Existing name to propose instead.")],
    field: FieldName = None,
    scene: Scenes = None,
    change: Changes = None,
    again: Again = False,
    as_json: AsJson = False,
) -> None:
    """Propose another existing tag, performer or studio instead of a value."""
    _review(
        plan_id,
        as_json,
        value=value,
        replace_by=by,
        field=field,
        scene_ids=scene,
        change_ids=change,
        again=again,
    )


@app.command("edit")
def edit(
    plan_id: PlanId,
    change_id: Annotated[
        int, typer.Argument(min=1, max=MAX_ID, help="Id of the change.")
    ],
    text: Annotated[str, typer.Argument(help="Text to propose instead.")],
) -> None:
    """Edit a proposed title, details, date or code."""
    from stashhog_core.plans.decisions import edit as edit_text

    with open_session() as session:
        edit_text(session, plan_id, change_id, text)
    console.print(f"Edited change {change_id}")


@app.command("cancel")
def cancel(plan_id: PlanId) -> None:
    """Cancel a plan. Later plans may propose its values again."""
    _review(plan_id, as_json=False, decision="cancel")


@app.command("take-back")
def take_back(
    plan_id: PlanId,
    decision: Annotated[
        int | None,
        typer.Option(
            "--decision",
            min=1,
            max=MAX_ID,
            help="Id of the decision. If not given, the newest decision is taken back.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take back a decision on a plan, except for changes that were decided on since."""
    from stashhog_core.plans.decisions import take_back as restore
    from stashhog_core.report import taken_back_in_words

    with open_session() as session:
        result = restore(session, plan_id, decision)
    if as_json:
        print(result.model_dump_json(indent=2))  # noqa: T201 - the asked-for output
        return
    for line in taken_back_in_words(result):
        console.print(plain(line), highlight=False, soft_wrap=True)


@app.command("apply")
def apply(
    plan_id: PlanId,
    change: Changes = None,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry", help="Also try changes again that Stash refused in several runs."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Apply the approved changes of a plan to Stash."""
    from stashhog.cli.runs import run_here

    values = {
        "plan_id": plan_id,
        "change_ids": tuple(change) if change else None,
        "retry": retry,
    }
    run_here("apply_plan", values, as_json=as_json)


@app.command("undo")
def undo(
    plan_id: Annotated[
        int | None,
        typer.Argument(min=1, max=MAX_ID, help="Id of the plan; default: all plans."),
    ] = None,
    change: Changes = None,
    scene: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_ID, help="Undo only changes of this scene."),
    ] = None,
    detector: Detector = None,
    detector_version: Annotated[
        str | None,
        typer.Option(
            help="Undo only changes that this version of the detector proposed."
        ),
    ] = None,
    remember: Annotated[
        bool, typer.Option("--remember", help="Never propose the undone values again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Undo applied changes, except values that were changed in Stash since."""
    from stashhog.cli.runs import run_here

    values = {
        "plan_id": plan_id,
        "scene_id": scene,
        "change_ids": tuple(change) if change else None,
        "detector": detector,
        "detector_version": detector_version,
        "remember": remember,
    }
    run_here("undo_plan", values, as_json=as_json)


@app.command("trust")
def trust(as_json: AsJson = False) -> None:
    """Show how often people accepted each detector's values, and which are trusted."""
    from stashhog_core.plans.trust import acceptances

    with open_session() as session:
        found = acceptances(session, get_settings().analysis)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    table = wrapped_table(
        "Detector",
        "Change",
        "Accepted",
        "Rejected",
        "Acceptance of at least",
        "Trusted",
    )
    for r in found:
        table.add_row(
            plain(r.detector),
            plain(f"{r.action} {r.field} {r.value}".strip()),
            str(r.accepted),
            str(r.rejected),
            f"{r.bound:.2f}",
            "yes" if r.trusted else "no",
        )
    console.print(table)
    if not get_settings().analysis.auto_approve_trusted:
        console.print(
            "StashHog approves none of these values automatically, "
            "because STASHHOG_ANALYSIS__AUTO_APPROVE_TRUSTED is "
            "off",
            soft_wrap=True,
        )


@app.command("unknown-names")
def unknown(
    least: Annotated[
        int,
        typer.Option(min=1, max=MAX_ID, help="Minimum number of scenes with the name."),
    ] = 2,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List names of people in titles and paths that Stash does not have."""
    from stashhog_core.detection.known_names import load_name_finder
    from stashhog_core.detection.unknown_names import unknown_names

    with open_session() as session:
        finder = load_name_finder(session)
        found = unknown_names(session, finder, least_scenes=least, limit=limit)
    if as_json:
        print_json([asdict(name) for name in found])
        return
    table = wrapped_table("Name", "Scenes", "Example")
    for name in found:
        examples = ", ".join(map(str, name.examples))
        table.add_row(plain(name.name), str(name.scenes), examples)
    console.print(table)


@app.command("export")
def export(
    plan_id: PlanId,
    file: Annotated[
        Path, typer.Argument(parser=path, help="File to write: .csv or .json.")
    ],
) -> None:
    """Write a plan to a file for review in a spreadsheet or by a program."""
    from stashhog_core.plans.export import export_plan

    as_format = _format(file)
    try:
        with open_session() as session, written_whole(file) as written:
            lines = export_plan(session, plan_id, as_format)
            written.writelines(line.encode() for line in lines)
    except OSError as error:
        raise unwritable("The plan", file, error) from error
    console.print(f"Wrote plan {plan_id} to {plain(file)}", soft_wrap=True)


@app.command("import")
def import_(
    plan_id: PlanId,
    file: Annotated[
        Path, typer.Argument(parser=path, help="Exported file with your decisions.")
    ],
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Also carry out rows whose change was decided on or replaced after "
            "the export.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Carry out the decisions of an exported file, all of them or none."""
    from stashhog_core.plans.export import import_plan
    from stashhog_core.report import left_alone_in_words

    as_format = _format(file)
    try:
        content = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror})",
            remedy="export the plan to this file first",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{file} cannot be read: the file is not UTF-8 text",
            remedy="save the file as UTF-8, in a spreadsheet as `CSV UTF-8`",
        ) from error
    with open_session() as session:
        result = import_plan(session, plan_id, content, as_format, again=again)
    if as_json:
        print_json(result.model_dump())
        return
    console.print(
        f"Plan {plan_id}: {result.accepted} accepted, {result.rejected} rejected, "
        f"{result.replaced} replaced",
        highlight=False,
    )
    for line in left_alone_in_words(
        result, plan_id, "to carry out their rows as well, use --again"
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _format(file: Path) -> Literal["csv", "json"]:
    ending = file.suffix.lower()
    if ending == ".csv":
        return "csv"
    if ending == ".json":
        return "json"
    raise ConfigurationError(
        f"The file {file.name!r} is neither .csv nor .json",
        remedy="give the file one of these endings",
    )
