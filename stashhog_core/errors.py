"""Every error of the product, sorted by what the caller should do.

StashHogError
├── ConfigurationError  never retry: a setting, credential, schema or permission
├── TransientError      retry with back-off: connection, 5xx, 429, deadlock
│   └── BusyError       the server says itself that it is too busy to do this now
├── JobError            this step has failed
│   ├── RefusedError    the server has understood the request and says no
│   ├── UnreadableError the answer says neither yes nor no
│   └── Deferred        a service it needs is away: put off, nothing is lost
├── ItemError           record it and go on with the next item
└── JobCancelled        a stop was asked for; leave at once, keep what is finished

Foreign exceptions become one of these once, at the edge where they arise.
"""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stashhog_core.redaction import without_secrets

_SHOWN_CHARACTERS = 60
_MOST_CHARACTERS = 500


def storable(text: str) -> str:
    """Return a text that a database, a file and a terminal take.

    What servers said is part of errors, and may hold halves of characters or the
    character 0.
    """
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


def _in_a_line(text: str) -> str:
    line = " ".join(text.split()) if "\n" in text or "\r" in text else text
    if len(line) <= _MOST_CHARACTERS:
        return line
    half = _MOST_CHARACTERS // 2
    return f"{line[:half]} … {line[-half:]}"


class StashHogError(Exception):
    """One sentence for the user: what happened, where, and how to mend it.

    All arguments go to `Exception`, so that errors survive pickling between
    processes. None of them holds a secret, whatever address or text of others was
    put into them: errors come to stand in logs, results and artifacts. For the same
    reason each is one line, and what others said is cut if it is long.
    """

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        what, where, remedy = (
            _in_a_line(without_secrets(part)) for part in (what, where, remedy)
        )
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.what} ({self.where})" if self.where else self.what
        return storable(f"{text}: {self.remedy}" if self.remedy else text)


class ConfigurationError(StashHogError):
    """A setting, credential, schema or permission is wrong; retrying cannot help."""


class TransientError(StashHogError):
    """Something outside is away for now; the same call may succeed later."""


class BusyError(TransientError):
    """The server says that it is too busy for this request, which is over with that."""


class JobError(StashHogError):
    """This step failed and cannot go on."""


class RefusedError(JobError):
    """The server has understood the request, worked on it, and says no.

    The request is over: nothing more will come of it later. Part of it may have come
    about all the same (Stash commits before it builds its answer), so whoever changes
    something reads afterwards what there is.
    """


class UnreadableError(JobError):
    """The answer is none of the server's: a page of a proxy, empty, cut off.

    Whether the request was carried out is unknown, and it may still be.
    """


class Deferred(JobError):  # noqa: N818 - a state more than a fault
    """A service that this step needs is away; what it should do stays to be done.

    Not transient: its own short retries are over, and the next scheduled run comes.
    """


class OutputError(JobError):
    """What is printed cannot be written. What was done stays."""


class ItemError(StashHogError):
    """One item failed (`where` names it); the others go on."""


class JobCancelled(StashHogError):  # noqa: N818 - it is no error
    """The run was asked to stop. Finished parts stay as they are."""


def unexpected(error: Exception) -> str:
    """Return the words for an error that nobody foresaw, for a report."""
    text = without_secrets(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_transient(error: BaseException) -> bool:
    """Tell whether the same call may succeed later."""
    return isinstance(error, TransientError)


def first_problem(error: ValidationError) -> str:
    """Return what is wrong with the first of the values that are refused."""
    return problem_text(error.errors()[0])


def problem_text(problem: ErrorDetails) -> str:
    """Return what is wrong with one value."""
    # Pydantic puts this before what our own validators say.
    return problem["msg"].removeprefix("Value error, ")


def refused_value(
    error: ValidationError, what: str, whose: str = ""
) -> ConfigurationError:
    """Return the error for the first of several named values that is refused.

    Args:
        error: What was found.
        what: What such a value is: parameter, option, field.
        whose: What has the values, perhaps.
    """
    first = error.errors()[0]
    of = f" of {whose}" if whose else ""
    if not first["loc"]:
        # Found by a rule about several values, or the name is no text.
        is_rule = first["type"] == "value_error"
        text = f"The {what}s{of} do not fit" if is_rule else f"A {what}{of} is wrong"
        return ConfigurationError(text, remedy=problem_text(first))
    name = shown(first["loc"][0]).strip("'")
    match first["type"]:
        case "missing":
            return ConfigurationError(
                f"The {what} {name}{of} is missing", remedy="give it a value"
            )
        case "extra_forbidden":
            return ConfigurationError(
                f"There is no {what} {name}{of}", remedy="leave it out"
            )
    return ConfigurationError(
        f"The {what} {name}{of} cannot be {shown(first['input'])}",
        remedy=problem_text(first),
    )


def shown(value: object) -> str:
    """Return a value for a sentence; long ones are cut."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "the given value"
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return text[: _SHOWN_CHARACTERS - 1] + "…"
