"""Pages in a real browser: headless Chromium, which reaches loopback only."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoAlertPresentException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webelement import WebElement

from tests.support.waiting import PATIENCE_SECONDS

T = TypeVar("T")

PROGRAMS = ("chromium", "chromedriver")
SCREENSHOTS = Path(__file__).parents[1] / "output" / "browser"
# A page that was told of the end of a run asks no more, though more may have come.
_RELOAD_SECONDS = 8
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
    # Nobody sees Prefect's UI move while the tests wait.
    "--force-prefers-reduced-motion",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
# What a page that is being drawn anew answers; the next look succeeds.
_NOT_YET = (
    NoAlertPresentException,
    NoSuchElementException,
    StaleElementReferenceException,
    ElementClickInterceptedException,
    ElementNotInteractableException,
)


_TYPE_AT_PACE = """
const [keys, pause, done] = arguments;
const wait = (ms) => new Promise((next) => setTimeout(next, ms));
(async () => {
  const taken = [];
  const started = performance.now();
  for (const key of keys) {
    const pressed = performance.now();
    const how = { key, bubbles: true, cancelable: true };
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", how));
    document.body.getBoundingClientRect();
    taken.push(performance.now() - pressed);
    await wait(pause);
  }
  let before;
  do { before = queue; await queue; } while (before !== queue);
  taken.push(performance.now() - started);
  done(taken);
})();
"""
"""Presses keys, and waits for `queue`: the requests that review.js has yet to send."""


class Browser:
    """A browser window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    def open(self, url: str) -> None:
        """Go to a page."""
        self._driver.get(url)

    @property
    def url(self) -> str:
        """Where the window is."""
        return str(self._driver.current_url)

    @property
    def text(self) -> str:
        """What can be read on the page; each cell of a table is a line."""
        # The driver's own reading looks at each element in turn, for a second or more.
        found = self._driver.execute_script("return document.body?.innerText")
        lines = str(found or "").replace("\t", "\n").splitlines()
        return "\n".join(line.strip() for line in lines)

    def find(self, xpath: str) -> WebElement:
        """Return an element as soon as it is there."""
        return self._soon(lambda: self._driver.find_element("xpath", xpath), xpath)

    def click(self, xpath: str) -> None:
        """Click an element as soon as that is possible."""

        def click() -> bool:
            self._driver.find_element("xpath", xpath).click()
            return True

        self._soon(click, xpath)

    def write(self, xpath: str, text: str) -> None:
        """Write into a field, in the place of what stands there."""

        def write() -> bool:
            field = self._driver.find_element("xpath", xpath)
            field.clear()
            field.send_keys(text)
            return True

        self._soon(write, xpath)

    def attribute(self, xpath: str, name: str) -> str:
        """Return an attribute, or a property, of an element as soon as it has one."""
        return self._soon(
            lambda: self._driver.find_element("xpath", xpath).get_attribute(name),
            f"{name} of {xpath}",
        )

    def choose(self, label: str) -> None:
        """Click the item of an open menu that begins so."""
        self.click(f"//*[@role='menuitem'][starts-with(normalize-space(), '{label}')]")

    def press(self, label: str) -> None:
        """Click the button or link of this label."""
        self.click(f"//*[self::button or self::a][normalize-space()='{label}']")

    def see(self, line: str) -> None:
        """Wait until a line of one of Prefect's pages, which may be old, is this."""
        self._soon(lambda: line in self.text.splitlines(), line, reload=True)

    def read(self, words: str) -> None:
        """Wait until the words are anywhere on one of Prefect's pages."""
        self._soon(lambda: words in self.text, words, reload=True)

    def keys(self, text: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        ActionChains(self._driver, duration=0).send_keys(text).perform()

    def type_at_pace(self, text: str, pause_ms: int) -> list[float]:
        """Press keys with pauses, as a person does, and wait until all is stored.

        Returns:
            For each key the milliseconds until the page had drawn its effect, and last
            the milliseconds from the first key until everything was stored.
        """
        found = self._driver.execute_async_script(_TYPE_AT_PACE, [*text], pause_ms)
        return [float(number) for number in found]

    def confirm(self) -> None:
        """Say yes to the question that the page asks."""

        def accept() -> bool:
            self._driver.switch_to.alert.accept()
            return True

        self._soon(accept, "question")

    def open_tab(self) -> None:
        """Go on in another tab."""
        self._driver.switch_to.new_window("tab")

    def show_tab(self, number: int) -> None:
        """Go on in this tab, counted from 0 in the order in which they were opened."""
        self._driver.switch_to.window(self._driver.window_handles[number])

    def close_tab(self) -> None:
        """Close this tab, and go on in the first one."""
        self._driver.close()
        self.show_tab(0)

    def reach_servers(self, *, reachable: bool) -> None:
        """Let the page reach its server, or not."""
        conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self._driver.execute_cdp_cmd("Network.enable", {})
        self._driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": not reachable, **conditions},
        )

    def forget_cookies(self) -> None:
        """Be to the server a browser that it has not seen before."""
        self._driver.delete_all_cookies()

    def narrow(self) -> None:
        """Show pages as on a phone of 380 pixels."""
        self._resize(width=380, height=800)

    def wide(self) -> None:
        """Show pages as in the window again."""
        self._resize(width=0, height=0)

    def as_wide_as(self, width: int) -> None:
        """Show pages at this width, in pixels."""
        self._resize(width=width, height=1000)

    def shows(self, xpath: str) -> bool:
        """Tell whether the whole element is in the window, without scrolling."""

        def measure() -> list[bool]:
            element = self._driver.find_element("xpath", xpath)
            script = (
                "const at = arguments[0].getBoundingClientRect();"
                "return at.height > 0 && at.top >= 0 && at.bottom <= innerHeight;"
            )
            return [self._driver.execute_script(script, element)]

        (is_shown,) = self._soon(measure, xpath)
        return is_shown

    def draws(self, xpath: str) -> bool:
        """Tell whether the element is drawn at all, in the window or outside."""

        def measure() -> list[bool]:
            return [self._driver.find_element("xpath", xpath).is_displayed()]

        (is_drawn,) = self._soon(measure, xpath)
        return is_drawn

    def width_of_page(self) -> int:
        """Return how wide the page is, with what must be scrolled to."""
        return int(self._driver.execute_script("return document.body.scrollWidth"))

    def _resize(self, *, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 0}
        command = "Emulation.setDeviceMetricsOverride"
        self._driver.execute_cdp_cmd(command, {**size, "mobile": False})

    def inaccessible(self, *rules: str) -> list[str]:
        """Return what axe-core finds on the page that is serious or worse.

        Args:
            rules: The rules of axe-core to look at; none: all.
        """
        if not self._driver.execute_script("return 'axe' in window"):
            axe = resources.files("axe_core_python") / "axe.min.js"
            self._driver.execute_script(axe.read_text("utf-8"))
        # What is in order need not be described.
        options: dict[str, object] = {"resultTypes": ["violations"]}
        if rules:
            options["runOnly"] = list(rules)
        found = self._driver.execute_async_script(
            "const [options, done] = arguments; axe.run(options)"
            ".then((said) => done(said.violations), (e) => done(String(e)));",
            options,
        )
        assert isinstance(found, list), found
        return [
            f"{self.url}: {one['help']}: {node['html'][:200]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"]
        ]

    def prefer(self, scheme: str) -> None:
        """Prefer this colour scheme: light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        command = "Emulation.setEmulatedMedia"
        self._driver.execute_cdp_cmd(command, {"features": [feature]})

    def screenshot(self, name: str) -> None:
        """Keep a picture of the window in the output of the tests."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        assert self._driver.save_screenshot(SCREENSHOTS / f"{name}.png")

    def _soon(
        self, condition: Callable[[], T | None], what: str, *, reload: bool = False
    ) -> T:
        """Return what the condition gives, as soon as that is true.

        Args:
            condition: Looks at the page, and may act on it: what it has found may be
                drawn anew in the middle.
            what: What is waited for.
            reload: Whether the page may be loaded anew, which ends its own requests.
        """
        started = reloaded = time.monotonic()
        patience = _RELOAD_SECONDS
        while True:
            began = time.monotonic()
            try:
                if found := condition():
                    return found
            except _NOT_YET:
                pass
            now = time.monotonic()
            taken = now - began
            if now > started + PATIENCE_SECONDS:
                self.screenshot("failure")
                raise AssertionError(f"No {what!r} on {self.url}:\n{self.text}")
            if reload and now > reloaded + patience:
                self._driver.refresh()
                # A busy machine needs longer than that to draw the page.
                patience *= 2
                reloaded = time.monotonic()
            # Looks that take long are rare, and leave the processors to the page.
            time.sleep(min(max(0.1, 4 * taken), 1))


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Run a browser with an empty profile of its own.

    Without the program the tests are left out, but never in CI.
    """
    browser, driver_program = (shutil.which(name) for name in PROGRAMS)
    if browser is None or driver_program is None:
        missing = f"{' or '.join(PROGRAMS)} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{missing}, and nothing is left out in CI")
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    # By its path: selenium would look for a driver to download.
    service = Service(driver_program)
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(PATIENCE_SECONDS)
    driver.set_script_timeout(PATIENCE_SECONDS)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
