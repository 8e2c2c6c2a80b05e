"""Detector `release`: the date and the studio's code in the name of a file.

Numbers such as 03.05.2021 can be read in several orders. The other scenes of the studio
prove the order, where their dates are known; without a proof the usual order is
proposed with a lower confidence. The studio's other codes show how its codes look.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import Scene, SceneFile
from stashhog_core.detection.scene_facts import SceneFacts, file_stem
from stashhog_core.plans.proposals import Proposal, set_text

NAME = "release"
VERSION = "2"

FIRST_YEAR = 1960
_FIRST_COMMON_YEAR = 2006

Order = Literal["ymd", "dmy", "mdy"]
Form = Literal["year first", "year last", "short"]
"""2021-05-03; 03.05.2021; 21.05.03."""

_SCENES_OF_A_STUDIO = 300
_LEAST_DATES = 2
_LEAST_SHARE = 0.9

_ORDERS: Mapping[Form, tuple[Order, ...]] = {
    "year first": ("ymd",),
    "year last": ("dmy", "mdy"),
    "short": ("ymd", "dmy", "mdy"),
}
_DIGIT = re.compile(r"\d")
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBERS = re.compile(
    r"(?<!\d)(?:(?P<y1>(?:19|20)\d\d)(?P<s1>[-._ ])(?P<a1>\d\d?)(?P=s1)(?P<b1>\d\d?)"
    r"|(?P<a2>\d\d?)(?P<s2>[-._ ])(?P<b2>\d\d?)(?P=s2)(?P<y2>(?:19|20)\d\d)"
    r"|(?<![^\W_])(?P<a3>\d\d)(?P<s3>[-._ ])(?P<b3>\d\d)(?P=s3)(?P<c3>\d\d))(?!\d)"
)
_COMPACT = re.compile(
    r"(?<![^\W_])(?P<y>(?:19|20)\d\d)(?P<m>\d\d)(?P<d>\d\d)(?![^\W_])"
)
# As used in East Asia: 210503 in a name that is written in an Asian script.
_SIX_DIGITS = re.compile(r"(?<![^\W_])(?P<y>\d\d)(?P<m>\d\d)(?P<d>\d\d)(?![^\W_])")
_ASIAN = re.compile(r"[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
# Not those of `calendar`, which follow the language of the machine.
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"
_MONTH = (
    r"(?P<m>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?"
    r"|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_NAMED_MONTHS = (
    re.compile(
        rf"(?<![^\W_])(?P<d>\d\d?)(?:st|nd|rd|th)?[\s._-]*{_MONTH}[\s._,-]*"
        r"(?P<y>(?:19|20)\d\d)(?![^\W_])",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?<![^\W_]){_MONTH}[\s._-]*(?P<d>\d\d?)(?:st|nd|rd|th)?[\s._,-]+"
        r"(?P<y>(?:19|20)\d\d)(?![^\W_])",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?<!\d)(?P<y>(?:19|20)\d\d)[\u5e74\ub144]\s?(?P<m>\d\d?)[\u6708\uc6d4]\s?"
        r"(?P<d>\d\d?)[\u65e5\u53f7\uc77c]"
    ),
)
# Numbers after these words count something.
_COUNTED = re.compile(
    r"(?<![^\W_])(?:vol|volumes?|v|ver|versions?|parts?|pt|eps?|episodes?|chapters?|ch"
    r"|no|nr|numbers?|dis[ck]s?|cds?|dvds?|top|scenes?|seasons?|lessons?|levels?|pages?"
    r"|rooms?|channels?|sizes?|rounds?|takes?|sets?|issues?|series|build|release|size"
    r"|ratio|ip|score)[\s._#-]*$",
    re.IGNORECASE,
)

_CODE = re.compile(
    # At the start, after a site's address, in brackets, or a part of its own.
    r"(?:^|@|[\[({\u3010]|[\])}\u3011]\s*|\s[-\u2013]\s)"
    r"(?P<code>(?P<prefix>[A-Z]{2,6}(?:\d[A-Z]{2,5}|\d?(?:-[A-Z]{2,5})?))"
    r"-(?P<number>\d{3,7}))"
    r"(?=$|[\])}\u3011]|[ ._-](?!\d)|[\u3041-\u9fff\uac00-\ud7a3])"
)
# In small letters before a name in an Asian script.
_SMALL_CODE = re.compile(
    r"^(?P<code>(?P<prefix>[a-z]{2,6})-(?P<number>\d{3,5}))"
    r"(?=[ _]?[\u3041-\u9fff\uac00-\ud7a3])"
)
_ANY_CODE = re.compile(
    r"(?<![^\W_])(?P<prefix>[a-z]{2,6})(?P<sign>[-_ ]?)(?P<number>\d{2,7})(?![^\W_])",
    re.IGNORECASE,
)
# Parts, qualities, cameras, vehicles and standards that are written like codes.
_NO_CODES = re.compile(
    "AIRBUS|AREA|AUDI|AVC|BD|BMW|BOEING|BOOK|CAM|CANON|CATCH|CD|CH|CHANNEL|CLASS|CLIP"
    "|COVID|DAY|DJI|DSCN?|DVD|EP|FHD|FILE|FLIGHT|GOPR|GOPRO|GROUP|HD|HDTV|HEVC|HIGHWAY"
    "|IMG|ISO|LEVEL|MIG|MOV|MP4?|MVI|NIKON|NO|NR|PAGE|PART|ROOM|ROUTE|SARS|SCENE|SD"
    "|SONG|SONY|TAKE|TEST|TOP|TRACK|TV|UFC|UHD|UNIT|VID|VOL|VR|WEB|WEBDL|WEEK|WINDOWS"
    "|WWE|XXX|YEAR"
)
_YEAR_OR_LINES = re.compile(r"(?:19|20)\d\d|1080|1440|2160|4320")


@dataclass(frozen=True)
class StudioHabits:
    """What the other scenes of a studio prove.

    Attributes:
        orders: The order of the studio's dates, by the form of the date.
        codes: Codes of the studio's scenes.
    """

    orders: Mapping[Form, Order] = field(default_factory=dict)
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Date:
    day: date
    start: int
    end: int
    confidence: float
    facts: Mapping[str, Any]


def propose(
    scene: SceneFacts,
    today: date | None = None,
    habits: Callable[[], StudioHabits] | None = None,
) -> list[Proposal]:
    """Return the date and the code of the file name, if the scene lacks them.

    Args:
        scene: The scene.
        today: Later dates are none; None: the current day.
        habits: Returns what the studio's other scenes prove; only called if the name
            has numbers that may be a date or a code.
    """
    name = scene.file_name
    if not _DIGIT.search(name):
        return []
    known = StudioHabits()
    if habits and (_NUMBERS.search(name) or _ANY_CODE.search(name)):
        known = habits()
    today = today or datetime.now(UTC).date()
    proposals = []
    if not scene.date:
        found = list(_dates(name, today, known))
        # With two different dates it is unclear which date is meant.
        if len({one.day for one in found}) == 1:
            best = max(found, key=lambda one: one.confidence)
            evidence = {
                "rule": "date in the file name",
                "text": name,
                "span": [best.start, best.end],
                **best.facts,
            }
            proposals.append(
                set_text(
                    "date", "", best.day.isoformat(), best.confidence, NAME, evidence
                )
            )
    if not scene.code and (code := _code(name, known)):
        text, span, confidence, reason = code
        evidence = {
            "rule": "code in the file name",
            "reason": reason,
            "text": name,
            "span": list(span),
        }
        proposals.append(set_text("code", "", text, confidence, NAME, evidence))
    return proposals


def _dates(name: str, today: date, habits: StudioHabits) -> Iterator[_Date]:
    numeric = [
        (match, found)
        for match in _NUMBERS.finditer(name)
        if (found := _numeric_date(name, match, today, habits)) is not None
    ]
    # Beside a date with its whole year, numbers such as 10.11.12 are a time.
    whole = [found for match, found in numeric if not match["s3"]]
    yield from whole or [found for _, found in numeric]
    if _YEAR.search(name):
        for pattern in (_COMPACT, *_NAMED_MONTHS):
            for match in pattern.finditer(name):
                yield from _written_date(match, int(match["y"]), today)
    if _ASIAN.search(name):
        for match in _SIX_DIGITS.finditer(name):
            yield from _written_date(match, 2000 + int(match["y"]), today)


def _written_date(match: re.Match[str], year: int, today: date) -> Iterator[_Date]:
    month = match["m"]
    number = (
        int(month) if month.isdecimal() else _MONTHS.index(month[:3].lower()) // 3 + 1
    )
    if day := _valid(year, number, int(match["d"]), today):
        yield _Date(day, match.start(), match.end(), 0.9, {})


def _numeric_date(
    name: str, match: re.Match[str], today: date, habits: StudioHabits
) -> _Date | None:
    form, readings = _readings(match, today)
    sign = match["s1"] or match["s2"] or match["s3"]
    before, after = name[: match.start()], name[match.end() :]
    word = re.search(rf"([^\W\d_]{{2,}})?(\d*){re.escape(sign)}$", before)
    # A site's name may end in a number: `Site18.21.05.03`, but not `Vol2.21.05.03`.
    after_word = word is not None and (
        word[1] is not None and not (word[2] and _COUNTED.search(word[1]))
    )
    longer = (word is not None and word[2] and not after_word) or re.match(
        rf"{re.escape(sign)}\d{{1,3}}(?![^\W_])", after
    )
    if not readings or longer:
        return None
    if form == "short" and (
        _COUNTED.search(before[-30:]) or (sign == " " and not after_word)
    ):
        return None
    order = habits.orders.get(form)
    usual = next(iter(readings.values()))
    others = sorted(
        {day.isoformat() for day in readings.values()} - {usual.isoformat()}
    )
    place = match.start(), match.end()
    if not others:
        return _Date(usual, *place, 0.9, {})
    if order in readings:
        grounds = {"reason": "the order of the studio's other dates"}
        return _Date(readings[order], *place, 0.9, grounds)
    release = form == "short" and sign in ". " and after_word
    if form == "short" and not release and usual.year < _FIRST_COMMON_YEAR:
        # 03.05.21 is rather of 2021 than of 2003.
        usual = next((d for d in readings.values() if d.year >= 2010), usual)
        others = sorted(
            {d.isoformat() for d in readings.values()} - {usual.isoformat()}
        )
    confidence = 0.88 if release else 0.74
    facts = {"reason": "the usual order", "may also be": ", ".join(others)}
    return _Date(usual, *place, confidence, facts)


def _readings(match: re.Match[str], today: date) -> tuple[Form, dict[Order, date]]:
    """Return the form of a date and its possible days, the usual order first."""
    groups = match.groupdict()
    form: Form = "short"
    if groups["y1"]:
        form, numbers = "year first", [groups["y1"], groups["a1"], groups["b1"]]
    elif groups["y2"]:
        form, numbers = "year last", [groups["a2"], groups["b2"], groups["y2"]]
    else:
        numbers = [groups["a3"], groups["b3"], groups["c3"]]
    readings: dict[Order, date] = {}
    for order in _ORDERS[form]:
        values = dict(zip(order, map(int, numbers), strict=True))
        years = [values["y"]]
        if form == "short":
            years = [2000 + values["y"], 1900 + values["y"]]
        for year in years:
            if day := _valid(year, values["m"], values["d"], today):
                readings[order] = day
                break
    if form == "short":
        # A year of this century is meant wherever one is possible.
        recent = {o: d for o, d in readings.items() if d.year >= 2000}
        readings = recent or readings
    return form, readings


def _valid(year: int, month: int, day: int, today: date) -> date | None:
    try:
        found = date(year, month, day)
    except ValueError:
        return None
    return found if year >= FIRST_YEAR and found <= today else None


def _code(
    name: str, habits: StudioHabits
) -> tuple[str, tuple[int, int], float, str] | None:
    """Return the code of a file's name, its place, the confidence and the reason."""
    layouts = {layout: code for code in habits.codes if (layout := _layout_of(code))}
    for match in _ANY_CODE.finditer(name) if layouts else ():
        prefix, number = match["prefix"].casefold(), match["number"]
        like = next(
            (
                code
                for (known, digits), code in layouts.items()
                if known == prefix and abs(digits - len(number)) <= 1
            ),
            None,
        )
        if like is not None:
            shape = _ANY_CODE.fullmatch(like)
            upper = like.upper() == like
            sign = shape["sign"] if shape else "-"
            text = f"{match['prefix'].upper() if upper else prefix}{sign}{number}"
            return text, match.span(), 0.9, f"like the studio's code {like}"
    found = _CODE.search(name) or _SMALL_CODE.search(name)
    if (
        found is not None
        and not _NO_CODES.fullmatch(found["prefix"].upper())
        and not _YEAR_OR_LINES.fullmatch(found["number"])
    ):
        code = found["code"].upper()
        return code, found.span("code"), 0.85, "first or a part of its own"
    return None


def _layout_of(code: str) -> tuple[str, int] | None:
    match = _ANY_CODE.fullmatch(code)
    return (match["prefix"].casefold(), len(match["number"])) if match else None


def read_habits(session: Session, studio_id: int) -> StudioHabits:
    """Return what the newest scenes of a studio prove, in one query."""
    rows = session.execute(
        select(Scene.date, Scene.code, SceneFile.path)
        .join(SceneFile, (SceneFile.scene_id == Scene.id) & (SceneFile.position == 0))
        .where(
            Scene.studio_id == studio_id,
            Scene.missing_since.is_(None),
            or_(Scene.date.is_not(None), Scene.code != ""),
        )
        .order_by(Scene.id.desc())
        .limit(_SCENES_OF_A_STUDIO)
    ).all()
    dated = [(path, day) for day, _, path in rows if day]
    return StudioHabits(
        orders=verified_orders(dated),
        codes=tuple({code for _, code, _ in rows if code}),
    )


def verified_orders(dated: list[tuple[str, str]]) -> dict[Form, Order]:
    """Return the order that almost all files show whose dates are known.

    Args:
        dated: The path of each file, and the date of its scene as YYYY-MM-DD.
    """
    votes: defaultdict[Form, Counter[Order]] = defaultdict(Counter)
    for path, day in dated:
        for match in _NUMBERS.finditer(file_stem(path)):
            form, readings = _readings(match, date.max)
            # A day such as 05.05.2021 proves nothing.
            fitting = [o for o, found in readings.items() if found.isoformat() == day]
            if len(fitting) == 1:
                votes[form][fitting[0]] += 1
    verified: dict[Form, Order] = {}
    for form, counts in votes.items():
        order, count = counts.most_common(1)[0]
        if count >= _LEAST_DATES and count >= _LEAST_SHARE * counts.total():
            verified[form] = order
    return verified
