"""The page of the import ledger, and those of the file index."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args
from urllib.parse import parse_qs, urlencode

from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stashhog.web.access import body_of
from stashhog.web.site import page, site_of
from stashhog_core.downloads.ledger import State
from stashhog_core.downloads.listing import (
    forget,
    ledger_page,
    retry,
    state_counts,
)
from stashhog_core.errors import JobError, first_problem
from stashhog_core.file_index.queries import (
    Duplicates,
    FileFilter,
    exact_duplicates,
    has_files,
    list_files,
    stash_only,
)
from stashhog_core.ids import MAX_ID

_STATES = get_args(State)
WAITING = "waiting"
STATE_WORDS = {
    **{state: state.replace("_", " ") for state in _STATES},
    "seen": "seen in Stash",
}
_FILES_A_PAGE = 100
_MOST_DUPLICATES = 200
FILE_VIEWS = {
    "duplicates": "Duplicates",
    "missing": "Missing on disk",
    "stash": "Only in Stash",
}
_ACTS = {"retry": retry, "forget": forget}


class _Asked(BaseModel):
    """What the form of the ledger asks for."""

    act: Literal["retry", "forget"]
    id: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_ID)]],
        Field(min_length=1, max_length=10_000),
    ]


def downloads(request: Request) -> Response:
    """Show the ledger, newest first, by pages."""
    query = request.query_params
    state, text = query.get("state", ""), query.get("text", "")
    state = state if state in {*_STATES, WAITING} else ""
    with site_of(request).database.transaction() as session:
        counts = state_counts(session)
        found = ledger_page(
            session,
            [state] if state in _STATES else (),
            text,
            query.get("after"),
            is_waiting=state == WAITING,
        )
    return page(
        request,
        "downloads.html",
        page=found,
        counts=counts,
        states=STATE_WORDS,
        state=state,
        waiting=WAITING,
        text=text,
        said=_said(query.get("act", ""), query.get("count", "")),
    )


async def change_downloads(request: Request) -> Response:
    """Retry or forget the rows that were selected; then show the ledger again."""
    sent = parse_qs((await body_of(request)).decode(errors="replace"))
    try:
        asked = _Asked.model_validate(
            {"act": sent.get("act", [""])[0], "id": sent.get("id", [])}
        )
    except ValidationError as error:
        raise JobError(
            "No file is selected", remedy=f"select files first ({first_problem(error)})"
        ) from error
    database = site_of(request).database
    count = await run_in_threadpool(_ACTS[asked.act], database, asked.id)
    shown = {
        name: sent[name][0] for name in ("state", "text") if sent.get(name, [""])[0]
    }
    query = urlencode({**shown, "act": asked.act, "count": count})
    return RedirectResponse(f"/downloads?{query}", 303)


def _said(act: str, count: str) -> str:
    if act not in _ACTS or not count.isdecimal():
        return ""
    files = f"{int(count[:9])} " + ("file" if count == "1" else "files")
    if act == "retry":
        return f"The next run of process_downloads tries {files} again."
    return f"The ledger has forgotten {files}. The files themselves stay."


def files(request: Request) -> Response:
    """Show duplicates, missing files, or files that only Stash has."""
    query = request.query_params
    view, after = query.get("view", ""), query.get("after")
    if view not in FILE_VIEWS:
        view = next(iter(FILE_VIEWS))
    size = _FILES_A_PAGE
    groups: Sequence[Duplicates] = ()
    rows: Sequence[Any] = ()
    last: str | None = None
    with site_of(request).database.transaction() as session:
        is_indexed = has_files(session)
        if not is_indexed:
            # All files of Stash would be listed as those that only Stash has.
            pass
        elif view == "duplicates":
            groups = exact_duplicates(session, _MOST_DUPLICATES)
        elif view == "missing":
            missing = FileFilter(missing=True)
            rows = [
                (file.path, file.size_bytes, file.missing_since)
                for file in list_files(session, missing, size + 1, after)
            ]
            last = rows[size - 1][0] if len(rows) > size else None
        else:
            rows = stash_only(session, size + 1, after)
            last = rows[size - 1].place if len(rows) > size else None
    return page(
        request,
        "files.html",
        view=view,
        views=FILE_VIEWS,
        most=_MOST_DUPLICATES,
        is_indexed=is_indexed,
        link_base=site_of(request).settings.stash.link_base,
        groups=groups,
        rows=rows[:size],
        after=last,
    )
