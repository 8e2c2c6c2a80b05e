"""What Stash says when a call to a stash-box failed, as one of our errors.

Stash answers HTTP 200 and one text, with what the stash-box said inside: as JSON with
the status and the errors, or as a sentence that repeats the whole answer. Stash loses
the header that says how long to wait.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from stashhog_core.errors import ConfigurationError, Deferred, ItemError, StashHogError

_SHOWN_CHARACTERS = 200

_OVERLOADED = {408, 429, 502, 503, 504}
_KEY_REFUSED = {401, 403}
_ABOUT_THE_KEY = re.compile(
    r"not authori[sz]ed|unauthori[sz]ed|api ?key|signature is invalid", re.IGNORECASE
)
_READ_LOG = "read the log of Stash"
_LATER = "the scenes stay unanalyzed, and the next run asks again"
_KEY = "check the API key of this stash-box in Stash under Settings, Metadata Providers"


def box_error(text: str, endpoint: str) -> StashHogError:
    """Return the error for what Stash said.

    Args:
        text: The words of Stash.
        endpoint: The stash-box that Stash asked.

    Returns:
        ConfigurationError: Stash does not know the stash-box, or the key is refused.
        Deferred: The stash-box is down or overloaded: no scene can be asked for now.
        ItemError: One of the scenes may be the reason, or the stash-box itself.
    """
    if "stash box not found" in text:
        return ConfigurationError(
            "Stash knows no stash-box with this address",
            where=endpoint,
            remedy="add the stash-box in Stash under Settings, Metadata Providers, or "
            "correct STASHHOG_STASH_BOX__ENDPOINTS",
        )
    failure = _failure_in(text)
    if failure is not None:
        return _of_answer(failure, endpoint)
    if "request failed: " in text:
        return _down("is unreachable", endpoint, _end_of(text))
    if "failed to decode data into response" in text:
        # Stash repeats the whole answer; the reason stands at the end.
        return ItemError(
            f"Stash cannot read what the stash-box knows ({_end_of(text)})",
            endpoint,
            _READ_LOG,
        )
    if "failed to decode data" in text:
        return _down("does not answer as a stash-box", endpoint, _end_of(text))
    return ItemError(
        f"Stash could not ask the stash-box ({_cut(text)})", endpoint, _READ_LOG
    )


def _of_answer(failure: Mapping[str, Any], endpoint: str) -> StashHogError:
    network = failure.get("networkErrors")
    code = network.get("code") if isinstance(network, dict) else None
    words = "; ".join(_messages(failure)) or f"status {code}"
    if code in _KEY_REFUSED or (code is None and _ABOUT_THE_KEY.search(words)):
        return ConfigurationError(
            f"The stash-box refuses the API key that Stash has ({_cut(words)})",
            where=endpoint,
            remedy=_KEY,
        )
    if code in _OVERLOADED:
        return _down("limits requests or is overloaded", endpoint, f"status {code}")
    return ItemError(f"The stash-box failed ({_cut(words)})", endpoint, _READ_LOG)


def _down(how: str, endpoint: str, words: str) -> Deferred:
    return Deferred(f"The stash-box {how} ({words})", where=endpoint, remedy=_LATER)


def _failure_in(text: str) -> dict[str, Any] | None:
    """Return the JSON of the text that says what failed; None: there is none."""
    start = text.find('{"networkErrors"')
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        # Cut, or with something hidden in it: the status is near the beginning.
        code = re.match(r'{"networkErrors":{"code":(\d+)', text[start:])
        return {"networkErrors": {"code": int(code[1])}} if code else {}
    return found if isinstance(found, dict) else {}


def _messages(failure: Mapping[str, Any]) -> Iterator[str]:
    errors = failure.get("graphqlErrors")
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            yield error["message"]


def _end_of(text: str) -> str:
    """Return the last words of a text that may repeat a whole answer before."""
    words = " ".join(text[-_SHOWN_CHARACTERS:].split())
    return words.rpartition(": ")[2] or words


def _cut(text: str) -> str:
    words = " ".join(text.split())
    if len(words) <= _SHOWN_CHARACTERS:
        return words
    return words[: _SHOWN_CHARACTERS - 1] + "…"
