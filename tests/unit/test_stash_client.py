"""The client's manners: what it sends, what it repeats, and what it calls an error."""

import gc
import gzip
import json
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from stashhog_core.errors import (
    BusyError,
    ConfigurationError,
    JobError,
    RefusedError,
    TransientError,
    UnreadableError,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient

Handler = Callable[[httpx.Request], httpx.Response]

SETTINGS = StashSettings(url="http://stash:9999", api_key=SecretStr("s3cret"))


def make_client(handler: Handler, settings: StashSettings = SETTINGS) -> StashClient:
    transport = httpx.MockTransport(handler)
    return StashClient(settings, transport, retry_delays_seconds=(0, 0, 0))


def answer(value: Any) -> httpx.Response:
    return httpx.Response(200, json={"data": {"answer": value}})


class Script:
    """Gives the next of its answers to each request, the last one for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(given, Exception):
            raise given
        return given

    def variables(self) -> list[dict[str, Any]]:
        return [json.loads(request.content)["variables"] for request in self.requests]


# --- what is sent --------------------------------------------------------------------


def test_request_headers() -> None:
    """Requests carry the key, ask for JSON, and may be answered compressed."""
    script = Script(answer({"version": "v1"}))

    with make_client(script) as client:
        assert client.version() == "v1"

    (request,) = script.requests
    assert request.url == "http://stash:9999/graphql"
    assert request.headers["ApiKey"] == "s3cret"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["Accept-Encoding"] == "gzip"
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("key", [None, SecretStr("")], ids=["none", "empty"])
def test_no_key_no_header(key: SecretStr | None) -> None:
    """Without a key there is no header: Stash refuses a key it does not know."""
    script = Script(answer({"version": "v1"}))
    settings = SETTINGS.model_copy(update={"api_key": key})

    with make_client(script, settings) as client:
        client.version()

    assert "ApiKey" not in script.requests[0].headers


def test_compressed_answer() -> None:
    """A compressed answer is unpacked."""
    body = gzip.compress(b'{"data":{"answer":{"version":"v2"}}}')
    script = Script(
        httpx.Response(200, content=body, headers={"Content-Encoding": "gzip"})
    )

    with make_client(script) as client:
        assert client.version() == "v2"


@pytest.mark.parametrize(
    ("configured", "graphql", "media"),
    [
        pytest.param(
            "http://stash:9999/", "http://stash:9999/graphql", "/scene/1/preview"
        ),
        pytest.param(
            "http://stash:9999/graphql", "http://stash:9999/graphql", "/scene/1/preview"
        ),
        pytest.param(
            "https://home.example/stash/",
            "https://home.example/stash/graphql",
            "/stash/scene/1/preview",
        ),
    ],
)
def test_address_forms(configured: str, graphql: str, media: str) -> None:
    """The address may end in a slash, in /graphql, or lie under a path of a proxy."""
    script = Script(answer({"version": "v1"}), httpx.Response(206, content=b"x"))
    settings = SETTINGS.model_copy(update={"url": configured})

    with make_client(script, settings) as client:
        client.version()
        client.media_exists("/scene/1/preview")
        client.media_exists(f"http://elsewhere{media}?t=1")

    urls = [str(request.url) for request in script.requests]
    base = graphql.removesuffix("/graphql")
    expected = [graphql, f"{base}/scene/1/preview", f"{base}/scene/1/preview?t=1"]
    assert urls == expected


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(
            lambda c: c.start_job("generate", {"sceneIDs": []}), id="generate"
        ),
        pytest.param(
            lambda c: c.start_job("generate", {"covers": True}), id="generate all"
        ),
        pytest.param(lambda c: c.start_job("scan", {"paths": []}), id="scan"),
        pytest.param(lambda c: c.start_job("scan", {"rescan": True}), id="scan all"),
        pytest.param(
            lambda c: c.bulk_update_scenes([], add_tag_ids=[1]), id="bulk update"
        ),
        pytest.param(lambda c: c.destroy_markers([]), id="destroy markers"),
    ],
)
def test_empty_lists_are_never_sent(call: Callable[[StashClient], Any]) -> None:
    """Stash takes an empty or missing list as everything: it never gets one."""
    script = Script(answer("1"))

    with make_client(script) as client, pytest.raises(ValueError, match=r"."):
        call(client)

    assert script.requests == []


def test_empty_reads_ask_nothing() -> None:
    """Asking for no scenes asks nothing; an empty list would mean all."""
    script = Script(answer(None))

    with make_client(script) as client:
        assert client.scenes([]) == ([], [])
        assert client.existing_scene_ids([]) == set()
        assert client.scenes_lacking_phash([]) == []

    assert script.requests == []


@pytest.mark.parametrize("field", ["tag_ids", "performer_ids", "cover_image", "id"])
def test_update_scene_replaces_no_sets(field: str) -> None:
    """Fields that would replace a whole set are refused before anything is sent."""
    script = Script(answer({"id": "1"}))

    with make_client(script) as client, pytest.raises(ValueError, match=field):
        client.update_scene(1, {field: [1]})

    assert script.requests == []


def test_bulk_update_sends_what_changes() -> None:
    """Additions and removals go in one request each; nothing to do sends nothing."""
    script = Script(answer([{"id": "1"}]))

    with make_client(script) as client:
        client.bulk_update_scenes([1])
        client.bulk_update_scenes([1, 2], add_tag_ids=[5], remove_tag_ids=[6])

    assert [sent["input"] for sent in script.variables()] == [
        {"ids": ["1", "2"], "tag_ids": {"ids": ["5"], "mode": "ADD"}},
        {"ids": ["1", "2"], "tag_ids": {"ids": ["6"], "mode": "REMOVE"}},
    ]


def test_pages_follow_the_ids() -> None:
    """Each page starts after the last id of the one before; a short page ends it."""
    rows = [{"id": str(i), "updated_at": "t"} for i in (3, 8, 9)]
    script = Script(answer({"rows": rows[:2]}), answer({"rows": rows[2:]}))

    with make_client(script) as client:
        pages = [[row.id for row in page] for page in client.scene_stamps(page_size=2)]

    assert pages == [[3, 8], [9]]
    assert [sent["after"] for sent in script.variables()] == [0, 8]


def test_answers_are_freed_once_they_are_read() -> None:
    """Answers take memory until they are read, not until Python looks for cycles."""
    body = json.dumps({"data": {"answer": {"version": "v1"}, "more": "x" * 1_000_000}})

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=iter([body.encode()]))

    with make_client(handler) as client:
        client.version()
        tracemalloc.start()
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                client.version()
            held, _peak = tracemalloc.get_traced_memory()
        finally:
            gc.enable()
            tracemalloc.stop()

    assert held < len(body)


# --- what goes wrong -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        pytest.param(
            httpx.Response(401, headers={"WWW-Authenticate": "FormBased"}),
            ConfigurationError,
            "STASHHOG_STASH__API_KEY",
            id="wrong key",
        ),
        pytest.param(
            httpx.Response(302, headers={"Location": "/login?returnURL=/"}),
            ConfigurationError,
            "STASHHOG_STASH__API_KEY",
            id="sent to the login page",
        ),
        pytest.param(
            httpx.Response(403), ConfigurationError, "refuses this machine", id="403"
        ),
        pytest.param(
            httpx.Response(301, headers={"Location": "https://stash/graphql"}),
            UnreadableError,
            "redirecting to https://stash/graphql",
            id="moved",
        ),
        pytest.param(httpx.Response(503), TransientError, "status 503", id="503"),
        pytest.param(httpx.Response(429), TransientError, "status 429", id="429"),
        pytest.param(
            httpx.Response(404, text="404 page not found"),
            UnreadableError,
            "not a Stash server",
            id="404",
        ),
        pytest.param(
            httpx.Response(200, html="<html>Welcome</html>"),
            UnreadableError,
            "not a Stash server",
            id="web page",
        ),
        pytest.param(
            httpx.Response(200, json={"hello": "world"}),
            UnreadableError,
            "not a Stash server",
            id="other JSON",
        ),
        pytest.param(
            httpx.Response(200, content=b"\xff\xfe"),
            UnreadableError,
            "not a Stash server",
            id="no text",
        ),
        pytest.param(
            httpx.Response(200, json={"data": {"answer": {"version": 7}}}),
            UnreadableError,
            "unknown form",
            id="other types",
        ),
        pytest.param(
            httpx.Response(
                200,
                json={
                    "errors": [{"message": "no such thing", "path": ["answer"]}],
                    "data": {"answer": {"version": "v1"}},
                },
            ),
            RefusedError,
            "Stash refused Version: no such thing",
            id="errors beside data",
        ),
        pytest.param(
            httpx.Response(
                422,
                json={"errors": [{"message": "Cannot query field"}], "data": None},
            ),
            RefusedError,
            "Version: Cannot query field",
            id="validation",
        ),
        pytest.param(
            httpx.Response(
                200,
                json={
                    "errors": [{"message": "Internal system error. Error <nil>"}],
                    "data": None,
                },
            ),
            RefusedError,
            "Stash itself failed at Version",
            id="panic",
        ),
        pytest.param(
            httpx.Response(
                200,
                json={
                    "errors": [{"message": "database is locked (5) (SQLITE_BUSY)"}],
                    "data": None,
                },
            ),
            BusyError,
            "database is busy",
            id="locked",
        ),
    ],
)
def test_answers_become_errors(
    response: httpx.Response, kind: type[Exception], words: str
) -> None:
    """Each bad answer is sorted by what can be done, and says where it came from."""
    with make_client(Script(response)) as client, pytest.raises(kind) as caught:
        client.version()

    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "http://stash:9999" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("refused"), "Stash cannot be reached"),
        (httpx.ConnectTimeout("late"), "Stash cannot be reached"),
        (httpx.ReadTimeout("late"), "did not answer Version within 60 s"),
        (httpx.ReadError("reset"), "Stash broke the connection"),
        (httpx.RemoteProtocolError("cut"), "Stash broke the connection"),
    ],
)
def test_network_errors_are_transient(error: Exception, words: str) -> None:
    """Whatever the network does, the same call may succeed later."""
    client = make_client(Script(error))

    with client, pytest.raises(TransientError, match=words):
        client.version()


def test_reads_are_tried_again() -> None:
    """A read that meets an outage is sent again and then answers."""
    script = Script(
        httpx.ConnectError("refused"), httpx.Response(502), answer({"version": "v1"})
    )

    with make_client(script) as client:
        assert client.version() == "v1"


def test_reads_give_up() -> None:
    """A read is sent four times at most."""
    script = Script(httpx.Response(502))

    with make_client(script) as client, pytest.raises(TransientError):
        client.version()

    assert len(script.requests) == 4


@pytest.mark.parametrize(
    "response", [httpx.Response(200, json={"errors": [{"message": "x"}]})], ids=["x"]
)
def test_refusals_are_not_tried_again(response: httpx.Response) -> None:
    """An answer that says no is final."""
    script = Script(response)

    with make_client(script) as client, pytest.raises(JobError):
        client.tags()

    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda c: c.start_job("scan", {"paths": ["/data"]}), id="scan"),
        pytest.param(
            lambda c: c.start_job("generate", {"sceneIDs": ["1"]}), id="generate"
        ),
        pytest.param(lambda c: c.create_tag("x"), id="tag"),
        pytest.param(
            lambda c: c.create_marker(
                scene_id=1, title="x", seconds=1, primary_tag_id=1
            ),
            id="marker",
        ),
        pytest.param(lambda c: c.destroy_object("tag", 1), id="destroy tag"),
        pytest.param(lambda c: c.bulk_update_scenes([1], add_tag_ids=[2]), id="bulk"),
    ],
)
def test_writes_are_sent_once(call: Callable[[StashClient], Any]) -> None:
    """What writes is never sent twice: the first may have worked."""
    script = Script(httpx.ReadTimeout("late"))

    with make_client(script) as client, pytest.raises(TransientError):
        call(client)

    assert len(script.requests) == 1


# --- readiness -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "words"),
    [
        pytest.param(answer({"status": "SETUP"}), "SETUP", id="set-up"),
        pytest.param(
            answer({"status": "NEEDS_MIGRATION"}), "NEEDS_MIGRATION", id="old"
        ),
        pytest.param(httpx.ConnectError("refused"), "STASHHOG_STASH__URL", id="away"),
        pytest.param(httpx.Response(503), "STASHHOG_STASH__URL", id="overloaded"),
        pytest.param(httpx.Response(200, text="hi"), "STASHHOG_STASH__URL", id="other"),
        pytest.param(httpx.Response(401), "STASHHOG_STASH__API_KEY", id="key"),
    ],
)
def test_check_ready(response: httpx.Response | Exception, words: str) -> None:
    """A server that cannot be used is told at once, with the setting to look at."""
    script = Script(response)
    client = make_client(script)

    with client, pytest.raises(ConfigurationError, match=words):
        client.check_ready()

    assert len(script.requests) == 1


@pytest.mark.parametrize("url", [None, ""])
def test_no_address(url: str | None) -> None:
    """Without an address there is no client."""
    settings = SETTINGS.model_copy(update={"url": url})

    with pytest.raises(ConfigurationError, match="STASHHOG_STASH__URL"):
        StashClient(settings)


def test_bad_address() -> None:
    """An address that is none is refused in words."""
    settings = SETTINGS.model_copy(update={"url": "http://[::1"})

    with pytest.raises(ConfigurationError, match="STASHHOG_STASH__URL"):
        StashClient(settings)


def test_password_in_the_address_is_not_shown() -> None:
    """A password that stands in the address appears in no error."""
    settings = SETTINGS.model_copy(update={"url": "http://me:hidden@stash:9999"})

    client = make_client(Script(httpx.Response(503)), settings)

    with client, pytest.raises(TransientError) as caught:
        client.version()

    assert "hidden" not in str(caught.value)


# --- scenes by id, media -------------------------------------------------------------


def test_unknown_ids_are_sifted_out() -> None:
    """When Stash refuses a list for one id, the others are still fetched."""
    script = Script(
        httpx.Response(
            200, json={"errors": [{"message": "scene with id 5 not found"}]}
        ),
        answer({"rows": [{"id": "4"}, {"id": "6"}, {"id": "7"}]}),
        answer({"rows": [_media("7"), _media("4")]}),
    )

    with make_client(script) as client:
        media, missing = client.scene_media([7, 5, 4])

    assert ([scene.id for scene in media], missing) == ([7, 4], [5])
    assert script.variables() == [
        {"ids": ["7", "5", "4"]},
        {"low": 4, "high": 7},
        {"ids": ["7", "4"]},
    ]


def test_other_refusals_are_not_hidden() -> None:
    """A refusal that is not about an unknown id comes out."""
    script = Script(
        httpx.Response(200, json={"errors": [{"message": "disk is full"}]}),
        answer({"rows": [{"id": "4"}]}),
    )

    with make_client(script) as client, pytest.raises(JobError, match="disk is full"):
        client.scene_media([4])


def _part(total: str, content: bytes = b"x") -> httpx.Response:
    headers = {"Content-Type": "image/webp", "Content-Range": f"bytes 0-0/{total}"}
    return httpx.Response(206, content=content, headers=headers)


@pytest.mark.parametrize(
    ("response", "exists"),
    [
        pytest.param(_part("90210"), True, id="part"),
        pytest.param(_part("*"), True, id="part of unknown size"),
        pytest.param(httpx.Response(206, content=b"x"), True, id="part without range"),
        pytest.param(httpx.Response(200, content=b"x" * 99), True, id="range ignored"),
        pytest.param(
            httpx.Response(200, content=iter([b"x" * 9, b"y" * 9])),
            True,
            id="length not told",
        ),
        pytest.param(httpx.Response(404), False, id="none"),
        pytest.param(httpx.Response(416), False, id="no first byte"),
        pytest.param(httpx.Response(200, content=b""), False, id="empty file"),
        pytest.param(
            httpx.Response(200, content=iter([b""])),
            False,
            id="empty file, length not told",
        ),
        pytest.param(
            httpx.Response(
                200,
                content=gzip.compress(b""),
                headers={"Content-Encoding": "gzip", "Content-Type": "text/vtt"},
            ),
            False,
            id="empty file, packed by a proxy",
        ),
        pytest.param(httpx.Response(204), False, id="no content"),
        pytest.param(_part("0", b""), False, id="part of an empty file"),
        pytest.param(httpx.Response(206), False, id="part with nothing in it"),
        pytest.param(_part("8"), False, id="animated picture without a frame"),
        pytest.param(
            httpx.Response(
                206,
                headers={
                    "Content-Type": "image/svg+xml",
                    "Content-Range": "bytes 0-0/733",
                },
            ),
            False,
            id="placeholder of a cover",
        ),
        pytest.param(
            httpx.Response(
                206,
                headers={
                    "Content-Type": "image/png",
                    "Content-Range": "bytes 0-0/1199",
                },
            ),
            False,
            id="placeholder of a marker",
        ),
        pytest.param(
            httpx.Response(
                206,
                headers={
                    "Content-Type": "image/png",
                    "Content-Range": "bytes 0-0/90210",
                },
            ),
            True,
            id="own cover",
        ),
    ],
)
def test_media_exists(response: httpx.Response, exists: bool) -> None:
    """One byte tells real media from none, an empty file and Stash's placeholders."""
    script = Script(response)

    with make_client(script) as client:
        assert client.media_exists("/scene/1/screenshot") is exists

    assert script.requests[0].headers["Range"] == "bytes=0-0"


def test_page_in_place_of_media() -> None:
    """A web page, as a log-in proxy serves one, is neither there nor missing."""
    page = httpx.Response(200, html="<title>Log in</title>")

    with (
        make_client(Script(page)) as client,
        pytest.raises(JobError, match="not a Stash server"),
    ):
        client.media_exists("/scene/1/preview")


def _media(scene_id: str) -> dict[str, Any]:
    kinds = ("screenshot", "preview", "webp", "sprite", "vtt")
    return {"id": scene_id, "paths": dict.fromkeys(kinds, "/x")}


@pytest.mark.parametrize("number", [str(2**63), "9" * 30, "9" * 5000, "-1"])
def test_id_that_no_stash_gives_is_an_answer_in_an_unknown_form(number: str) -> None:
    """The database could not hold it, be it of a row or of a marker's scene."""
    tag = {"rows": [{"id": number, "name": "x"}]}
    marker = {"rows": [{"id": "1", "updated_at": "", "scene": {"id": number}}]}

    with pytest.raises(UnreadableError, match="unknown form"):
        make_client(Script(answer(tag))).tags()
    with pytest.raises(UnreadableError, match="unknown form"):
        list(make_client(Script(answer(marker))).marker_stamps())
