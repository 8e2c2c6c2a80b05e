"""The pages against whoever means ill, and against several reviewers at once.

Whatever is sent, the answer is a page or a sentence, and never an error of the program.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import select
from starlette.testclient import TestClient

from stashhog_core.db.models import (
    AnalysisPlan,
    DownloadItem,
    PlanChange,
    ReviewDecision,
    ReviewedChange,
    Scene,
)
from stashhog_core.db.session import Database
from stashhog_core.plans.proposals import add_member, set_text
from stashhog_core.settings import Settings, WebSettings
from tests.support.pages import browser_let_in
from tests.support.services import free_port

NUL, HALF = "a\0b", "\ud800"
TEXTS = [
    "",
    " ",
    NUL,
    "%",
    "\\",
    "'\";--",
    "\u202e",
    "🎬" * 400,
    "x" * 1001,
    "-1",
    "nan",
]
NUMBERS = ["0", "-1", "1e5", "inf", "nan", "9" * 25, "9" * 5000, "", NUL, "1 2", "²"]
PATHS = [
    "/",
    "/login",
    "/library",
    "/library/pending",
    "/plans",
    "/downloads",
    "/files",
    "/names",
    "/metrics",
    *(f"/runs/{text}" for text in ("run", "%00", "a%2Fb", "%ff", "x" * 3000)),
    *(
        path.format(number)
        for path in (
            "/plans/{}",
            "/plans/{}/apply",
            "/jobs/{}",
            "/scenes/{}/cover",
            "/scenes/{}/frame/1.5",
            "/scenes/1/frame/{}",
        )
        for number in ("1", "0", "9" * 25, "9" * 5000, "-1", "1%00", "²")
    ),
    *(f"/pictures/{text}" for text in ("0" * 64, "%00", "a%2Fb", "%ff", "x" * 3000)),
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/%00",
]
POSTS = [
    *(
        f"/plans/{plan}/{act}"
        for plan in ("1", "999", "9" * 25, "9" * 5000)
        for act in ("decide", "decide-all", "replace", "edit", "take-back", "apply")
    ),
    "/plans/1/undo",
    "/downloads",
    "/login",
]
NAMES = (
    "view after field value detector least below state studio text order part act "
    "count next wrong v token"
)
QUERY = st.dictionaries(
    st.sampled_from(sorted(NAMES.split())),
    st.sampled_from([*TEXTS, *NUMBERS, "scene", "value", "confidence", "0.5 1"]),
    max_size=4,
)
WORDS = st.sampled_from([*TEXTS, HALF, "pending", "approved", "conflict", "accept"])
IDS = st.sampled_from(["1", "2", "3", "0", "-1", "999", "9" * 25, "x", "1.0"])
SEEN = st.dictionaries(IDS, WORDS, max_size=3)
CONTENT = st.one_of(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner),
        max_leaves=5,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "decisions": st.lists(
                st.fixed_dictionaries(
                    {"decision": st.sampled_from(["accept", "reject", "x"])},
                    optional={"seen": SEEN, "over": SEEN},
                ),
                max_size=3,
            ),
            "decision": st.sampled_from(["accept", "reject", "cancel"]),
            "filter": st.dictionaries(
                st.sampled_from(
                    ["field", "value", "detector", "least", "studio", "text"]
                ),
                WORDS | st.floats(),
                max_size=2,
            ),
            "scene_id": IDS,
            "shown": st.lists(IDS, max_size=3),
            "seen": SEEN,
            "by": WORDS,
            "text": WORDS,
            "decision_id": IDS,
            "change_id": IDS,
        },
    ),
)


@pytest.fixture
def plan_id(database: Database) -> int:
    """A plan for three scenes: a tag and a title each; and a download."""
    with database.transaction() as session:
        plan = AnalysisPlan(name="Plan", state="draft")
        session.add(plan)
        session.add_all(Scene(id=number) for number in (1, 2, 3))
        session.flush()
        session.add_all(
            PlanChange(plan_id=plan.id, scene_id=number, **proposal.row)
            for number in (1, 2, 3)
            for proposal in (
                add_member("tags", None, "Dawn", 0.9, "reader", {"second": 1.0}),
                set_text("title", "", f"Title {number}", 0.8, "reader", {}),
            )
        )
        session.add(
            DownloadItem(
                source="folder",
                entry_key="a",
                entry_name="a",
                relative_path="a.mp4",
                size_bytes=5,
                state="failed",
            )
        )
        return plan.id


@pytest.fixture(autouse=True)
def no_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server takes the runs that pages start, whatever else this machine serves."""
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")


@pytest.fixture
def client(database: Database, plan_id: int, tmp_path: Path) -> Iterator[TestClient]:
    """A browser that was let in, with a password."""
    web = WebSettings(password=SecretStr("right"))
    with browser_let_in(database, Settings(home=tmp_path / "home", web=web)) as client:
        yield client


QUICK = settings(
    max_examples=75,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def is_answer(answer: Any) -> bool:
    """Tell whether this is a page, a redirection or a sentence; errors were raised."""
    return answer.status_code < 500 and "Traceback" not in answer.text


@QUICK
@given(path=st.sampled_from(PATHS), query=QUERY)
def test_no_address_breaks_a_page(
    client: TestClient, path: str, query: dict[str, str]
) -> None:
    """Numbers without end, nulls, places that no page has given, and the like."""
    if query.get("token") == "":
        del query["token"]

    assert is_answer(client.get(path, params=query, follow_redirects=False))


@QUICK
@given(path=st.sampled_from(POSTS), content=CONTENT)
def test_nothing_that_is_sent_breaks_a_page(
    client: TestClient, path: str, content: Any
) -> None:
    """Whatever JSON comes: it is refused in a sentence, or done."""
    body = json.dumps(content).encode()

    assert is_answer(client.post(path, content=body, follow_redirects=False))


@pytest.mark.parametrize("path", POSTS[:6] + POSTS[-3:])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{" * 50_000,
        b"[" * 50_000,
        b"a" * 1_000_001,
        b"act=retry&id=1&id=x&id=\0",
        b"act=forget&id=" + b"9" * 30,
        b"password=%00&next=%0d%0aSet-Cookie:x",
        b"&".join([b"id=1"] * 5_000),
    ],
    ids=range(9),
)
def test_no_body_breaks_a_page(client: TestClient, path: str, body: bytes) -> None:
    """Neither one without end nor one that is no text."""
    assert is_answer(client.post(path, content=body, follow_redirects=False))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "["),
        ("Host", "[::1"),
        ("Host", "]"),
        ("Host", ""),
        ("Host", "127.0.0.1.evil.example"),
        ("Host", "evil.example:80@127.0.0.1"),
        ("Host", "127.0.0.1:99999999"),
        ("Host", "127.0.0.1:x"),
        ("Origin", "http://["),
        ("Origin", "http://127.0.0.1:4201.evil.example"),
        ("Origin", "http://evil.example/127.0.0.1:4201"),
        ("Origin", "//"),
        ("Cookie", "stashhog=" + "x" * 5000),
        ("Cookie", "stashhog=\xff; ;=;;"),
        ("Accept", "\xff"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_no_header_breaks_a_page(
    client: TestClient, plan_id: int, method: str, name: str, value: str
) -> None:
    """Names and origins that are none are refused like those of others."""
    headers = {name: value.encode("latin-1")}
    answer = client.request(method, f"/plans/{plan_id}/apply", headers=headers)

    assert is_answer(answer)
    if method == "POST" and name in {"Host", "Origin"}:
        assert answer.status_code in {403, 421}


@pytest.mark.slow
def test_reviewers_at_once_never_overwrite_one_another(
    client: TestClient, database: Database, plan_id: int
) -> None:
    """Each stored decision has found what the one before it has left.

    Some decide on what they have seen, some on a whole value, some over HTTP: none of
    them changes what somebody else has decided without having seen it.
    """
    with database.transaction() as session:
        changes = list(session.scalars(select(PlanChange.id)))

    def review(seed: int) -> None:
        draw = random.Random(seed)
        seen = dict.fromkeys(changes, "pending")
        for _ in range(25):
            chosen = draw.sample(changes, draw.randint(1, 3))
            decision = draw.choice(["accept", "reject"])
            if draw.random() < 0.2:
                path = "decide-all"
                sent: dict[str, Any] = {
                    "decision": decision,
                    "filter": {"field": "tags"},
                    "shown": chosen,
                }
            else:
                path = "decide"
                one = {"decision": decision, "seen": {i: seen[i] for i in chosen}}
                sent = {"decisions": [one]}
            answer = client.post(f"/plans/{plan_id}/{path}", json=sent)
            if answer.status_code == 409:
                # Everything was rejected: the plan is closed.
                assert "cancelled" in answer.text, answer.text
                return
            now = {int(k): v for k, v in answer.json()["changes"].items()}
            seen |= now

    # One change stays, so that the plan stays open.
    with database.transaction() as session:
        row = add_member("tags", None, "Other", 0.5, "other", {}).row
        session.add(PlanChange(plan_id=plan_id, scene_id=9, **row))
    with ThreadPoolExecutor(6) as reviewers:
        # Raises what a reviewer has met.
        list(reviewers.map(review, range(6)))

    with database.transaction() as session:
        rows = session.execute(
            select(
                ReviewedChange.change_id,
                ReviewedChange.before["state"].astext,
                ReviewedChange.after["state"].astext,
                ReviewDecision.what,
            )
            .join(ReviewDecision, ReviewDecision.id == ReviewedChange.decision_id)
            .order_by(ReviewedChange.decision_id)
        ).all()
        last = dict(
            session.execute(select(PlanChange.id, PlanChange.state)).tuples().all()
        )
    history: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    for change_id, before, after, what in rows:
        history[change_id].append((before, after, what))
    assert len(rows) >= len(changes)
    for change_id, steps in history.items():
        states = ["pending", *(after for _, after, _ in steps)]
        assert [before for before, _, _ in steps] == states[:-1]
        assert last[change_id] == states[-1]
        # A decision on a whole value found the change open.
        assert all(b == "pending" for b, _, what in steps if "field tags" in what)
