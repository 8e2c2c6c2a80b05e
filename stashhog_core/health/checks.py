"""What a check is, and running all checks: each in its own guard, several at once."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, Self

from stashhog_core.background import Background
from stashhog_core.db.open import connect_database
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, StashHogError, unexpected
from stashhog_core.results import CheckLine, ChecksResult, CheckState
from stashhog_core.settings import Settings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import ScanRules

LIMIT_SECONDS = 60.0
"""Longest duration of all checks together; a first start of PostgreSQL fits in."""

_ANSWER_SECONDS = 10.0
"""Longest wait for one answer of a service."""

_THREADS = 16
_SHOWN_CHARACTERS = 300


BeforeRuns = Literal["fail", "warn"]
"""What a failure does before a run: the run could do nothing at all, or does less."""


@dataclass(frozen=True)
class Finding:
    """What a check found; `remedy` is one command or setting that mends it."""

    state: CheckState
    found: str
    remedy: str = ""


def good(found: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding("ok", found)


def warning(found: str, remedy: str) -> Finding:
    """Return a finding that users should know, while jobs work."""
    return Finding("warning", found, remedy)


def failure(found: str, remedy: str) -> Finding:
    """Return a finding that keeps a job from working."""
    return Finding("failure", found, remedy)


class Checkup:
    """What the checks of one pass share: the settings, and each service opened once.

    The check that is named after a service opens it, and all others that use it need
    that check. Close it, or use it in a `with` statement.
    """

    def __init__(self, settings: Settings, stash: StashClient | None = None) -> None:
        self.settings = settings
        self._given_stash = stash
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @cached_property
    def stash(self) -> StashClient:
        """The Stash server that is mirrored; reads are not repeated.

        Raises:
            ConfigurationError: No server is set, or the address is wrong.
        """
        if self._given_stash is not None:
            return self._given_stash
        stash = self.settings.stash
        limit = min(stash.timeout_seconds, _ANSWER_SECONDS)
        client = StashClient(
            stash.model_copy(update={"timeout_seconds": limit}),
            retry_delays_seconds=(),
        )
        return self._resources.enter_context(client)

    @cached_property
    def scan_rules(self) -> ScanRules:
        """Which files Stash's scan takes as videos, and where.

        Raises:
            StashHogError: Stash does not answer.
        """
        return self.stash.scan_rules()

    @cached_property
    def database(self) -> Database:
        """The database, whatever its schema is; the embedded server is started.

        Raises:
            ConfigurationError: The server does not answer, or does not start.
        """
        return self._resources.enter_context(connect_database(self.settings))


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: How users see the check, such as `Stash`.
        run: Returns the finding; None: the check does not apply to these settings. An
            error of ours that it raises is a failure in the words of the error.
        needs: Names of earlier checks; if one of them fails, or does not apply, this
            check is not made.
        is_quick: Whether the check takes a few cheap calls and waits for nothing, so
            that `stashhog status` makes it.
        before_runs: Whether each run of the main job makes this check before it changes
            anything, and what a failure does there; None: it does not.
    """

    name: str
    run: Callable[[Checkup], Finding | None]
    needs: tuple[str, ...] = ()
    is_quick: bool = False
    before_runs: BeforeRuns | None = None


def run_checks(
    checkup: Any,
    checks: Sequence[Check],
    limit_seconds: float = LIMIT_SECONDS,
) -> list[CheckLine]:
    """Make checks, several at once, and return what they found, in their order.

    A check that does not come to an end in time is a failure, and nobody waits for it.

    Args:
        checkup: What the checks share.
        checks: The checks; each comes after those that it needs.
        limit_seconds: Longest duration of all checks together.
    """
    deadline = time.monotonic() + limit_seconds
    made: dict[str, Future[CheckLine | None]] = {}
    with Background(min(_THREADS, len(checks) or 1), "check") as background:
        for check in checks:
            # Calls begin in this order: a check only ever waits for earlier ones.
            needed = [made[name] for name in check.needs if name in made]
            made[check.name] = background.submit(
                partial(_make, check, checkup, needed, deadline)
            )
        lines = [
            _within(deadline, check, future)
            for check, future in zip(checks, made.values(), strict=True)
        ]
    return [line for line in lines if line is not None]


def summarized(lines: Sequence[CheckLine]) -> ChecksResult:
    """Return the result of the job from the lines of its checks."""
    counts = {state: sum(line.state == state for line in lines) for state in _STATES}
    has_trouble = counts["failure"] or counts["warning"]
    return ChecksResult(
        status="completed_with_errors" if has_trouble else "completed",
        passed=counts["ok"],
        warnings=counts["warning"],
        failed=counts["failure"],
        skipped=counts["skipped"],
        checks=tuple(lines),
    )


_STATES: tuple[CheckState, ...] = ("ok", "warning", "failure", "skipped")


def _make(
    check: Check,
    checkup: Any,
    needed: Iterable[Future[CheckLine | None]],
    deadline: float,
) -> CheckLine | None:
    for future in needed:
        try:
            line = future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return _skipped(check, "an earlier check")
        if line is None:
            return None
        if line.state in {"failure", "skipped"}:
            return _skipped(check, f"the check {line.name}")
    try:
        finding = check.run(checkup)
    except StashHogError as error:
        finding = failure(worded(error), error.remedy)
    except Exception as error:  # noqa: BLE001 - it stays the error of this check
        finding = failure(_first_line(error), "report this error of StashHog")
    if finding is None:
        return None
    return CheckLine(name=check.name, **vars(finding))


def _first_line(error: Exception) -> str:
    return unexpected(error).splitlines()[0][:_SHOWN_CHARACTERS]


def worded(error: StashHogError) -> str:
    """Return what an error says, without its remedy."""
    return f"{error.what} ({error.where})" if error.where else error.what


def _skipped(check: Check, needed: str) -> CheckLine:
    return CheckLine(
        name=check.name, state="skipped", found=f"not checked, because {needed} failed"
    )


def _within(
    deadline: float, check: Check, future: Future[CheckLine | None]
) -> CheckLine | None:
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return CheckLine(
            name=check.name,
            state="failure",
            found="the check did not end in time",
            remedy="see whether a disk or server hangs, and check again",
        )


def require_ready(checkup: Checkup, checks: Sequence[Check]) -> list[str]:
    """Make the checks that come before a run; return a sentence for each problem.

    Raises:
        ConfigurationError: The run could do nothing at all.
    """
    chosen = {check.name: check for check in checks if check.before_runs}
    problems = []
    for line in run_checks(checkup, tuple(chosen.values())):
        if line.state != "failure":
            continue
        if chosen[line.name].before_runs == "fail":
            raise ConfigurationError(line.found, remedy=line.remedy)
        problems.append(f"{line.found}: {line.remedy}")
    return problems
