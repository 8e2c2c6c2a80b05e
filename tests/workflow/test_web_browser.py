"""Review in a real browser: by keyboard alone, in two windows, narrow and wide.

Pictures of the pages are kept in tests/output/browser.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from sandbox.stash.server import StandIn
from stashhog.web.address import address
from stashhog_core.db.jobs import save_report
from stashhog_core.db.models import (
    AnalysisPlan,
    DownloadItem,
    MirrorCheck,
    PlanChange,
    Scene,
)
from stashhog_core.db.session import Database
from stashhog_core.plans.decisions import decide_on
from stashhog_core.plans.proposals import add_member, set_text
from stashhog_core.plans.selection import Selection
from stashhog_core.settings import Settings, StashSettings, WebSettings
from stashhog_core.stash.client import StashClient
from tests.support.browser import Browser, open_browser
from tests.support.pages import serving
from tests.support.plans import plan_of
from tests.support.services import free_port
from tests.support.stand_in import new_scene
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCENES, TAGS = 100, ("Dawn", "Dusk", "Night")


_LONG = "A very-long_name.without.any-place/to break it " + "x" * 120
_MANY_KINDS = [
    set_text("title", "Old", _LONG, 0.8, "reader", {"rule": "seen", "text": _LONG}),
    set_text("details", "", f"{_LONG} " * 9, 0.8, "reader", {"rule": "seen"}),
]


@pytest.fixture
def plan_id(database: Database) -> int:
    """A plan with 300 changes."""
    with database.transaction() as session:
        session.add_all(
            Scene(id=number, title=f"Scene {number}") for number in range(1, SCENES + 1)
        )
        plan = AnalysisPlan(name="A long plan", state="draft")
        session.add(plan)
        session.flush()
        session.add_all(
            PlanChange(
                plan_id=plan.id,
                scene_id=number,
                **add_member("tags", None, name, 0.8, "reader", {"rule": "seen"}).row,
            )
            for number in range(1, SCENES + 1)
            for name in TAGS
        )
        return plan.id


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[str]:
    """The address of the pages, with the token."""
    with serving(Settings(home=tmp_path / "home"), database) as settings:
        yield address(settings)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One window for all tests of this module."""
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def states(database: Database) -> dict[str, int]:
    with database.transaction() as session:
        query = select(PlanChange.state, func.count()).group_by(PlanChange.state)
        return {row[0]: row[1] for row in session.execute(query)}


def open_plan(browser: Browser, site: str, plan_id: int, query: str = "") -> None:
    browser.open(site)
    browser.open(f"{site.partition('?')[0]}plans/{plan_id}{query}")
    # The script has run as soon as a row can be reached by Tab.
    browser.find("//*[contains(@class, 'row')][@tabindex='0']")


def test_a_plan_is_reviewed_by_keyboard_alone(
    browser: Browser, site: str, database: Database, plan_id: int
) -> None:
    """Three hundred decisions, one key each; the list goes on by itself."""
    open_plan(browser, site, plan_id)
    browser.keys("j")

    for _ in range(SCENES):
        browser.keys("aar")

    wait_until(
        lambda: states(database) == {"approved": 200, "rejected": 100},
        "all decisions are stored",
    )
    browser.screenshot("review-wide")
    assert browser.shows("//*[@id='status'][contains(., 'Rejected 1 change')]")


def test_sentences_are_seen_and_read_far_down_the_list(
    browser: Browser, site: str, plan_id: int
) -> None:
    """At each width the sentence is in the window, and the row says its decision."""
    for width in (1920, 380):
        browser.as_wide_as(width)
        open_plan(browser, site, plan_id)
        browser.keys("j" * 50 + "a")
        label = "//li[@data-decision='approved'][contains(@aria-label, ', approved')]"
        browser.find(label)
        assert browser.shows("//*[@id='status'][contains(., 'Accepted 1 change')]")
        browser.screenshot(f"far-down-{width}")
        browser.keys("u")
        browser.find("//*[@id='status'][contains(., 'Took back')]")
    browser.wide()


def test_decisions_are_taken_back_step_by_step(
    browser: Browser, site: str, database: Database, plan_id: int
) -> None:
    """Also a decision on a whole scene, and after a reload of the page."""
    open_plan(browser, site, plan_id)
    browser.keys("jarA")
    wait_until(
        lambda: states(database).get("approved") == 2, "the decisions are stored"
    )
    open_plan(browser, site, plan_id)

    for left in (298, 299, 300):
        browser.keys("u")
        wait_until(
            lambda left=left: states(database).get("pending") == left,
            f"{left} open changes",
        )


def test_what_another_window_decided_is_shown_and_kept(
    browser: Browser, site: str, database: Database, plan_id: int
) -> None:
    """The row shows the other decision, and a sentence says so."""
    open_plan(browser, site, plan_id)
    with database.transaction() as session:
        first = session.scalars(select(func.min(PlanChange.id))).one()
        decide_on(session, plan_id, "reject", Selection(change_ids=[first]))

    browser.keys("ja")

    browser.find(f"//li[@id='change-{first}'][@data-decision='rejected']")
    browser.find("//*[@id='status'][contains(., 'earlier decision: 1 rejected')]")
    assert states(database) == {"pending": 299, "rejected": 1}


def test_a_value_is_decided_with_one_key(
    browser: Browser, site: str, database: Database, plan_id: int
) -> None:
    """What was decided earlier stays, and the row counts it."""
    with database.transaction() as session:
        decide_on(session, plan_id, "reject", Selection(scene_ids=[1]))
    browser.narrow()
    open_plan(browser, site, plan_id, "?view=value")
    browser.screenshot("review-narrow")
    assert browser.width_of_page() <= 380

    browser.keys("ja")

    browser.find("//main//*[contains(., '99 approved, 1 rejected')]")
    browser.wide()
    assert states(database) == {"approved": 99, "pending": 198, "rejected": 3}


def test_a_decision_can_be_taken_back_after_an_outage(
    browser: Browser, site: str, database: Database, plan_id: int
) -> None:
    """`u` forgets a decision only when the server has answered."""
    open_plan(browser, site, plan_id)
    browser.keys("ja")
    wait_until(lambda: states(database).get("approved") == 1, "the decision")
    browser.reach_servers(reachable=False)
    browser.keys("u")
    browser.find("//*[@id='status'][contains(., 'does not answer')]")
    browser.reach_servers(reachable=True)

    browser.keys("u")

    wait_until(lambda: states(database) == {"pending": 300}, "the open change")


def test_troubles_of_requests_are_sentences(
    browser: Browser, site: str, database: Database, plan_id: int
) -> None:
    """Nobody is let in any more, or nothing answers: on each page that asks for more.

    No row is lost meanwhile, and the page goes on once it may.
    """
    with database.transaction() as session:
        decide_on(session, plan_id, "accept", Selection(scene_ids=[1]))
    plan = f"{site.partition('?')[0]}plans/{plan_id}"
    for refuse, words in (
        (browser.forget_cookies, "not let in, or no longer"),
        (lambda: browser.reach_servers(reachable=False), "does not answer"),
    ):
        sentence = f"//*[@id='status'][contains(., '{words}')]"
        open_plan(browser, site, plan_id, "?view=value")
        refuse()
        browser.keys("ja")
        browser.find(sentence)
        browser.find("//li[3]")
        browser.reach_servers(reachable=True)
        browser.open(site)
        browser.open(f"{plan}/apply")
        refuse()
        browser.click("//button[@id='apply']")
        browser.find(sentence)
        browser.find("//button[@id='apply'][not(@disabled)]")
        browser.reach_servers(reachable=True)


def test_the_password_lets_a_browser_in(
    browser: Browser, database: Database, tmp_path: Path, plan_id: int
) -> None:
    """The form as a browser sends it, which says itself where the form comes from."""
    web = WebSettings(password=SecretStr("right"))
    with serving(Settings(home=tmp_path / "home", web=web), database) as settings:
        browser.forget_cookies()
        browser.open(f"{settings.web.local_base}/plans/{plan_id}?view=value")
        browser.write("//input[@id='password']", "wrong")
        browser.press("Log in")
        browser.find("//*[@role='alert'][.='This is not the password.']")
        browser.write("//input[@id='password']", "right")
        browser.press("Log in")
        browser.find("//h1[contains(., 'A long plan')]")
        assert browser.url.endswith(f"/plans/{plan_id}?view=value")
        browser.forget_cookies()


def test_downloads_are_tried_again_and_forgotten(
    browser: Browser, site: str, database: Database
) -> None:
    """As a browser sends the form; forgetting is asked about first."""
    with database.transaction() as session:
        session.add_all(
            DownloadItem(
                source="folder",
                entry_key=name,
                entry_name=name,
                relative_path=name,
                size_bytes=5,
                state="blocked",
                reason="refused",
            )
            for name in ("a.mp4", "b.mp4")
        )

    def left() -> dict[str, str]:
        with database.transaction() as session:
            query = select(DownloadItem.entry_name, DownloadItem.state)
            return {row[0]: row[1] for row in session.execute(query)}

    browser.open(site)
    browser.open(f"{site.partition('?')[0]}downloads?state=blocked")
    browser.click("//input[@aria-label='Select a.mp4']")
    browser.press("Try again")
    browser.find("//*[@id='status'][contains(., 'tries 1 file again')]")
    browser.click("//input[@aria-label='Select b.mp4']")
    browser.press("Forget")
    browser.confirm()
    browser.find("//*[@id='status'][contains(., 'has forgotten 1 file')]")

    assert list(left()) == ["a.mp4"]
    assert left()["a.mp4"] != "blocked"


def test_two_tabs_never_overwrite_one_another(
    browser: Browser, site: str, database: Database, plan_id: int
) -> None:
    """What one tab decides later stays as the other has decided; both go on."""
    open_plan(browser, site, plan_id)
    browser.open_tab()
    open_plan(browser, site, plan_id)
    browser.keys("jrr")
    wait_until(lambda: states(database).get("rejected") == 2, "the second tab's")
    browser.show_tab(0)

    browser.keys("jaaa")

    wait_until(lambda: states(database).get("approved") == 1, "the first tab's")
    browser.find("//li[@data-decision='rejected'][2]")
    assert states(database) == {"approved": 1, "pending": 297, "rejected": 2}
    browser.show_tab(1)
    browser.close_tab()


def test_a_plan_is_applied_and_undone_in_the_browser(
    browser: Browser,
    database: Database,
    stand_in: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Really in Stash: the plan, then one change back, then the rest of the scene."""
    # No Prefect server is up, so the pages do the work themselves.
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    scene_id = new_scene(stand_in, "Scene")
    tags = [
        add_member("tags", None, name, 0.9, "reader", {"rule": "seen"})
        for name in ("Dawn", "Dusk")
    ]
    with database.transaction() as session:
        session.add(Scene(id=scene_id, title="Scene"))
    plan_id = plan_of(database, {scene_id: tags})
    address_of_stash = StashSettings(url=stand_in.url)
    plan = f"/plans/{plan_id}"

    with StashClient(address_of_stash) as stash:

        def names() -> list[str]:
            (scene,), _ = stash.scenes([scene_id])
            known = {tag.id: tag.name for tag in stash.tags()}
            return sorted(known[tag.id] for tag in scene.tags)

        own = Settings(home=tmp_path / "own", stash=address_of_stash)
        with serving(own, database, stash) as settings:
            browser.open(address(settings))
            browser.open(f"{settings.web.local_base}{plan}/apply")
            browser.click("//button[@id='apply']")
            browser.find("//*[@id='status'][contains(., 'Completed')]")
            applied = names()
            # The page shows what can be done by now, without being loaded again.
            browser.find("//button[@id='apply'][@disabled][.='Apply 0 changes']")
            browser.find("//button[@id='undo'][.='Undo 2 applied changes']")
            browser.press("See the outcome of each change")
            browser.screenshot("review-applied")
            assert browser.draws("//li[1]//button[@class='undo']")
            assert not browser.draws("//li[1]//button[@class='accept']")
            browser.click("(//li//button[@class='undo'])[1]")
            browser.confirm()
            wait_until(lambda: names() == ["Dusk"], "one change is undone")
            browser.find("//li[@data-decision='undone']")
            browser.click("//header//button[@class='undo']")
            browser.confirm()
            wait_until(lambda: names() == [], "the scene is undone")
            browser.find("//li[@data-decision='undone'][2]")

    assert applied == ["Dawn", "Dusk"]
    assert states(database) == {"undone": 2}


def test_conflicts_are_decided_by_keyboard(
    browser: Browser, site: str, database: Database
) -> None:
    """Overwrite, keep, edit, take back; what Stash has by now is shown first."""
    proposed = [
        set_text(field, "Old", f"New {field}", 0.9, "reader", {"rule": "seen"})
        for field in ("title", "details", "code")
    ]
    with database.transaction() as session:
        session.add(Scene(id=1, title="Mine", details="Mine", code="Mine"))
    plan_id = plan_of(database, {1: proposed}, state="conflict")
    with database.transaction() as session:
        plan = session.get_one(AnalysisPlan, plan_id)
        plan.state, plan.applied_at = "applied", datetime.now(UTC)
    open_plan(browser, site, plan_id, "?state=conflict")
    browser.screenshot("conflicts-wide")
    with database.transaction() as session:
        session.get_one(Scene, 1).title = "Another"

    browser.keys("ja")
    browser.find("//*[@id='status'][contains(., 'another value than expected')]")
    browser.find("//li[1]//dd[.='Another']")
    open_plan(browser, site, plan_id)
    browser.keys("jar")
    wait_until(
        lambda: states(database) == {"approved": 1, "rejected": 1, "conflict": 1},
        "two choices",
    )
    browser.keys("e")
    box = "//textarea[@id='edit-text']"
    assert browser.attribute(box, "value") == "New code"
    browser.write(box, "New code code")
    browser.press("Propose")
    browser.find("//li[3]//dd[.='New code code']")
    browser.keys("a")
    wait_until(lambda: states(database).get("approved") == 2, "the third choice")
    browser.keys("uuuu")

    wait_until(lambda: states(database) == {"conflict": 3}, "all as before")
    with database.transaction() as session:
        assert session.get_one(AnalysisPlan, plan_id).state == "applied"


@pytest.mark.parametrize("width", [380, 1920])
def test_pages_are_accessible(
    browser: Browser, site: str, database: Database, plan_id: int, width: int
) -> None:
    """axe-core finds nothing serious on any page, and nothing sticks out sideways.

    In the dark only the colours are others.
    """
    now = datetime.now(UTC)
    with database.transaction() as session:
        decide_on(session, plan_id, "accept", Selection(scene_ids=[1]))
        decide_on(session, plan_id, "reject", Selection(scene_ids=[2]))
        for number, proposal in enumerate(_MANY_KINDS, start=3):
            row = {**proposal.row, "state": "conflict"}
            session.add(PlanChange(plan_id=plan_id, scene_id=number, **row))
        session.add(
            DownloadItem(
                source="folder",
                entry_key="a",
                entry_name="a",
                relative_path="a.mp4",
                size_bytes=5,
                state="failed",
                reason="refused",
                next_try_at=now,
                placed_at=now,
            )
        )
        check = MirrorCheck(scenes_checked=10, scenes_different=1)
        check.proved, check.facts = False, {}
        session.add(check)
        save_report(session, "run", "sync", "completed", now, {"scenes_updated": [1]})
    base = site.partition("?")[0]
    browser.open(site)
    browser.as_wide_as(width)
    plan = f"plans/{plan_id}"
    found: list[str] = []
    for path in (
        *(
            "library",
            "runs/run",
            "downloads",
            "downloads?text=none",
            "plans",
            "nothing",
        ),
        *("files", "files?view=missing", "files?view=stash"),
        # The rows are alike in each view; axe-core looks into each of them.
        *(f"{plan}?view=scene", f"{plan}?view=value"),
        f"{plan}?view=confidence&state=conflict",
        *(f"{plan}?text=none", f"{plan}/apply"),
    ):
        name = path.replace("/", "-").replace("?", "-")
        browser.prefer("light")
        browser.open(base + path)
        browser.find("//main//h1")
        found += browser.inaccessible()
        if (wide := browser.width_of_page()) > width:
            found.append(f"{browser.url} is {wide} pixels wide")
        browser.screenshot(f"{name}-light-{width}")
        browser.prefer("dark")
        found += browser.inaccessible("color-contrast")
        browser.screenshot(f"{name}-dark-{width}")
    browser.prefer("")
    browser.wide()

    assert found == []
