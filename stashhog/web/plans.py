"""The pages of plans, and the decisions that are made on them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from stashhog.web.access import body_of
from stashhog.web.jobs import Job, run_link
from stashhog.web.pictures import type_of
from stashhog.web.site import STATIC_FOLDER, page, site_of
from stashhog_core.db.pictures import stored_picture
from stashhog_core.db.scenes import primary_path
from stashhog_core.db.session import driver_connection
from stashhog_core.errors import JobError, first_problem
from stashhog_core.ids import MAX_ID
from stashhog_core.params import ReviewPlanParams
from stashhog_core.plans.decisions import (
    as_seen,
    decide,
    decide_on,
    decide_seen,
    edit,
    take_back,
)
from stashhog_core.plans.pages import (
    changes_page,
    scene_cards,
    scenes_page,
)
from stashhog_core.plans.plans import read_plan, value_rows
from stashhog_core.plans.proposals import TEXT_FIELDS, ChangeState
from stashhog_core.plans.proposals import Field as ChangeField
from stashhog_core.plans.review import decisions_of, names_like, open_plan
from stashhog_core.plans.selection import Selection
from stashhog_core.plans.summaries import PlanSummary, list_plans
from stashhog_core.plans.values import values_page
from stashhog_core.report import review_in_words, taken_back_in_words
from stashhog_core.results import ReviewResult, TakenBack

VIEWS = ("scene", "value", "confidence")
_FIELDS = get_args(ChangeField)
_STATES = get_args(ChangeState)
_LISTED_PLANS = 200

Act = tuple[Literal["accept", "reject", "show"], ReviewResult]

Id = Annotated[int, Field(ge=1, le=MAX_ID)]


def _without_null(text: str) -> str:
    """Refuse what the database has no text for."""
    if "\0" in text:
        raise ValueError("a null character is not allowed")
    return text


Text = Annotated[str, AfterValidator(_without_null)]
Words = Annotated[Text, Field(max_length=1000)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Filter(_Sent):
    """What the form above a plan asks for. Empty values ask for nothing."""

    model_config = ConfigDict(extra="ignore")

    field: ChangeField | Literal[""] = ""
    value: Words = ""
    detector: Words = ""
    least: Annotated[float, Field(ge=0, le=1)] | Literal[""] = ""
    below: Annotated[float, Field(ge=0, le=1)] | Literal[""] = ""
    state: ChangeState | Literal[""] = ""
    studio: Words = ""
    text: Words = ""

    @property
    def selection(self) -> Selection:
        """The changes that are asked for."""
        return Selection(
            field=self.field or None,
            value=self.value or None,
            detector=self.detector or None,
            confidence_from=None if self.least == "" else self.least,
            confidence_below=None if self.below == "" else self.below,
            states=[self.state] if self.state else None,
            studio=self.studio or None,
            text=self.text or None,
        )

    @property
    def is_set(self) -> bool:
        """Whether anything is asked for."""
        return any(value != "" for value in self.model_dump().values())


class _Decision(_Sent):
    decision: Literal["accept", "reject"]
    seen: dict[Id, Words] = Field(min_length=1, max_length=20_000)
    over: dict[Id, Words] = {}


class _Decide(_Sent):
    decisions: list[_Decision] = Field(min_length=1, max_length=1000)


class _Undo(_Sent):
    change_id: Id | None = None
    scene_id: Id | None = None


class _DecideAll(_Sent):
    decision: Literal["accept", "reject"]
    filter: Filter
    scene_id: Id | None = None
    shown: list[Id] = []


class _TakeBack(_Sent):
    decision_id: Id
    shown: list[Id] = []


class _Replace(_Sent):
    seen: dict[Id, Words] = Field(min_length=1, max_length=20_000)
    by: Annotated[Words, Field(min_length=1)]


class _Edit(_Sent):
    seen: dict[Id, Words] = Field(min_length=1, max_length=1)
    text: Annotated[Text, Field(max_length=100_000)]


_PLAN_ORDERS: Mapping[str, Callable[[PlanSummary], Any]] = {
    "newest": lambda plan: (-plan.created_at.timestamp(), -plan.id),
    "oldest": lambda plan: (plan.created_at, plan.id),
    "open": lambda plan: -plan.counts.get("pending", 0),
    "conflicts": lambda plan: -plan.counts.get("conflict", 0),
    "scenes": lambda plan: -plan.facts.get("scenes", 0),
    "name": lambda plan: plan.name.casefold(),
}


_ORDER_WORDS = {
    "newest": "newest",
    "oldest": "oldest",
    "open": "most open changes",
    "conflicts": "most conflicts",
    "scenes": "most scenes",
    "name": "name",
}


def plans(request: Request) -> Response:
    """Show the newest plans, in the order that is asked for."""
    order = request.query_params.get("order", "")
    order = order if order in _PLAN_ORDERS else next(iter(_PLAN_ORDERS))
    with site_of(request).database.transaction() as session:
        found = list_plans(driver_connection(session), limit=_LISTED_PLANS)
    return page(
        request,
        "plans.html",
        plans=sorted(found, key=_PLAN_ORDERS[order]),
        most=_LISTED_PLANS,
        orders=_ORDER_WORDS,
        order=order,
        now=datetime.now(UTC),
    )


def plan(request: Request) -> Response:
    """Show a plan, or the part of its list that follows what is shown."""
    site, plan_id = site_of(request), _plan_id(request)
    query = dict(request.query_params)
    view = query.get("view", VIEWS[0])
    asked = _read(Filter, query)
    after = query.get("after")
    with site.database.transaction() as session:
        summary = read_plan(session, plan_id)
        values = {
            "plan": summary,
            "view": view if view in VIEWS else VIEWS[0],
            "views": VIEWS,
            "filter": asked,
            "fields": _FIELDS,
            "states": _STATES,
            "texts": TEXT_FIELDS,
            "link_base": site.settings.stash.link_base,
            "run": run_link(site.settings, summary.run_id),
            **_rows(session, plan_id, view, asked.selection, after),
        }
    name = "plan.html" if after is None and "part" not in query else "rows.html"
    return page(request, name, **values)


def _rows(
    session: Session, plan_id: int, view: str, selection: Selection, after: str | None
) -> dict[str, Any]:
    if view == "value":
        return {"page": values_page(session, plan_id, selection, after)}
    if view == "confidence":
        found = changes_page(session, plan_id, selection, after)
        ids = list({row.details.scene_id for row in found.rows})
        return {"page": found, "scenes": scene_cards(session, ids)}
    return {"page": scenes_page(session, plan_id, selection, after)}


async def decide_page(request: Request) -> Response:
    """Accept or reject single changes, as they were seen.

    Decisions that have waited for each other come together, and are recorded one by
    one: all of them are stored, or none.
    """
    sent: _Decide = await _sent(request, _Decide)

    def act(session: Session, plan_id: int) -> Iterator[Act]:
        for one in sent.decisions:
            yield (
                one.decision,
                decide_seen(session, plan_id, one.decision, one.seen, one.over),
            )

    shown = [id_ for one in sent.decisions for id_ in one.seen]
    return await _reviewed(request, act, shown)


async def decide_all_page(request: Request) -> Response:
    """Accept or reject all open changes of a scene, of a value or of a filter."""
    sent = await _sent(request, _DecideAll)

    def act(session: Session, plan_id: int) -> Iterator[Act]:
        selection = sent.filter.selection
        if sent.scene_id is not None:
            selection = replace(selection, scene_ids=[sent.scene_id])
        yield sent.decision, decide_on(session, plan_id, sent.decision, selection)

    return await _reviewed(request, act, sent.shown)


async def replace_page(request: Request) -> Response:
    """Put another existing name in place of the proposed one, as it was seen."""
    sent = await _sent(request, _Replace)

    def act(session: Session, plan_id: int) -> Iterator[Act]:
        kept, left = as_seen(session, open_plan(session, plan_id), sent.seen)
        if not kept:
            raise _MEANWHILE
        params = ReviewPlanParams(
            plan_id=plan_id, change_ids=tuple(kept), replace_by=sent.by
        )
        result = decide(session, params)
        both = Counter(result.left_alone) + Counter(left)
        yield "show", result.model_copy(update={"left_alone": dict(both)})

    return await _reviewed(request, act, list(sent.seen))


async def edit_page(request: Request) -> Response:
    """Put another text in place of the proposed one, as it was seen."""
    sent = await _sent(request, _Edit)

    def act(session: Session, plan_id: int) -> Iterator[Act]:
        kept, _ = as_seen(session, open_plan(session, plan_id), sent.seen)
        if not kept:
            raise _MEANWHILE
        yield "show", edit(session, plan_id, kept[0], sent.text)

    return await _reviewed(request, act, list(sent.seen))


async def take_back_page(request: Request) -> Response:
    """Take back a decision of this page."""
    sent = await _sent(request, _TakeBack)
    database = site_of(request).database

    def work() -> dict[str, Any]:
        plan_id = _plan_id(request)
        with database.transaction() as session:
            result = take_back(session, plan_id, sent.decision_id)
            return {
                "lines": list(taken_back_in_words(result)),
                **_now(session, plan_id, sent.shown, [result]),
            }

    return JSONResponse(await run_in_threadpool(work))


def names(request: Request) -> Response:
    """Return existing names that contain a text, for the box that replaces a value."""
    query = request.query_params
    with site_of(request).database.transaction() as session:
        found = names_like(session, query.get("field", ""), query.get("text", ""))
    return JSONResponse(found)


def stored(request: Request) -> Response:
    """Return a picture that a change proposes."""
    with site_of(request).database.transaction() as session:
        return _picture(stored_picture(session, request.path_params["sha256"]))


def cover(request: Request) -> Response:
    """Return the cover of a scene."""
    picture = site_of(request).pictures.cover(
        _number(request, "scene_id"), request.query_params.get("v", "")
    )
    return _picture(picture)


def frame(request: Request) -> Response:
    """Return the picture at a second of a scene; its cover if there is none."""
    site, scene_id = site_of(request), _number(request, "scene_id")
    second = float(request.path_params["second"])
    with site.database.transaction() as session:
        path = primary_path(session, scene_id)
    picture = site.pictures.frame(path, second) if path else None
    return _picture(picture or site.pictures.cover(scene_id, ""))


def _picture(picture: bytes | None) -> Response:
    kind = type_of(picture) if picture else None
    if picture is None or kind is None:
        return FileResponse(STATIC_FOLDER / "no-picture.svg")
    return Response(
        picture, media_type=kind, headers={"Cache-Control": "private, max-age=3600"}
    )


def preview(request: Request) -> Response:
    """Show what applying the plan sends to Stash, by value."""
    plan_id = _plan_id(request)
    with site_of(request).database.transaction() as session:
        summary = read_plan(session, plan_id)
        rows = value_rows(session, plan_id, Selection(states=["approved"]))
    return page(request, "apply.html", plan=summary, rows=rows)


async def start_applying(request: Request) -> Response:
    """Start to apply the plan."""
    await body_of(request)
    return await _start(request, "apply_plan")


async def start_undoing(request: Request) -> Response:
    """Start to undo the plan, a scene of the plan, or a change."""
    sent: _Undo = await _sent(request, _Undo)
    wanted: dict[str, Any] = {}
    if sent.change_id is not None:
        wanted["change_ids"] = [sent.change_id]
    if sent.scene_id is not None:
        wanted["scene_id"] = sent.scene_id
    return await _start(request, "undo", wanted)


async def _start(
    request: Request, job: Job, wanted: Mapping[str, Any] | None = None
) -> Response:
    values = {"plan_id": _plan_id(request), **(wanted or {})}
    number = await run_in_threadpool(site_of(request).jobs.start, job, values)
    return JSONResponse({"job": number})


def job_under_way(request: Request) -> Response:
    """Return the number of the job that works on the plan, or null."""
    jobs = site_of(request).jobs
    return JSONResponse({"job": jobs.under_way(_plan_id(request))})


def job_state(request: Request) -> Response:
    """Return how far a job is."""
    started = site_of(request).jobs.state_of(_number(request, "number"))
    if started is None:
        raise JobError(
            "The pages were started again since this job began",
            remedy="reload this page, which shows the state of the plan",
        )
    return JSONResponse(vars(started))


async def _reviewed(
    request: Request,
    act: Callable[[Session, int], Iterator[Act]],
    shown: list[int],
) -> Response:
    database = site_of(request).database

    def work() -> dict[str, Any]:
        plan_id = _plan_id(request)
        with database.transaction() as session:
            done = list(act(session, plan_id))
            decision, last = done[-1]
            params = ReviewPlanParams(plan_id=plan_id, decision=decision)
            results = [result for _, result in done]
            return {
                # In the order in which they were sent; null: nothing was changed.
                "decision_ids": [result.decision_id for result in results],
                # About the last one: nobody reads faster than that.
                "lines": list(review_in_words(params, last, _AGAIN)),
                **_now(session, plan_id, shown, results),
            }

    return JSONResponse(await run_in_threadpool(work))


def _now(
    session: Session,
    plan_id: int,
    shown: list[int],
    results: Sequence[ReviewResult | TakenBack],
) -> dict[str, Any]:
    """Return how the plan and the shown changes stand after these decisions.

    The page counts the open changes on from the number that it has: counting them anew
    would take longer than all the rest, in a long plan.
    """
    return {
        "changes": decisions_of(session, plan_id, shown),
        "state": results[-1].plan_state,
        "opened": sum(result.opened for result in results),
    }


_AGAIN = "to decide on these changes again, choose them one by one"

_MEANWHILE = JobError(
    "Somebody has decided on this change meanwhile",
    remedy="look at the change again, and decide again if needed",
)


async def _sent(request: Request, kind: type[Any]) -> Any:
    try:
        return kind.model_validate_json(await body_of(request))
    except ValidationError as error:
        raise JobError(
            "The page sent something unknown", remedy=first_problem(error)
        ) from error


def _read(kind: type[Filter], values: Mapping[str, str]) -> Filter:
    """Read a filter; what cannot be read asks for nothing."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        wrong = {str(problem["loc"][0]) for problem in error.errors()}
        return kind.model_validate(
            {name: value for name, value in values.items() if name not in wrong}
        )


def _plan_id(request: Request) -> int:
    return _number(request, "plan_id")


def _number(request: Request, name: str) -> int:
    number = int(request.path_params[name])
    if number > MAX_ID:
        raise JobError(
            f"There is no {name.replace('_id', '')} {number}",
            remedy="go back, and load the page again",
        )
    return number
