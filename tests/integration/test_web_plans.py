"""The pages of plans, over HTTP: who may use them, what they show and store."""

import re
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pebble import ProcessPool
from pydantic import SecretStr
from sqlalchemy import select, text
from starlette.testclient import TestClient

from stashhog.web.access import COOKIE, access_of
from stashhog.web.address import address, token_of
from stashhog.web.app import make_app
from stashhog.web.jobs import Jobs, words_of
from stashhog.web.pictures import type_of
from stashhog.web.site import make_site
from stashhog_core.db.jobs import save_report
from stashhog_core.db.models import AnalysisPlan, PlanChange, Scene, SceneFile
from stashhog_core.db.pictures import picture_key, store_pictures
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.plans.decisions import decide_seen, take_back
from stashhog_core.plans.proposals import (
    CoverValue,
    add_marker,
    add_member,
    set_cover,
    set_text,
)
from stashhog_core.plans.review import reject
from stashhog_core.plans.selection import Selection
from stashhog_core.plans.values import values_page
from stashhog_core.redaction import visible_lines
from stashhog_core.results import ApplyResult
from stashhog_core.settings import Settings, StashSettings, WebSettings
from stashhog_core.stash.client import StashClient
from tests.support.http import answering
from tests.support.media import write_video
from tests.support.pictures import png
from tests.support.plans import add_scenes
from tests.support.statements import statements
from tests.support.waiting import wait_until

HERE = "http://127.0.0.1:4201"
PAGE = {"Accept": "text/html"}
"""What browsers send when they ask for a page, and scripts of pages do not."""
EVIL = "<img src=x onerror=alert(1)> [x] \u202egpj.exe *bold*"


@pytest.fixture
def plan_id(database: Database) -> int:
    """A plan for three scenes: a tag, a title and a marker each."""
    add_scenes(database)
    return add_plan(database, scenes=3)


def add_plan(database: Database, scenes: int) -> int:
    with database.transaction() as session:
        plan = AnalysisPlan(name=EVIL, state="draft")
        session.add(plan)
        session.flush()
        for number in range(1, scenes + 1):
            confidence = 0.7 + number % 30 / 100
            for proposal in (
                add_member("tags", None, EVIL, confidence, "reader", {"second": 1.0}),
                set_text("title", "", f"Title {number}", 0.8, "reader", {"rule": "r"}),
                add_marker(None, "Dawn", 2.0, None, 0.9, "reader", {"rule": "r"}),
            ):
                session.add(
                    PlanChange(plan_id=plan.id, scene_id=number, **proposal.row)
                )
        return plan.id


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", stash=StashSettings(url="http://stash"))


@pytest.fixture
def client(database: Database, settings: Settings) -> Iterator[TestClient]:
    """A browser that was let in."""
    with browser(database, settings) as client:
        assert client.get("/", params={"token": token_of(settings)}).status_code == 200
        yield client


@contextmanager
def browser(database: Database, settings: Settings) -> Iterator[TestClient]:
    """Yield a browser that nobody has let in yet."""
    site = make_site(settings, database, None)
    app = make_app(site, access_of(settings, token_of(settings)))
    with TestClient(app, base_url=HERE, headers={"Origin": HERE}) as client:
        yield client
    site.pictures.close()


def decisions(decision: str, seen: dict[int, str]) -> dict[str, object]:
    """Return what the page sends for one decision."""
    return {"decisions": [{"decision": decision, "seen": seen}]}


def states(database: Database) -> list[str]:
    with database.transaction() as session:
        query = select(PlanChange.state).order_by(PlanChange.id)
        return list(session.scalars(query))


def ids(database: Database) -> list[int]:
    with database.transaction() as session:
        return list(session.scalars(select(PlanChange.id).order_by(PlanChange.id)))


def test_only_the_address_with_the_token_lets_in(
    database: Database, settings: Settings, plan_id: int
) -> None:
    """The token leaves the address bar at once; the cookie is for this site only."""
    with browser(database, settings) as client:
        refused = client.get(f"/plans/{plan_id}")
        wrong = client.get("/", params={"token": "guessed"})
        asked = client.get(
            "/plans", params={"token": token_of(settings)}, follow_redirects=False
        )
        opened = client.get(f"/plans/{plan_id}")

    assert (refused.status_code, wrong.status_code) == (401, 401)
    assert "stashhog up" in refused.text
    assert asked.headers["location"] == "/plans"
    cookie = asked.headers["set-cookie"].lower()
    assert "samesite=strict" in cookie
    assert "httponly" in cookie
    assert opened.status_code == 200


def test_the_token_stays_over_restarts_and_is_for_the_owner(
    settings: Settings,
) -> None:
    """Pages that are left open go on after a restart; others cannot read the file."""
    first = token_of(settings)
    file = settings.home_folder / "web" / "token"

    assert token_of(settings) == first
    assert file.stat().st_mode & 0o077 == 0
    assert address(settings) == f"http://127.0.0.1:4201/?token={first}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({}, 200),
    ],
)
def test_other_sites_change_nothing(
    client: TestClient,
    database: Database,
    plan_id: int,
    headers: dict[str, str],
    status: int,
) -> None:
    """A request must be for a name of ours and come from a page of ours."""
    seen = {str(ids(database)[0]): "pending"}

    answer = client.post(
        f"/plans/{plan_id}/decide",
        json={"decisions": [{"decision": "accept", "seen": seen}]},
        headers=headers,
    )

    assert answer.status_code == status
    assert ("approved" in states(database)) == (status == 200)


def test_other_machines_need_a_password(
    database: Database, settings: Settings, plan_id: int
) -> None:
    """Without one the pages do not start; with one a form asks for it."""
    web = WebSettings(host="0.0.0.0")  # noqa: S104 - what is tested
    with pytest.raises(ConfigurationError, match="STASHHOG_WEB__PASSWORD"):
        access_of(settings.model_copy(update={"web": web}), "token")
    web = web.model_copy(update={"password": SecretStr("right")})
    opened = settings.model_copy(update={"web": web})

    with browser(database, opened) as client:
        form = client.get(f"/plans/{plan_id}", headers=PAGE)
        wrong = client.post("/login", data={"password": "wrong"})
        inside = client.post("/login", data={"password": "right"})

    assert 'name="password"' in form.text
    assert "not the password" in wrong.text
    assert "<h1>Plans</h1>" in inside.text
    assert COOKIE in inside.history[0].headers["set-cookie"]
    assert "token" not in address(opened)


def test_a_link_to_a_plan_opens_after_the_password(
    database: Database, settings: Settings, plan_id: int
) -> None:
    """The form leads to the page that was asked for, and to no other site."""
    web = settings.web.model_copy(update={"password": SecretStr("right")})
    opened = settings.model_copy(update={"web": web})
    wanted = f"/plans/{plan_id}?view=value"

    with browser(database, opened) as client:
        form = client.get(wanted, headers=PAGE)
        sent = {"next": unescape(re.search(r'name="next" value="(.*)"', form.text)[1])}
        wrong = client.post("/login", data={"password": "wrong", **sent})
        inside = client.post("/login", data={"password": "right", **sent})
        for elsewhere in ("//evil.example", "/\\evil.example", "http://evil.example"):
            away = client.post(
                "/login",
                data={"password": "right", "next": elsewhere},
                follow_redirects=False,
            )
            assert re.match(r"/[^/\\]", away.headers["location"])

    assert f'value="{escape(wanted)}"' in wrong.text
    assert str(inside.url) == HERE + wanted


def test_scripts_get_a_sentence_instead_of_a_page(
    client: TestClient, database: Database, settings: Settings, plan_id: int
) -> None:
    """A script would draw a form for the password, or an error's page, as its rows."""
    web = settings.web.model_copy(update={"password": SecretStr("right")})
    part = f"/plans/{plan_id}?view=value&part=1"

    with browser(database, settings.model_copy(update={"web": web})) as stranger:
        logged_out = [stranger.get(part), stranger.post(f"/plans/{plan_id}/apply")]
    unknown = client.get("/jobs/7")
    page = client.get("/plans/999", headers=PAGE)

    for answer in logged_out:
        assert answer.status_code == 401
        assert answer.text.startswith("You are logged out: open /login in another tab")
    assert "reload this page" in unknown.json()["error"]
    assert "<h1>This is not possible</h1>" in page.text


def test_a_link_of_another_site_opens(
    client: TestClient, database: Database, settings: Settings, plan_id: int
) -> None:
    """Browsers keep the cookie back there; this site asks once more, with it."""
    mail = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    wanted = f"/plans/{plan_id}?view=value&text=%22%3E"
    with browser(database, settings) as stranger:
        again = stranger.get(wanted, headers=mail)
        refused = stranger.get(wanted, headers={"Sec-Fetch-Site": "same-origin"})

    found = re.search(r'content="0; url=([^"]*)"', again.text)
    assert found is not None
    assert "Plan" not in again.text
    assert refused.status_code == 401
    assert "stashhog up" in refused.text
    assert f"Plan {plan_id}" in client.get(unescape(found[1])).text


def test_the_names_of_the_links_are_served(
    database: Database, settings: Settings, plan_id: int
) -> None:
    """Whoever follows a link to STASHHOG_WEB__PUBLIC_URL is not refused."""
    web = settings.web.model_copy(update={"public_url": "https://media.lan/"})
    with browser(database, settings.model_copy(update={"web": web})) as client:
        named = client.get(f"/plans/{plan_id}", headers={"Host": "media.lan"})

    assert web.link_base == "https://media.lan"
    assert named.status_code == 401


def test_a_plan_links_to_its_run(
    client: TestClient,
    database: Database,
    plan_id: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the address of Prefect's UI; a run outside of Prefect has no page."""
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.lan:4200/api")
    run = "0c6a1e4e-0d2b-4b7a-9d3c-6f6f3f0e5b11"
    without = client.get(f"/plans/{plan_id}").text
    with database.transaction() as session:
        session.get_one(AnalysisPlan, plan_id).run_id = run
    linked = client.get(f"/plans/{plan_id}").text

    assert "a run in Prefect" not in without
    assert f'href="http://prefect.lan:4200/runs/flow-run/{run}"' in linked


def test_the_prefect_of_another_project_is_left_alone(
    client: TestClient, plan_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers at our usual port gets no run of ours, and no link."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with answering({"/api/admin/version": (200, "3.8.8")}) as url:
        port = str(urlsplit(url).port)
        monkeypatch.setenv("PREFECT_SERVER_API_PORT", port)
        number = client.post(f"/plans/{plan_id}/apply").json()["job"]
        wait_until(lambda: client.get(f"/jobs/{number}").json()["is_over"], "the job")
        job = client.get(f"/jobs/{number}").json()
        shown = client.get(f"/plans/{plan_id}").text

    # Here, where no Stash is set.
    assert "No Stash server is configured" in job["message"]
    assert (job["run_id"], job["link"]) == (None, None)
    assert f":{port}" not in shown


@pytest.mark.parametrize("view", ["scene", "value", "confidence"])
def test_names_are_shown_as_text(
    client: TestClient, database: Database, plan_id: int, view: str
) -> None:
    """No name is markup, and none turns or hides the rest of its line."""
    with database.transaction() as session:
        session.get_one(Scene, 1).title = EVIL

    shown = client.get(f"/plans/{plan_id}", params={"view": view}).text

    assert "&lt;img src=x onerror=alert(1)&gt; [x]" in shown
    assert "<img src=x" not in shown
    assert "\u202e" not in shown


def test_pages_load_nothing_from_elsewhere(client: TestClient, plan_id: int) -> None:
    """Scripts, styles and pictures are ours, and there are none in the page itself."""
    answer = client.get(f"/plans/{plan_id}")

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for link in re.findall(r'(?:src|stylesheet" href)="([^"]+)"', answer.text):
        assert link.startswith("/")
        if link.startswith("/static/"):
            assert client.get(link).status_code == 200
    tags = re.sub(r'"[^"]*"', "", answer.text)
    assert not re.search(r"<script(?! src=)|<[^>]*\s(style|on[a-z]+)=", tags)


def test_a_change_that_was_decided_meanwhile_is_not_overwritten(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """Two windows, or a window and the terminal: the second one hears of the first."""
    first, second, *_ = ids(database)
    with database.transaction() as session:
        reject(session, plan_id, Selection(change_ids=[first]))

    answer = client.post(
        f"/plans/{plan_id}/decide",
        json=decisions("accept", {first: "pending", second: "pending"}),
    ).json()

    assert answer["changes"] == {str(first): "rejected", str(second): "approved"}
    assert "1 rejected" in " ".join(answer["lines"])
    assert states(database)[:2] == ["rejected", "approved"]


def test_a_job_that_ends_with_an_unforeseen_error_has_failed(
    database: Database, settings: Settings
) -> None:
    """The page does not show it as done, and says what happened."""
    jobs = Jobs(settings, database, StashClient(settings.stash))
    number = jobs.start("apply_plan", {"plan_id": "none"})

    def is_over() -> bool:
        return (state := jobs.state_of(number)) is not None and state.is_over

    wait_until(is_over, "the job")
    state = jobs.state_of(number)
    assert state is not None
    assert state.failed
    assert state.message.startswith("ValidationError: ")


@pytest.mark.parametrize(
    ("kind", "name", "message", "words"),
    [
        ("FAILED", "Failed", "There is no plan 9", "There is no plan 9"),
        ("COMPLETED", "Completed", None, "Completed"),
        ("COMPLETED", "CompletedWithErrors", "1 conflict", "1 conflict"),
        ("SCHEDULED", "Scheduled", "Pushed", "Waits for a worker"),
        ("SCHEDULED", "Late", None, "Waits for a worker"),
        ("SCHEDULED", "AwaitingRetry", "Stash is away", "again soon: Stash is away"),
        ("PENDING", "Submitting", None, "Is about to begin"),
        ("RUNNING", "Running", None, "Is running"),
        ("PAUSED", "Suspended", None, "Is paused in Prefect"),
        ("CANCELLING", "Cancelling", None, "Is being cancelled"),
    ],
)
def test_a_run_is_shown_in_words(
    kind: str, name: str, message: str | None, words: str
) -> None:
    """What it waits for, and how it has ended, as a job without Prefect would say."""
    state = {"type": kind, "name": name, "message": message}

    assert words in words_of({"state": state})


def test_a_run_that_works_on_a_plan_is_found(
    client: TestClient, plan_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has started it, and once: a page that is loaded again goes on with it."""
    run = "0c6a1e4e-0d2b-4b7a-9d3c-6f6f3f0e5b11"
    going = {"state": {"type": "RUNNING", "name": "Running"}}
    answers = {
        "/api/flow_runs/filter": (
            200,
            [
                {"id": "another", "parameters": {"plan_id": plan_id + 1}},
                {"id": run, "parameters": {"plan_id": plan_id}},
            ],
        ),
        f"/api/flow_runs/{run}": (200, going),
    }
    with answering(answers) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        numbers = {client.get(f"/plans/{plan_id}/job").json()["job"] for _ in "12"}
        (number,) = numbers
        job = client.get(f"/jobs/{number}").json()
        none = client.get(f"/plans/{plan_id + 2}/job").json()
        del answers[f"/api/flow_runs/{run}"]
        deleted = client.get(f"/jobs/{number}").json()

    assert (job["message"], job["is_over"]) == ("Is running", False)
    assert job["link"].endswith(f"/runs/flow-run/{run}")
    assert none == {"job": None}
    assert "deleted the run" in deleted["message"]
    assert deleted["is_over"]


def test_the_end_of_a_run_says_what_became_of_the_changes(
    client: TestClient,
    database: Database,
    plan_id: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that completed may have left changes out, which are not done."""
    run = "0c6a1e4e-0d2b-4b7a-9d3c-6f6f3f0e5b11"
    result = ApplyResult(
        status="completed", plan_id=plan_id, applied=1, conflicts=2, skipped=1
    )
    over = {"id": run, "state": {"type": "COMPLETED", "name": "Completed"}}
    answers = {
        "/api/flow_runs/filter": (
            200,
            [{"id": run, "parameters": {"plan_id": plan_id}}],
        ),
        f"/api/flow_runs/{run}": (200, over),
    }
    with answering(answers) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        number = client.get(f"/plans/{plan_id}/job").json()["job"]
        with database.transaction() as session:
            facts = result.model_dump(mode="json")
            save_report(
                session, run, "apply_plan", "completed", datetime.now(UTC), facts
            )
        job = client.get(f"/jobs/{number}").json()

    assert job["message"] == (
        "Completed: 1 change applied, 2 in conflict, 1 of a scene that is gone"
    )
    assert job["is_over"]


def test_prefect_may_be_away_while_a_page_follows_a_run(
    client: TestClient, plan_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says so, and goes on asking."""
    run = "0c6a1e4e-0d2b-4b7a-9d3c-6f6f3f0e5b11"
    runs = [{"id": run, "parameters": {"plan_id": plan_id}}]
    with answering({"/api/flow_runs/filter": (200, runs)}) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        number = client.get(f"/plans/{plan_id}/job").json()["job"]

    job = client.get(f"/jobs/{number}").json()
    none = client.get(f"/plans/{plan_id}/job").json()

    assert job["message"].startswith("Prefect does not answer")
    assert not job["is_over"]
    assert none == {"job": None}


def test_a_page_gets_its_own_advice(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """No option of the terminal; and none where nothing can be decided any more."""
    first, second, *_ = ids(database)
    for change, state in ((first, "approved"), (second, "applied")):
        with database.transaction() as session:
            session.get_one(PlanChange, change).state = state

    lines = [
        client.post(
            f"/plans/{plan_id}/decide", json=decisions("reject", {change: "pending"})
        ).json()["lines"]
        for change in (first, second)
    ]
    nothing = f"None of the selected changes of plan {plan_id} is open to reject"
    kept = "Not changed, because of an earlier decision: 1"
    assert lines == [
        [
            nothing,
            f"{kept} approved (to decide on these changes again, choose them one by "
            "one)",
        ],
        [nothing, f"{kept} applied"],
    ]


def test_decisions_that_waited_are_stored_one_by_one(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """In one request, in their order; each can be taken back, or none is stored."""
    first, second, *_ = ids(database)
    url = f"/plans/{plan_id}"
    together = [
        {"decision": "accept", "seen": {first: "pending"}},
        {"decision": "accept", "seen": {second: "pending"}},
        {"decision": "reject", "seen": {first: "approved"}},
    ]
    refused = client.post(
        f"{url}/decide",
        json={"decisions": [*together, {"decision": "reject", "seen": {999: "x"}}]},
    )
    assert (refused.status_code, set(states(database))) == (409, {"pending"})

    answer = client.post(f"{url}/decide", json={"decisions": together}).json()

    assert answer["changes"] == {str(first): "rejected", str(second): "approved"}
    for id_, expected in zip(
        answer["decision_ids"][::-1],
        (["approved", "approved"], ["approved", "pending"], ["pending", "pending"]),
        strict=True,
    ):
        client.post(f"{url}/take-back", json={"decision_id": id_})
        assert states(database)[:2] == expected


@pytest.mark.slow
def test_a_decision_does_not_read_the_plan(
    client: TestClient, database: Database
) -> None:
    """A few statements look up the change by its id; none counts or joins the plan."""
    with database.transaction() as session:
        session.add_all(Scene(id=number) for number in range(1, 3001))
    plan_id = add_plan(database, scenes=3000)
    first, second, *_ = ids(database)
    with database.connect() as connection:
        connection.execute("VACUUM ANALYZE")
    url = f"/plans/{plan_id}"
    client.post(f"{url}/decide", json=decisions("reject", {first: "pending"}))

    def rows_read() -> int:
        # Those that this connection has read since it told others, by whatever index.
        query = text(
            "SELECT sum(seq_tup_read + idx_tup_fetch) "
            "FROM pg_stat_xact_user_tables WHERE relname = 'plan_change'"
        )
        return int(session.scalar(query) or 0)

    with statements() as sent:
        answer = client.post(
            f"{url}/decide", json=decisions("accept", {second: "pending"})
        ).json()
    with database.transaction() as session:
        before = rows_read()
        done = decide_seen(session, plan_id, "reject", {second: "approved"})
        of_decision = rows_read() - before
        take_back(session, plan_id, done.decision_id)
        of_taking_back = rows_read() - before - of_decision

    assert (answer["opened"], answer["state"]) == (-1, "reviewing")
    assert len(sent) <= 12
    assert max(of_decision, of_taking_back) < 100


def test_ten_thousand_selected_changes_are_decided_at_once(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """All are stored in one request, and can be taken back in one."""
    with database.transaction() as session:
        added = session.scalars(
            text(
                "INSERT INTO plan_change (plan_id, scene_id, field, action, value_key, "
                "proposed, confidence, detector) SELECT :plan, n, 'tags', 'add', "
                "'many', :proposed, 0.9, 'reader' FROM generate_series(1, 10000) n "
                "RETURNING id"
            ),
            {"plan": plan_id, "proposed": '{"id": null, "name": "Many"}'},
        ).all()
    seen = dict.fromkeys(added, "pending")
    url = f"/plans/{plan_id}"

    answer = client.post(f"{url}/decide", json=decisions("accept", seen))

    assert answer.status_code == 200, answer.text
    assert set(answer.json()["changes"].values()) == {"approved"}
    assert answer.json()["opened"] == -10_000
    back = {"decision_id": answer.json()["decision_ids"][0], "shown": added}
    assert client.post(f"{url}/take-back", json=back).json()["opened"] == 10_000


def test_the_number_of_open_changes_goes_with_each_decision(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """Whatever is decided, replaced, edited and taken back: the page counts on."""
    tag, title, _, other, *_ = ids(database)
    url = f"/plans/{plan_id}"
    shown = client.get(url).text
    number = int(re.findall(r'data-count="(\d+)"', shown)[0])
    for path, sent in (
        ("decide", decisions("accept", {tag: "pending", other: "pending"})),
        ("decide-all", {"decision": "reject", "filter": {"field": "markers"}}),
        ("edit", {"seen": {title: "pending"}, "text": "Another"}),
        ("decide", decisions("reject", {tag: "approved"})),
        ("replace", {"seen": {other: "approved"}, "by": "Outdoor"}),
    ):
        answer = client.post(f"{url}/{path}", json=sent).json()
        number += answer["opened"]
        assert number == states(database).count("pending"), path
        back = {"decision_id": answer["decision_ids"][0]}
        number += client.post(f"{url}/take-back", json=back).json()["opened"]
        assert number == states(database).count("pending"), path
        client.post(f"{url}/{path}", json=sent)
        number = states(database).count("pending")


@pytest.mark.parametrize("view", ["scene", "confidence"])
def test_a_conflict_shows_all_three_values(
    client: TestClient, database: Database, plan_id: int, view: str
) -> None:
    """What was there, what Stash has by now, and what is proposed, as text."""
    with database.transaction() as session:
        session.get_one(Scene, 1).title = EVIL
        change = session.get_one(PlanChange, ids(database)[1])
        change.state, change.base = "conflict", "Before"

    shown = client.get(f"/plans/{plan_id}", params={"view": view, "field": "title"})

    sides = re.findall(r"<dt>([^<]*)</dt><dd[^>]*>([^<]*)</dd>", shown.text)
    assert sides == [
        ("When it was proposed", "Before"),
        ("In Stash now", str(escape(visible_lines(EVIL)))),
        ("Proposed", "Title 1"),
    ]
    assert "1 conflict with Stash" in shown.text
    assert ("Overwrite" in shown.text, "Keep Stash&#39;s" in shown.text) == (True, True)


def test_a_conflict_is_decided_on_the_value_that_was_shown(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """Accepting overwrites this value and no other; each choice can be taken back."""
    change_id = ids(database)[1]
    with database.transaction() as session:
        session.get_one(Scene, 1).title = "Mine"
        change = session.get_one(PlanChange, change_id)
        change.state, change.base = "conflict", "Before"
    url = f"/plans/{plan_id}"
    page = client.get(url, params={"state": "conflict"}).text
    shown = re.search(r'data-over="([^"]+)"', page)
    assert shown is not None

    def accept(over: dict[int, str]) -> Any:
        one = {"decision": "accept", "seen": {change_id: "conflict"}, "over": over}
        return client.post(f"{url}/decide", json={"decisions": [one]}).json()

    blind = accept({})
    other = accept({change_id: "another"})
    taken = accept({change_id: shown[1]})

    assert blind["changes"] == other["changes"] == {str(change_id): "conflict"}
    assert "--state conflict" in blind["lines"][-1]
    assert taken["changes"] == {str(change_id): "approved"}
    with database.transaction() as session:
        assert session.get_one(PlanChange, change_id).base == "Mine"
    back = {"decision_id": taken["decision_ids"][0], "shown": [change_id]}
    again = client.post(f"{url}/take-back", json=back).json()
    assert again["changes"] == {str(change_id): "conflict"}
    with database.transaction() as session:
        assert session.get_one(PlanChange, change_id).base == "Before"


def test_plans_are_sorted(client: TestClient, database: Database, plan_id: int) -> None:
    """By age, by what is open and by conflicts; the list shows all of them."""
    with database.transaction() as session:
        other = AnalysisPlan(name="zzz", state="draft", facts={"scenes": 9})
        session.add(other)
        session.flush()
        row = add_member("tags", None, "x", 0.9, "reader", {"rule": "r"}).row
        change = PlanChange(
            plan_id=other.id, scene_id=1, **{**row, "state": "conflict"}
        )
        session.add(change)
        second = other.id

    def order(name: str) -> list[int]:
        text = client.get("/plans", params={"order": name}).text
        return [int(id_) for id_ in re.findall(r'href="/plans/(\d+)"', text)]

    assert order("newest") == order("nonsense") == [second, plan_id]
    assert order("conflicts") == order("scenes") == [second, plan_id]
    assert order("open") == order("oldest") == order("name") == [plan_id, second]
    shown = client.get("/plans").text
    assert re.search(r'data-label="Conflicts" class="number">1<', shown)
    assert re.search(r'data-label="Age" class="whole">\d+ minutes?<', shown)


def test_values_are_shown_by_pages(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """States apart, pictures of the most certain first, by pages."""
    with database.transaction() as session:
        reject(session, plan_id, Selection(scene_ids=[2], field="tags"))
        first = values_page(session, plan_id, size=2)
        last = values_page(session, plan_id, after=first.after, size=2)

    groups = {group.field: group for group in (*first.rows, *last.rows)}
    assert (len(first.rows), len(last.rows), last.after) == (2, 1, None)
    assert groups["tags"].states == {"pending": 2, "rejected": 1}
    assert groups["tags"].changes == 3
    assert groups["tags"].pictures == [(3, 1.0), (2, 1.0), (1, 1.0)]
    assert groups["markers"].pictures == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert groups["title"].name == ""
    assert groups["title"].confidence == (0.8, 0.8)
    text = client.get(f"/plans/{plan_id}?view=value").text
    assert "add tag · 3 scenes" in text
    assert "add marker · 3 changes" in text


def test_a_group_decision_leaves_earlier_decisions_alone(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """By value, by scene and by the filter of the page; each can be taken back."""
    before = states(database)
    url = f"/plans/{plan_id}"
    first = ids(database)[0]
    client.post(f"{url}/decide", json=decisions("reject", {first: "pending"}))

    for sent, expected in (
        ({"filter": {"field": "tags", "value": EVIL}}, 2),
        ({"filter": {}, "scene_id": 2}, 3),
        ({"filter": {"field": "title"}}, 3),
        ({"filter": {"least": 0.85}}, 3),
        ({"filter": {"text": "Title 3"}}, 1),
    ):
        answer = client.post(
            f"{url}/decide-all", json={"decision": "accept", "shown": [first], **sent}
        ).json()
        assert answer["changes"] == {str(first): "rejected"}
        assert states(database).count("approved") == expected
        back = {"decision_id": answer["decision_ids"][0], "shown": [first]}
        assert client.post(f"{url}/take-back", json=back).status_code == 200
        assert states(database) == ["rejected", *before[1:]]


def test_values_are_replaced_and_texts_edited(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """By an existing name, which the box finds by its name or alias."""
    tag, title, _ = ids(database)[:3]
    names = client.get("/names", params={"field": "tags", "text": "open"}).json()
    url = f"/plans/{plan_id}"
    replaced = client.post(
        f"{url}/replace", json={"seen": {tag: "pending"}, "by": "Outdoor"}
    )
    edited = client.post(
        f"{url}/edit", json={"seen": {title: "pending"}, "text": "Another"}
    )
    unknown = client.post(
        f"{url}/replace", json={"seen": {tag: "pending"}, "by": "Nothing like this"}
    )
    late = client.post(f"{url}/edit", json={"seen": {title: "approved"}, "text": "No"})

    assert names == [{"name": "Outdoor", "alias": "Open Air"}]
    assert (replaced.status_code, edited.status_code) == (200, 200)
    with database.transaction() as session:
        assert session.get_one(PlanChange, tag).proposed["name"] == "Outdoor"
        assert session.get_one(PlanChange, title).proposed == "Another"
    assert (unknown.status_code, late.status_code) == (409, 409)
    assert "Stash has no tag 'Nothing like this'" in unknown.json()["error"]
    assert "meanwhile" in late.json()["error"]


@pytest.mark.parametrize("view", ["scene", "confidence"])
def test_a_long_plan_comes_page_by_page(
    client: TestClient, database: Database, view: str
) -> None:
    """Each change once, in order, however many there are."""
    with database.transaction() as session:
        session.add_all(Scene(id=number) for number in range(1, 46))
    url: str | None = f"/plans/{add_plan(database, scenes=45)}?view={view}"
    shown: list[int] = []
    pages = 0
    while url:
        text = client.get(url).text
        pages += 1
        shown += [int(found) for found in re.findall(r'data-id="(\d+)"', text)]
        more = re.search(r'class="more button" href="([^"]+)"', text)
        url = more[1].replace("&amp;", "&") if more else None

    assert pages == 3
    assert sorted(shown) == ids(database)


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/plans/999", 409, "There is no plan 999"),
        ("/plans/9999999999999999999999", 409, "There is no plan"),
        (
            "/plans/1?view=confidence&after=nonsense",
            409,
            "open the list from its start",
        ),
        ("/plans/1?least=much&field=nothing", 200, "Plan 1"),
        ("/plans/1?text=matches+nothing", 200, "No change of the plan matches"),
        ("/nothing", 404, "There is no such page"),
        ("/jobs/7", 409, "started again since"),
    ],
)
def test_what_is_not_there_is_said(
    client: TestClient, plan_id: int, path: str, status: int, sentence: str
) -> None:
    """In one sentence, and without a traceback."""
    assert plan_id == 1
    answer = client.get(path)

    assert (answer.status_code, sentence in answer.text) == (status, True)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "[]",
        '{"decisions": [{"decision": "burn", "seen": {"1": "pending"}}]}',
        '{"decisions": [{"decision": "accept", "seen": {}}]}',
        '{"decisions": []}',
        "{",
    ],
)
def test_what_a_page_cannot_send_changes_nothing(
    client: TestClient, database: Database, plan_id: int, sent: str
) -> None:
    """It is refused in a sentence."""
    answer = client.post(f"/plans/{plan_id}/decide", content=sent)

    assert answer.status_code == 409
    assert "The page sent something unknown" in answer.json()["error"]
    assert set(states(database)) == {"pending"}


def test_pictures_come_from_the_second_of_the_evidence(
    client: TestClient, database: Database, plan_id: int, tmp_path: Path
) -> None:
    """Decoded from the local file; a place where there is neither file nor cover."""
    video = write_video(tmp_path / "a.mp4", seconds=3)
    with database.transaction() as session:
        for file in session.scalars(select(SceneFile)):
            file.path = str(video if file.scene_id == 1 else tmp_path / "gone.mp4")

    frame = client.get("/scenes/1/frame/1.00")
    again = client.get("/scenes/1/frame/1.00")
    none = client.get("/scenes/2/frame/1.00")
    gone = client.get("/scenes/999/cover")

    assert type_of(frame.content) == "image/jpeg"
    assert again.content == frame.content
    for place in (none, gone):
        assert (place.status_code, place.headers["content-type"]) == (
            200,
            "image/svg+xml",
        )


def test_a_proposed_cover_is_shown(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """A person decides about a picture that the page shows, not about its size."""
    content = png(320, 180, grey=200)
    key = picture_key(content)
    change = set_cover(
        CoverValue("0" * 64, "PNG", 160, 90, 300),
        CoverValue(key, "PNG", 320, 180, len(content)),
        0.9,
        "stash-box",
        {"rule": "r"},
    )
    with database.transaction() as session:
        store_pictures(session, [content])
        session.add(PlanChange(plan_id=plan_id, scene_id=1, **change.row))

    for view in ("scene", "confidence"):
        page = client.get(f"/plans/{plan_id}", params={"view": view}).text
        assert f'src="/pictures/{key}"' in page
    assert client.get(f"/pictures/{key}").content == content
    gone = client.get(f"/pictures/{'0' * 64}")
    assert gone.headers["content-type"] == "image/svg+xml"


def test_a_picture_that_came_too_late_is_made_the_next_time(
    client: TestClient,
    database: Database,
    plan_id: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine may have been busy: that no picture was to be had is not kept."""
    video = write_video(tmp_path / "a.mp4", seconds=3)
    with database.transaction() as session:
        for file in session.scalars(select(SceneFile)):
            file.path = str(video)
    late: Future[bytes] = Future()
    late.set_exception(TimeoutError())
    with monkeypatch.context() as patched:
        patched.setattr(ProcessPool, "schedule", lambda *_, **__: late)
        none = client.get("/scenes/1/frame/1.00")

    frame = client.get("/scenes/1/frame/1.00")

    assert none.headers["content-type"] == "image/svg+xml"
    assert type_of(frame.content) == "image/jpeg"


def test_what_is_sent_is_shown_before_a_plan_is_applied(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """Each accepted value, and nothing else."""
    seen = {ids(database)[0]: "pending"}
    client.post(f"/plans/{plan_id}/decide", json=decisions("accept", seen))

    shown = client.get(f"/plans/{plan_id}/apply").text

    assert "Apply 1 change<" in shown
    assert "add tag &lt;img" in shown
