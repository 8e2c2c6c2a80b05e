"""Detector `stash_box`: what the stash-boxes that Stash knows have about a scene.

Stash, which has the keys, asks a stash-box by the hashes of the scene's files, for 40
scenes in one request. The answers are kept by the hashes, with the time when each
stash-box was asked. `match_evidence` judges the scenes that come back, and
`remote_names` finds the names in the library. Nothing is submitted to a stash-box.
"""

import hashlib
import re
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import SceneFingerprint
from stashhog_core.db.pictures import picture_key, store_pictures
from stashhog_core.db.session import Database
from stashhog_core.detection.match_evidence import (
    Match,
    has_phash,
    judge,
    phash_number,
)
from stashhog_core.detection.readers import BatchReader, Output, StashNames
from stashhog_core.detection.remote_names import Found, RemoteKind, RemoteNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.errors import ConfigurationError, Deferred, ItemError
from stashhog_core.media.covers import (
    CoverFacts,
    NoCoverError,
    cover_content,
    read_cover,
)
from stashhog_core.plans.proposals import (
    MATCH,
    RIVALS,
    BoxIdValue,
    CoverValue,
    NamedValue,
    Proposal,
    TextField,
    add_box_id,
    add_url,
    remove_member,
    set_cover,
    set_text,
)
from stashhog_core.plans.rejections import rejected_matches
from stashhog_core.settings.stash_box import BoxField, StashBoxSettings
from stashhog_core.stash.box_payloads import (
    RemotePerformer,
    RemoteScene,
    RemoteSceneWithCover,
)
from stashhog_core.stash.client import StashClient

NAME = "stash_box"

SCENES_PER_REQUEST = 40
"""Stash sends the hashes of so many scenes in one request to a stash-box."""

SHOWN_CANDIDATES = 5
"""So many candidates of one stash-box are proposed, the most certain ones."""

SHARED_BY = 3
"""A perceptual hash that more scenes have proves nothing: a black intro, a still."""

LEAST_FOR_AN_OUTAGE = 10
"""If each of at least so many scenes fails by itself, the stash-box is to blame."""

_RULE = "match at a stash-box"
_TEXTS: tuple[TextField, ...] = ("title", "code", "date", "details", "director")
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


@dataclass(frozen=True)
class _Candidate:
    """A scene of a stash-box, and what speaks for it."""

    endpoint: str
    remote: RemoteScene
    match: Match

    @property
    def box_id(self) -> BoxIdValue:
        """The id of the candidate."""
        return BoxIdValue(self.endpoint, self.remote.remote_site_id or "")

    @property
    def title(self) -> str:
        """What a reviewer calls the candidate."""
        return self.remote.title or self.remote.code or self.box_id.stash_id

    def evidence(self, others: Sequence["_Candidate"]) -> dict[str, Any]:
        """Return why something is proposed, beside these other candidates."""
        evidence: dict[str, Any] = {
            "rule": _RULE,
            MATCH: self.box_id.as_text,
            "scene": self.title,
            **self.match.evidence,
        }
        if others:
            evidence[RIVALS] = [c.title for c in others[:SHOWN_CANDIDATES]]
        return evidence


class StashBox(BatchReader):
    """Asks the stash-boxes of Stash about scenes.

    Args:
        settings: Which stash-boxes, how often, and what is proposed of each field.
        stash: Asks the stash-boxes.
        database: The mirror, with the names and the hashes of the library.
        now: Returns the time.
    """

    name = NAME
    version = "1"

    def __init__(
        self,
        settings: StashBoxSettings,
        stash: StashClient,
        database: Database,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._stash = stash
        self._database = database
        self._now = now
        self._requests = 0
        self._rejected: Mapping[int, set[str]] = {}
        self._worthless: Collection[int] = ()

    @property
    def configuration(self) -> str:
        """Whether covers are kept: those that are wanted now are in no earlier answer.

        Each answer says which stash-box was asked, and when.
        """
        return "covers" if self._wants_covers else ""

    @property
    def _wants_covers(self) -> bool:
        # Stash cannot be without a cover again: a missing one is never proposed.
        return self._settings.strategy("cover") == "overwrite"

    @property
    def batch_size(self) -> int:
        """Number of scenes in one request."""
        return SCENES_PER_REQUEST

    def costs(self) -> Mapping[str, float | str]:
        """Return the number of requests to Stash."""
        return {"requests": self._requests} if self._requests else {}

    @cached_property
    def endpoints(self) -> list[str]:
        """The stash-boxes to ask, as Stash names them, in their order.

        Raises:
            ConfigurationError: Stash knows none, or lacks one of the settings.
        """
        known = {box.casefold(): box for box in self._stash.stash_boxes()}
        wanted = [box.casefold() for box in self._settings.endpoints] or list(known)
        listed = ", ".join(known.values()) or "none"
        if lacking := [box for box in wanted if box not in known]:
            raise ConfigurationError(
                "Stash knows no stash-box with this address",
                where=lacking[0],
                remedy="correct STASHHOG_STASH_BOX__ENDPOINTS, or add the stash-box in "
                f"Stash under Settings, Metadata Providers (Stash knows: {listed})",
            )
        if not wanted:
            raise ConfigurationError(
                "Stash knows no stash-box to identify scenes at",
                where=self._stash.address,
                remedy="add one in Stash under Settings, Metadata Providers, or leave "
                "detect_fingerprints off",
            )
        return [known[box] for box in dict.fromkeys(wanted)]

    # --- asking ----------------------------------------------------------------------

    def cache_key(self, scene: SceneFacts, content: str | None) -> str | None:
        """Return what stands for all hashes of the scene; None: it is not asked for."""
        if not has_phash(scene.hashes):
            return None
        hashes = sorted({f"{h.kind}:{h.value}" for h in scene.hashes})
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    def needs_reading(self, scene: SceneFacts, known: Output | None) -> bool:
        """Tell whether a stash-box has to be asked: never without a usable phash."""
        return has_phash(scene.hashes) and super().needs_reading(scene, known)

    def is_complete(self, output: Output) -> bool:
        """Tell whether each stash-box was asked lately enough."""
        return not self._outstanding(output)

    def _outstanding(self, output: Output | None) -> list[str]:
        """Return the stash-boxes to ask."""
        oldest = _text_of(self._now() - timedelta(days=self._settings.days))
        asked = output or {}
        return [
            box
            for box in self.endpoints
            if box not in asked or asked[box]["asked"] < oldest
        ]

    def read_batch(
        self, scenes: Sequence[tuple[SceneFacts, Output | None]]
    ) -> list[Output | ItemError]:
        """Ask each stash-box about the scenes that it was not asked about lately."""
        outputs: list[dict[str, Any]] = [dict(known or {}) for _, known in scenes]
        failures: dict[int, ItemError] = {}
        outstanding = [set(self._outstanding(known)) for _, known in scenes]
        pictures: list[bytes] = []
        for box in self.endpoints:
            places = [at for at, boxes in enumerate(outstanding) if box in boxes]
            ids = {scenes[at][0].id: at for at in places}
            asked = _text_of(self._now())
            answers = list(self._ask(box, list(ids)))
            _require_any(box, [found for _, found in answers])
            for scene_id, found in answers:
                if isinstance(found, ItemError):
                    failures[ids[scene_id]] = found
                    continue
                rows = [_without_cover(remote) for remote in found]
                kept: dict[str, Any] = {"asked": asked, "scenes": rows}
                if covers := dict(_covers_of(found, pictures)):
                    kept["covers"] = covers
                outputs[ids[scene_id]][box] = kept
        if pictures:
            with self._database.transaction() as session:
                store_pictures(session, pictures)
        return [failures.get(at, output) for at, output in enumerate(outputs)]

    def _ask(
        self, box: str, ids: list[int]
    ) -> Iterator[tuple[int, Sequence[RemoteScene] | ItemError]]:
        """Yield what a stash-box has about each scene.

        One scene can make the whole call fail. Then each half is asked for by itself,
        until the scene is found.

        Raises:
            ConfigurationError: Stash does not know the stash-box, or its key is wrong.
            Deferred: The stash-box is down: no scene can be asked for now.
        """
        if not ids:
            return
        self._requests += 1
        try:
            found = self._stash.scrape_scenes(
                box,
                ids,
                timeout_seconds=self._settings.timeout_seconds,
                covers=self._wants_covers,
            )
        except ItemError as error:
            if len(ids) > 1:
                middle = len(ids) // 2
                yield from self._ask(box, ids[:middle])
                yield from self._ask(box, ids[middle:])
                return
            yield ids[0], error
            return
        yield from zip(ids, found, strict=True)

    def _created(
        self, field: RemoteKind, found: Found, candidate: _Candidate
    ) -> list[NamedValue]:
        """Return what Stash does not have, if the settings have it created."""
        if field not in self._settings.create_missing:
            return []
        return [
            NamedValue(
                None,
                (one.name or "").strip(),
                BoxIdValue(candidate.endpoint, one.remote_site_id),
                (one.disambiguation or "") if isinstance(one, RemotePerformer) else "",
            )
            for one in found.unknown
            if one.remote_site_id
        ]

    # --- proposing -------------------------------------------------------------------

    @cached_property
    def _names(self) -> RemoteNames:
        with self._database.transaction() as session:
            return RemoteNames(session)

    def prepare(self, scenes: Sequence[SceneFacts]) -> None:
        """Look up what people rejected, and which hashes prove nothing."""
        contents = {
            scene.id: [h.value for h in scene.hashes if h.kind == "oshash"]
            for scene in scenes
        }
        with self._database.transaction() as session:
            self._rejected = rejected_matches(session, contents)
            self._worthless = _shared_phashes(session, scenes)

    def propose(
        self, scene: SceneFacts, output: Output, names: StashNames
    ) -> list[Proposal]:
        """Return what the most certain candidates say that the scene lacks."""
        boxes = [
            (box, msgspec.convert(output[box]["scenes"], tuple[RemoteScene, ...]))
            for box in self.endpoints
            if box in output and output[box]["scenes"]
        ]
        if not boxes:
            return []
        found: list[Proposal] = []
        has_covers = self._wants_covers and not scene.organized
        current = self._cover_of(scene) if has_covers else None
        for box, remote in boxes:
            candidates = self._candidates(scene, box, remote)
            for candidate in candidates[:SHOWN_CANDIDATES]:
                others = [other for other in candidates if other is not candidate]
                made = self._of_candidate(scene, candidate, others)
                if has_covers:
                    covers = output[box].get("covers", {})
                    _add_cover(made, covers, current, candidate, others)
                found += made
        return _with_rivals(found)

    def _candidates(
        self,
        scene: SceneFacts,
        box: str,
        remote: Sequence[RemoteScene],
    ) -> list[_Candidate]:
        """Return the possible scenes of a stash-box, the most certain first."""
        own = scene.box_ids.get(box)
        rejected = self._rejected[scene.id]
        by_id = {one.remote_site_id: one for one in remote if one.remote_site_id}
        possible = [
            one
            for id_, one in by_id.items()
            if own in (None, id_) and BoxIdValue(box, id_ or "").key not in rejected
        ]
        count = len(possible)
        candidates = [
            _Candidate(
                box, one, judge(scene, one, candidates=count, worthless=self._worthless)
            )
            for one in possible
        ]
        return sorted(candidates, key=lambda c: -c.match.certainty)

    def _of_candidate(
        self, scene: SceneFacts, candidate: _Candidate, others: Sequence[_Candidate]
    ) -> list[Proposal]:
        """Return what a candidate says that the scene lacks.

        The first proposal tells which names Stash does not have.
        """
        evidence = candidate.evidence(others)
        people, studios, tags = (
            self._names.find(kind, given, candidate.endpoint)
            for kind, given in _names_of(candidate.remote).items()
        )
        made = [
            *self._box_id(scene, candidate, evidence),
            *self._texts(scene, candidate, evidence),
            *self._urls(scene, candidate, evidence),
            *self._studio(scene, studios, candidate, evidence),
            *self._members("performers", scene, people, candidate, evidence),
            *self._members("tags", scene, tags, candidate, evidence),
        ]
        if made:
            found: dict[RemoteKind, Found] = {
                "performers": people,
                "studio": studios,
                "tags": tags,
            }
            notes = _notes(found, self._settings.create_missing)
            made[0].evidence.update(notes)
        return made

    def _cover_of(self, scene: SceneFacts) -> CoverValue | None:
        """Return the cover that Stash has; None: none that could be restored."""
        content = self._stash.cover(scene.id)
        if content is None:
            return None
        try:
            facts = read_cover(content)
        except NoCoverError:
            # It is no picture that a person would want back.
            return None
        return _cover_value(content, facts)

    def _wants(self, field: BoxField) -> bool:
        return self._settings.strategy(field) != "ignore"

    def _overwrites(self, field: BoxField, scene: SceneFacts) -> bool:
        """Tell whether a value that Stash has may be replaced.

        Who marks a scene as organized has decided about its values.
        """
        return self._settings.strategy(field) == "overwrite" and not scene.organized

    def _box_id(
        self, scene: SceneFacts, candidate: _Candidate, evidence: dict[str, Any]
    ) -> Iterator[Proposal]:
        box_id = candidate.box_id
        if self._wants("stash_ids") and box_id.endpoint not in scene.box_ids:
            yield add_box_id(
                box_id.endpoint,
                box_id.stash_id,
                candidate.match.confidence,
                NAME,
                dict(evidence),
            )

    def _texts(
        self, scene: SceneFacts, candidate: _Candidate, evidence: dict[str, Any]
    ) -> Iterator[Proposal]:
        for field in _TEXTS:
            now = getattr(scene, field)
            text = (getattr(candidate.remote, field) or "").strip()
            if not text or text == now or not self._wants(field):
                continue
            if field == "date" and not is_date(text):
                continue
            if not now or self._overwrites(field, scene):
                yield set_text(
                    field, now, text, candidate.match.confidence, NAME, dict(evidence)
                )

    def _urls(
        self, scene: SceneFacts, candidate: _Candidate, evidence: dict[str, Any]
    ) -> Iterator[Proposal]:
        if self._wants("urls"):
            urls = [url.strip() for url in candidate.remote.urls or ()]
            for url in dict.fromkeys(urls):
                if url and url not in scene.urls:
                    yield add_url(url, candidate.match.confidence, NAME, dict(evidence))

    def _studio(
        self,
        scene: SceneFacts,
        found: Found,
        candidate: _Candidate,
        evidence: dict[str, Any],
    ) -> Iterator[Proposal]:
        studios = [*found.known, *self._created("studio", found, candidate)]
        if not studios or not self._wants("studio"):
            return
        studio, now = studios[0], scene.studio_id
        if now and (now == studio.id or not self._overwrites("studio", scene)):
            return
        base = NamedValue(now, self._names.name_of("studio", now)) if now else None
        confidence = candidate.match.confidence
        more = {**evidence, **_if_new(studio)}
        yield Proposal("studio", "set", base, studio, confidence, NAME, more)

    def _members(
        self,
        field: RemoteKind,
        scene: SceneFacts,
        found: Found,
        candidate: _Candidate,
        evidence: dict[str, Any],
    ) -> Iterator[Proposal]:
        if field == "studio" or not self._wants(field):
            return
        has = scene.tag_ids if field == "tags" else scene.performer_ids
        confidence = candidate.match.confidence
        for one in [*found.known, *self._created(field, found, candidate)]:
            if one.id not in has:
                more = {**evidence, **_if_new(one)}
                yield Proposal(field, "add", None, one, confidence, NAME, more)
        # Only if all names are found here: else what is meant would be removed.
        is_whole = bool(found.known) and not (found.unknown or found.conflicts)
        if is_whole and self._overwrites(field, scene):
            for member_id in sorted(has - {one.id for one in found.known}):
                name = self._names.name_of(field, member_id)
                yield remove_member(
                    field, member_id, name, confidence, NAME, dict(evidence)
                )


def _without_cover(remote: RemoteScene) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(remote)
    row.pop("image", None)
    return row


def _covers_of(
    found: Iterable[RemoteScene], pictures: list[bytes]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id of each scene with a picture, and its cover, or why it is none.

    Pictures that can be covers are added to `pictures`.
    """
    for remote in found:
        image = remote.image if isinstance(remote, RemoteSceneWithCover) else None
        if image is None or remote.remote_site_id is None:
            continue
        try:
            content = cover_content(image)
            value = _cover_value(content, read_cover(content))
        except NoCoverError as error:
            yield remote.remote_site_id, {"refused": str(error)}
        else:
            pictures.append(content)
            yield remote.remote_site_id, asdict(value)


def _cover_value(content: bytes, facts: CoverFacts) -> CoverValue:
    return CoverValue(
        picture_key(content), facts.kind, facts.width, facts.height, len(content)
    )


def _add_cover(
    made: list[Proposal],
    covers: Mapping[str, Mapping[str, Any]],
    current: CoverValue | None,
    candidate: _Candidate,
    others: Sequence[_Candidate],
) -> None:
    """Add the cover of a candidate to its proposals, or the reason why it has none."""
    cover = covers.get(candidate.box_id.stash_id)
    if cover is None:
        return
    reason = cover.get("refused")
    if reason is None and current is None:
        reason = "Stash has no cover that an undo could restore"
    if reason is not None:
        if made:
            made[0].evidence["no cover:"] = reason
        return
    proposed = CoverValue(**cover)
    if current is None or proposed.sha256 == current.sha256:
        return
    confidence = candidate.match.confidence
    made.append(
        set_cover(current, proposed, confidence, NAME, candidate.evidence(others))
    )


def _if_new(value: NamedValue) -> dict[str, str]:
    """Return what a reviewer has to know of a value that is created."""
    return {} if value.id is not None else {"not in Stash yet:": "created when applied"}


def _text_of(time: datetime) -> str:
    """Return a time as the outputs have it: texts that sort by time."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _require_any(
    box: str, answers: Sequence[Sequence[RemoteScene] | ItemError]
) -> None:
    """Make sure that a stash-box does not fail at everything.

    Raises:
        Deferred: It fails at each of many scenes: the scenes are not to blame.
    """
    failures = [answer for answer in answers if isinstance(answer, ItemError)]
    if len(failures) == len(answers) >= LEAST_FOR_AN_OUTAGE:
        raise Deferred(
            f"The stash-box fails at each of {len(failures)} scenes "
            f"({failures[0].what})",
            where=box,
            remedy="the scenes stay unanalyzed, and the next run asks again",
        ) from failures[0]


def is_date(text: str) -> bool:
    """Tell whether Stash takes a date: a year, a month or a day that exists."""
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    year, month, day = (int(part) if part else 1 for part in found.groups())
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _names_of(remote: RemoteScene) -> dict[RemoteKind, Sequence[Any]]:
    return {
        "performers": remote.performers or (),
        "studio": (remote.studio,),
        "tags": remote.tags or (),
    }


def _notes(
    found: Mapping[RemoteKind, Found], created: Collection[str]
) -> dict[str, str]:
    """Return what the names of a candidate are not, for the evidence."""
    notes = {}
    unknown = []
    for kind, of_kind in found.items():
        # Without its id at the stash-box, nothing is created.
        names = [
            (one.name or "").strip()
            for one in of_kind.unknown
            if kind not in created or not one.remote_site_id
        ]
        if names:
            unknown.append(f"{kind} {', '.join(names)}")
    if unknown:
        notes["not in Stash:"] = "; ".join(unknown)
    conflicts = [text for of_kind in found.values() for text in of_kind.conflicts]
    if conflicts:
        notes["not the same:"] = "; ".join(conflicts)
    return notes


def _with_rivals(found: Sequence[Proposal]) -> list[Proposal]:
    """Mark values of different stash-boxes for one field as rivals.

    The value of the stash-box that is asked first is preferred: the others wait for a
    person.
    """
    first: dict[str, Proposal] = {}
    for proposal in found:
        if proposal.action != "set" or proposal.has_rivals:
            continue
        known = first.setdefault(proposal.field, proposal)
        if known.value_key != proposal.value_key:
            proposal.evidence[RIVALS] = [known.proposed.as_text]
    return list(found)


def _shared_phashes(session: Session, scenes: Iterable[SceneFacts]) -> set[int]:
    """Return the perceptual hashes of scenes that many scenes of the library have."""
    own = {h.value for scene in scenes for h in scene.hashes if h.kind == "phash"}
    rows = session.scalars(
        select(SceneFingerprint.value)
        .where(SceneFingerprint.kind == "phash", SceneFingerprint.value.in_(own))
        .group_by(SceneFingerprint.value)
        .having(func.count(SceneFingerprint.scene_id.distinct()) > SHARED_BY)
    )
    return {number for value in rows if (number := phash_number(value)) is not None}
