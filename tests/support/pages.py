"""The pages for review, served on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.testclient import TestClient

from stashhog.web.access import access_of
from stashhog.web.address import token_of
from stashhog.web.app import make_app
from stashhog.web.site import make_site
from stashhog_core.db.session import Database
from stashhog_core.settings import Settings
from stashhog_core.stash.client import StashClient
from tests.support.waiting import wait_until

HERE = "http://127.0.0.1:4201"


@contextmanager
def browser_let_in(
    database: Database, settings: Settings, stash: StashClient | None = None
) -> Iterator[TestClient]:
    """Yield a browser that the token has let in; requests need no server."""
    site = make_site(settings, database, stash)
    app = make_app(site, access_of(settings, token_of(settings)))
    with TestClient(app, base_url=HERE, headers={"Origin": HERE}) as client:
        said = client.get("/", params={"token": token_of(settings)})
        assert said.status_code == 200
        yield client
    site.pictures.close()


@contextmanager
def serving(
    settings: Settings, database: Database, stash: StashClient | None = None
) -> Iterator[Settings]:
    """Serve the pages at a free port; yield the settings with this port."""
    site = make_site(settings, database, stash)
    app = make_app(site, access_of(settings, token_of(settings)))
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "the pages are served")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        web = settings.web.model_copy(update={"port": port})
        yield settings.model_copy(update={"web": web})
    finally:
        server.should_exit = True
        thread.join()
        site.pictures.close()
