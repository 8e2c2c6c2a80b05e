"""What all pages share: the database, pictures, jobs, and the templates."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from stashhog.services.prefect_server import ui_url
from stashhog.web.jobs import Jobs
from stashhog.web.pictures import Pictures
from stashhog_core.db.open import open_database
from stashhog_core.db.session import Database
from stashhog_core.redaction import visible_lines
from stashhog_core.report import counted, size_in_words
from stashhog_core.settings import Settings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.servers import opened_stash

STATIC_FOLDER = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Site:
    """What the pages are made from."""

    settings: Settings
    database: Database
    stash: StashClient | None
    pictures: Pictures
    jobs: Jobs


@contextmanager
def open_site(settings: Settings) -> Iterator[Site]:
    """Yield what the pages are made from; a Stash that is away may come back later.

    Raises:
        ConfigurationError: The database cannot be used, or a setting is wrong.
    """
    with open_database(settings) as database, opened_stash(settings.stash) as stash:
        site = make_site(settings, database, stash)
        try:
            yield site
        finally:
            site.pictures.close()


def make_site(
    settings: Settings, database: Database, stash: StashClient | None
) -> Site:
    """Return what the pages are made from; whoever asks closes what is given."""
    pictures = Pictures(settings, stash)
    return Site(settings, database, stash, pictures, Jobs(settings, database, stash))


def site_of(request: Request) -> Site:
    """Return what the pages are made from."""
    site: Site = request.app.state.site
    return site


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page. All texts are escaped, and show what would turn or hide them."""
    html = render(site_of(request).settings, name, request=request, **values)
    return HTMLResponse(html, status)


def render(settings: Settings, name: str, **values: Any) -> str:
    """Return the text of a page, as `page` does, outside of any request."""
    return _TEMPLATES.get_template(name).render(
        version=metadata.version("stashhog"), prefect=ui_url(settings), **values
    )


def _visible(value: object) -> object:
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return visible_lines(str(value)) if is_text else value


def _age(age: timedelta) -> str:
    """Return a time that has passed in its largest unit, such as `3 days`."""
    if age.days:
        return counted(age.days, "day")
    hours, minutes = divmod(age.seconds // 60, 60)
    return counted(hours, "hour") if hours else counted(minutes, "minute")


def _length_of_videos(seconds: float) -> str:
    """Return how long videos are together, in hours or, below two hours, minutes."""
    hours = round(seconds / 3600)
    return f"{hours:,} hours" if hours > 1 else counted(round(seconds / 60), "minute")


_TEMPLATES = Environment(
    loader=PackageLoader("stashhog.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # Names come from files and from other people: nothing turns or hides a line.
    finalize=_visible,
)
_TEMPLATES.globals["counted"] = counted
_TEMPLATES.filters["age"] = _age
_TEMPLATES.filters["length_of_videos"] = _length_of_videos
_TEMPLATES.filters["size"] = size_in_words
