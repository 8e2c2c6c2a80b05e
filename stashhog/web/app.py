"""The pages as an application: routes, errors, and who may use them."""

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stashhog.web import downloads, library, plans
from stashhog.web.access import LOGIN, NEXT, Access, Guard, asks_for_page, log_in
from stashhog.web.metrics import METRICS, metrics
from stashhog.web.site import STATIC_FOLDER, Site, page
from stashhog_core.errors import StashHogError, TransientError


class _Id(Convertor[int]):
    """A number of an address, of a length that Python reads; others are no page."""

    regex = "[0-9]{1,30}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


class _Second(Convertor[float]):
    """A second of a video."""

    regex = r"[0-9]{1,7}(\.[0-9]{1,6})?"

    def convert(self, value: str) -> float:
        return float(value)

    def to_string(self, value: float) -> str:
        return f"{value:.2f}"


register_url_convertor("id", _Id())
register_url_convertor("second", _Second())

_PLAN = "/plans/{plan_id:id}"


def make_app(site: Site, access: Access) -> Starlette:
    """Return the application."""
    app = Starlette(
        routes=[
            Route("/", _home),
            Route(LOGIN, _log_in_form, methods=["GET"]),
            Route(LOGIN, log_in, methods=["POST"]),
            Route("/library", library.library),
            Route("/library/pending", library.pending),
            Route("/runs/{run_id}", library.run),
            Route("/plans", plans.plans),
            Route(_PLAN, plans.plan),
            Route(f"{_PLAN}/decide", plans.decide_page, methods=["POST"]),
            Route(f"{_PLAN}/decide-all", plans.decide_all_page, methods=["POST"]),
            Route(f"{_PLAN}/replace", plans.replace_page, methods=["POST"]),
            Route(f"{_PLAN}/edit", plans.edit_page, methods=["POST"]),
            Route(f"{_PLAN}/take-back", plans.take_back_page, methods=["POST"]),
            Route(f"{_PLAN}/apply", plans.preview, methods=["GET"]),
            Route(f"{_PLAN}/apply", plans.start_applying, methods=["POST"]),
            Route(f"{_PLAN}/undo", plans.start_undoing, methods=["POST"]),
            Route(f"{_PLAN}/job", plans.job_under_way),
            Route("/jobs/{number:id}", plans.job_state),
            Route("/downloads", downloads.downloads, methods=["GET"]),
            Route("/downloads", downloads.change_downloads, methods=["POST"]),
            Route("/files", downloads.files),
            Route("/names", plans.names),
            Route(METRICS, metrics, methods=["GET"]),
            Route("/pictures/{sha256}", plans.stored),
            Route("/scenes/{scene_id:id}/cover", plans.cover),
            Route("/scenes/{scene_id:id}/frame/{second:second}", plans.frame),
            Mount("/static", StaticFiles(directory=STATIC_FOLDER)),
        ],
        middleware=[Middleware(Guard)],
        exception_handlers={StashHogError: _failed, HTTPException: _unknown},
    )
    app.state.site = site
    app.state.access = access
    return app


def _home(_request: Request) -> Response:
    return RedirectResponse("/plans", 303)


def _log_in_form(request: Request) -> Response:
    query = request.query_params
    return page(request, "login.html", wrong="wrong" in query, next=query.get(NEXT, ""))


def _failed(request: Request, error: Exception) -> Response:
    """Answer with the one sentence that the error is."""
    status = 503 if isinstance(error, TransientError) else 409
    if not asks_for_page(request):
        return JSONResponse({"error": str(error)}, status)
    return page(request, "error.html", status, sentence=str(error))


def _unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = "There is no such page"
    if isinstance(error, HTTPException) and status != 404:
        sentence = error.detail
    if not asks_for_page(request):
        return JSONResponse({"error": sentence}, status)
    return page(request, "error.html", status, sentence=sentence)
