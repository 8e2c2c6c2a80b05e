"""The pages of the library's state, and the same as one file."""

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stashhog.web.charts import bar_chart, line_chart
from stashhog.web.jobs import run_link
from stashhog.web.site import STATIC_FOLDER, page, render, site_of
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError, StashHogError
from stashhog_core.overview import (
    MOST_IMPACTED,
    Overview,
    Series,
    impacted_scenes,
    overview,
    recorded_runs,
)
from stashhog_core.redaction import visible
from stashhog_core.report import size_in_words, state_name
from stashhog_core.settings import Settings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import pending_scenes


def library(request: Request) -> Response:
    """Show what is there, what waits, and how it went over time."""
    site = site_of(request)
    with site.database.transaction() as session:
        state = overview(session, site.settings)
        runs = recorded_runs(session)
    values = _values(site.settings, state)
    return page(request, "library.html", runs=runs, pending=None, **values)


def pending(request: Request) -> Response:
    """Return how many scenes wait for a sync. Stash is asked, so this takes a while."""
    site = site_of(request)
    count, why = count_pending(site.stash, site.database)
    return JSONResponse({"count": count, "why": why})


def run(request: Request) -> Response:
    """Show the scenes that a run has changed or had media generated for."""
    site, run_id = site_of(request), str(request.path_params["run_id"])
    with site.database.transaction() as session:
        found = impacted_scenes(session, run_id)
    if found is None:
        raise JobError(
            "The result of this run is not recorded", remedy="look in Prefect's UI"
        )
    return page(
        request,
        "run.html",
        found=found,
        ended=state_name(found.run.status),
        most=MOST_IMPACTED,
        run=run_link(site.settings, run_id),
        link_base=site.settings.stash.link_base,
    )


def report_html(
    settings: Settings, database: Database, stash: StashClient | None
) -> str:
    """Return the state of the library as a page that needs no other file."""
    with database.transaction() as session:
        state = overview(session, settings)
    return render(
        settings,
        "report.html",
        style=(STATIC_FOLDER / "style.css").read_text(),
        pending=count_pending(stash, database),
        **_values(settings, state),
    )


def count_pending(stash: StashClient | None, database: Database) -> tuple[str, str]:
    """Return how many scenes wait for a sync, or `?` and why that is unknown."""
    if stash is None:
        return "?", "No Stash server is set (STASHHOG_STASH__URL)"
    try:
        return str(pending_scenes(stash, database).count), ""
    except StashHogError as error:
        return "?", str(error)


_Draw = Callable[[str, Series, Callable[[float], str]], Markup]


def _share_chart(title: str, series: Series, words: Callable[[float], str]) -> Markup:
    """Return a line of shares; one of 50 % is half as high in each chart."""
    return line_chart(title, series, words, top=1.0)


def _values(settings: Settings, state: Overview) -> Mapping[str, Any]:
    charts: list[tuple[str, _Draw, Series, Callable[[float], str]]] = [
        ("Scenes", line_chart, state.scenes_by_day, "{:,.0f} scenes".format),
        ("Changes applied", bar_chart, state.applied_by_day, "{:,.0f} changes".format),
        (
            "Downloads placed",
            bar_chart,
            state.downloaded_by_day,
            lambda size: size_in_words(int(size)),
        ),
        (
            "Drift of the mirror",
            line_chart,
            state.drift_by_day,
            "{:.2%} of the checked scenes".format,
        ),
        *(
            (
                f"Accepted proposals of {visible(detector)}, by week",
                _share_chart,
                series,
                "{:.0%} accepted".format,
            )
            for detector, series in state.acceptance_by_week.items()
        ),
    ]
    return {
        "state": state,
        "state_name": state_name,
        "run_link": lambda run_id: run_link(settings, run_id),
        "charts": [
            (title, draw(title, series, words), words(series[-1][1]))
            if series
            else (title, None, "")
            for title, draw, series, words in charts
        ],
    }
