"""Detector `details`: removes HTML, entities and extra spaces from the details."""

import html
import re

from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.plans.proposals import Proposal, set_text

NAME = "details"
VERSION = "1"

# Only known HTML tags: `I <3 you` and `a < b` are text.
_INLINE = "a|abbr|b|big|code|em|font|i|img|mark|s|small|span|strike|strong|sub|sup|tt|u"
_BLOCK = "blockquote|div|h[1-6]|hr|li|ol|p|pre|section|table|tbody|td|th|tr|ul"
# What has an end is not shown. One expression for begin and end would look for the end
# of each begin in the whole text.
_HIDDEN = re.compile(r"<(script|style)\b[^<>]*>|<!--", re.IGNORECASE)
_HIDDEN_ENDS = {
    "script": re.compile(r"</script\s*>", re.IGNORECASE),
    "style": re.compile(r"</style\s*>", re.IGNORECASE),
    "": re.compile("-->"),
}
_BREAK = re.compile(r"<br\b[^<>]*>", re.IGNORECASE)
_PARAGRAPH = re.compile(rf"</?(?:{_BLOCK})\b[^<>]*>", re.IGNORECASE)
_MARKUP = re.compile(rf"</?(?:{_INLINE})\b[^<>]*>", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_MOST_ROUNDS = 20


def propose(scene: SceneFacts) -> list[Proposal]:
    """Return the cleaned details, if they differ."""
    cleaned = clean(scene.details)
    if not scene.details or cleaned == scene.details:
        return []
    evidence = {
        "rule": "markup, entities and spaces removed",
        "characters_before": len(scene.details),
        "characters_after": len(cleaned),
    }
    return [set_text("details", scene.details, cleaned, 0.95, NAME, evidence)]


def clean(text: str) -> str:
    """Return `text` as plain text; cleaning the result again changes nothing.

    Some sites escape their text twice (`&amp;amp;`), so cleaning is repeated until
    nothing changes. No site does so twenty times: such a text stays as it is.
    """
    before = text
    for _ in range(_MOST_ROUNDS):
        cleaned = _cleaned_once(before)
        if cleaned == before:
            return cleaned
        before = cleaned
    return text


def _cleaned_once(text: str) -> str:
    text = html.unescape(_without_markup(text))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u200b", "")
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _without_markup(text: str) -> str:
    text = _without_hidden(text)
    text = _BREAK.sub("\n", text)
    text = _PARAGRAPH.sub("\n\n", text)
    return _MARKUP.sub("", text)


def _without_hidden(text: str) -> str:
    kept = []
    at = 0
    endless = set()
    for begin in _HIDDEN.finditer(text):
        kind = (begin[1] or "").lower()
        if begin.start() < at or kind in endless:
            continue
        end = _HIDDEN_ENDS[kind].search(text, begin.end())
        if end is None:
            endless.add(kind)
        else:
            kept.append(text[at : begin.start()])
            at = end.end()
    return "".join([*kept, text[at:]])
