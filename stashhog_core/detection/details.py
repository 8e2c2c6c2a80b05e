"""Detector `details`: the scene's text without HTML, entities and stray spaces."""

import html
import re

from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.plans.proposals import Proposal, set_text

NAME = "details"
VERSION = "1"

# Only what is surely HTML: `I <3 you` and `a < b` are the author's own words.
_INLINE = "a|abbr|b|big|code|em|font|i|img|mark|s|small|span|strike|strong|sub|sup|tt|u"
_BLOCK = "blockquote|div|h[1-6]|hr|li|ol|p|pre|section|table|tbody|td|th|tr|ul"
_HIDDEN = re.compile(
    r"<(script|style)\b[^<>]*>.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL
)
_BREAK = re.compile(r"<br\b[^<>]*>", re.IGNORECASE)
_PARAGRAPH = re.compile(rf"</?(?:{_BLOCK})\b[^<>]*>", re.IGNORECASE)
_MARKUP = re.compile(rf"</?(?:{_INLINE})\b[^<>]*>", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")


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
    """Return `text` as plain text; cleaning it again changes nothing.

    Sites escape their text once too often (`&amp;amp;`), so it is cleaned until
    nothing is left to clean.
    """
    before = None
    while text != before:
        before = text
        text = _cleaned_once(text)
    return text


def _cleaned_once(text: str) -> str:
    text = html.unescape(_without_markup(text))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u200b", "")
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _without_markup(text: str) -> str:
    text = _HIDDEN.sub("", text)
    text = _BREAK.sub("\n", text)
    text = _PARAGRAPH.sub("\n\n", text)
    return _MARKUP.sub("", text)
