"""Three-way: base, proposed and live decide what becomes of a change."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from stashhog_core.errors import ItemError
from stashhog_core.plans.covers import LiveCovers
from stashhog_core.plans.proposals import (
    NamedValue,
    StoredValue,
    read_value,
)
from stashhog_core.plans.tags import KnownObjects, LiveTags
from stashhog_core.plans.three_way import (
    SCENE_GONE,
    AppliedChange,
    ApprovedChange,
    ChangeResult,
    Effect,
    FieldEffect,
    FoundChange,
    ItemEffect,
    MarkerEffect,
    MemberEdit,
    MemberEffect,
    OutgoingChange,
    decide_apply,
    decide_change,
    decide_sent,
    decide_undo,
    is_intended,
    object_of,
    read_effect,
    scene_of,
)
from stashhog_core.stash.documents import NamedKind
from stashhog_core.stash.payloads import Ref, StashBoxId, StashMarker
from tests.support.fake_stash import FakeStash, bare_scene


def change(
    field: str,
    action: str,
    base: StoredValue | None,
    proposed: StoredValue,
    **more: Any,
) -> ApprovedChange:
    return ApprovedChange(
        1,
        1,
        field,
        action,
        read_value(proposed).key,
        None if base is None else read_value(base),
        read_value(proposed),
        **more,
    )


MARKER = StashMarker(
    id=3,
    title="Five",
    seconds=10.0,
    end_seconds=None,
    created_at="",
    primary_tag=Ref(id=5),
    tags=(),
    updated_at="",
)
BOX = {"endpoint": "box", "stash_id": "1"}
MEMBER = {"id": 5, "name": "Five"}
HAS_FIVE = (Ref(id=5),)


@pytest.mark.parametrize("field", ["tags", "performers"])
@pytest.mark.parametrize(
    ("action", "present", "kind"),
    [
        ("add", False, "apply"),
        ("add", True, "already"),
        ("remove", True, "apply"),
        ("remove", False, "already"),
    ],
)
def test_members(field: str, action: str, present: bool, kind: str) -> None:
    """A member of a set is there or not; the rest of the set does not matter."""
    live = bare_scene(**{field: HAS_FIVE if present else (Ref(id=9),)})

    decision = decide_apply(change(field, action, None, MEMBER), live, 5)

    assert decision.kind == kind
    assert decision.effect == MemberEffect(5, present)


@pytest.mark.parametrize(
    ("base", "live", "kind"),
    [
        (None, None, "apply"),
        (None, 5, "already"),
        (None, 9, "conflict"),
        ({"id": 9, "name": "Nine"}, 9, "apply"),
        ({"id": 9, "name": "Nine"}, None, "conflict"),
    ],
)
def test_studio(base: Any, live: int | None, kind: str) -> None:
    """A studio that somebody set meanwhile stays."""
    now = bare_scene(studio=Ref(id=live) if live else None)

    assert decide_apply(change("studio", "set", base, MEMBER), now, 5).kind == kind


@pytest.mark.parametrize(
    ("live", "kind"), [("old", "apply"), ("new", "already"), ("mine", "conflict")]
)
def test_text(live: str, kind: str) -> None:
    """A text that somebody wrote meanwhile stays, and the conflict shows it."""
    decision = decide_apply(
        change("details", "set", "old", "new"), bare_scene(details=live), None
    )

    assert decision.kind == kind
    assert decision.effect == FieldEffect(live, "new")


@pytest.mark.parametrize(
    ("live", "kind"), [((), "apply"), (("https://a/",), "already")]
)
def test_url(live: tuple[str, ...], kind: str) -> None:
    """A URL is there or not; the other URLs do not matter."""
    decision = decide_apply(
        change("urls", "add", None, "https://a/"),
        bare_scene(urls=("https://b/", *live)),
        None,
    )

    assert decision.kind == kind
    assert decision.effect == ItemEffect("https://a/")


@pytest.mark.parametrize(
    ("endpoint", "stash_id", "kind"),
    [("box", "1", "already"), ("box", "2", "conflict"), ("other box", "2", "apply")],
)
def test_box_id(endpoint: str, stash_id: str, kind: str) -> None:
    """An id at a stash-box never replaces another id at the same stash-box."""
    live = bare_scene(stash_ids=(StashBoxId(endpoint=endpoint, stash_id=stash_id),))

    decision = decide_apply(change("stash_ids", "add", None, BOX), live, None)

    assert decision.kind == kind
    assert (decision.reason is not None) == (kind == "conflict")


@pytest.mark.parametrize(
    ("tag_id", "seconds", "kind"),
    [
        (5, 10.0, "already"),
        (5, 10.9, "already"),
        (5, 11.1, "apply"),
        (6, 10.0, "apply"),
    ],
)
def test_marker(tag_id: int, seconds: float, kind: str) -> None:
    """A marker of the same tag in the same second is the same marker."""
    proposed = {"title": "x", "tag": MEMBER, "seconds": seconds, "end_seconds": None}

    decision = decide_apply(
        change("markers", "add", None, proposed),
        bare_scene(scene_markers=(MARKER,)),
        tag_id,
    )

    assert decision.kind == kind


def test_change_that_nobody_proposes_is_refused() -> None:
    """A row of an unknown kind is an error, not a silent success."""
    with pytest.raises(ValueError, match="set tags"):
        decide_apply(change("tags", "set", None, MEMBER), bare_scene(), 5)


def cover(name: str) -> dict[str, Any]:
    facts = {"kind": "JPEG", "width": 1, "height": 1, "size_bytes": 1}
    return {"sha256": name, **facts}


class StoredCovers(LiveCovers):
    """The covers of a Stash whose scene has `current`; those in `stored` are stored."""

    def __init__(self, current: str | None, stored: str = "old new") -> None:
        self.current, self.stored = current, stored.split()

    def now(self, scene_id: int) -> str | None:
        return self.current

    keep = now

    def is_stored(self, key: str) -> bool:
        return key in self.stored


@pytest.mark.parametrize(
    ("current", "state"),
    [("old", None), ("new", "already"), ("other", "conflict"), (None, "conflict")],
)
def test_cover(current: str | None, state: str | None) -> None:
    """A cover takes the place of the one it was proposed for, and of no other."""
    live, tags, covers = bare_scene(), live_tags(FakeStash()), StoredCovers(current)
    effect = FieldEffect(current, "new")
    proposed = change("cover", "set", cover("old"), cover("new"))

    decided = decide_change(proposed, live, tags, covers=covers)
    sent = decide_sent(OutgoingChange(proposed, None, effect), live, covers)

    if state is None:
        assert decided == OutgoingChange(proposed, None, effect)
        assert sent is None
        return
    assert isinstance(decided, ChangeResult)
    assert decided.state == state
    assert decided.effect == (effect if state == "conflict" else None)
    assert (decided.error is None) == (state == "already")
    if state == "already":
        # Whatever was sent has had its effect.
        assert sent == FoundChange(OutgoingChange(proposed, None, effect))
    else:
        assert sent == decided


def test_the_cover_that_a_killed_run_has_set_is_its_own() -> None:
    """Its effect is the one that was noted before the request."""
    intent = FieldEffect("old", "new")
    proposed = change("cover", "set", cover("old"), cover("new"), intent=intent)

    decided = decide_change(
        proposed, bare_scene(), live_tags(FakeStash()), covers=StoredCovers("new")
    )

    assert decided == FoundChange(OutgoingChange(proposed, None, intent))


def test_a_cover_that_is_no_longer_stored_is_an_error() -> None:
    """The scene has to be analyzed again."""
    proposed = change("cover", "set", cover("old"), cover("gone"))
    for covers in (None, StoredCovers("old")):
        with pytest.raises(ItemError, match="no longer stored"):
            decide_change(proposed, bare_scene(), live_tags(FakeStash()), covers=covers)


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        ("new", FoundChange),
        ("old", type(None)),
        ("other", ChangeResult),
    ],
)
def test_what_a_request_without_an_answer_has_done(live: str, expected: type) -> None:
    """The value in Stash tells: done, not done, or somebody's edit has come between."""
    sent = OutgoingChange(
        change("title", "set", "old", "new"), None, FieldEffect("old", "new")
    )

    decided = decide_sent(sent, bare_scene(title=live))

    assert type(decided) is expected
    if isinstance(decided, ChangeResult):
        assert decided.state == "conflict"
        assert decided.effect == FieldEffect("other", "new")


def applied(
    field: str, action: str, proposed: StoredValue, effect: Effect, **more: Any
) -> AppliedChange:
    return AppliedChange(1, 1, 1, field, action, read_value(proposed), effect, **more)


@pytest.mark.parametrize("field", ["tags", "performers"])
@pytest.mark.parametrize("action", ["add", "remove"])
@pytest.mark.parametrize("present", [True, False])
def test_undo_of_members(field: str, action: str, present: bool) -> None:
    """What was added is removed, and the other way round, unless somebody did that."""
    other = {"tags": "performers", "performers": "tags"}[field]
    here, there = (HAS_FIVE, ()) if present else ((), HAS_FIVE)
    live = bare_scene(**{field: here, other: there})
    effect = MemberEffect(5, present_before=action == "remove")

    decision = decide_undo(applied(field, action, MEMBER, effect), live)

    assert decision.kind == ("undo" if present == (action == "add") else "already")
    slot = f"{'remove' if action == 'add' else 'add'}_{field.removesuffix('s')}"
    assert decision.edit == MemberEdit(slot, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "before", "now", "kind"),
    [
        ("title", "", "new", "undo"),
        ("title", "old", "new", "undo"),
        ("title", "old", "old", "already"),
        ("title", "old", "other", "conflict"),
        ("studio", None, 5, "undo"),
        ("studio", 9, 5, "undo"),
        ("studio", None, None, "already"),
        ("studio", 9, None, "conflict"),
    ],
)
def test_undo_of_fields(field: str, before: Any, now: Any, kind: str) -> None:
    """A field gets its value of before, unless it has another one by now."""
    is_studio = field == "studio"
    live = bare_scene(**{field: now and Ref(id=now) if is_studio else now})
    effect = FieldEffect(before, 5 if is_studio else "new")
    proposed: StoredValue = MEMBER if is_studio else "new"

    decision = decide_undo(applied(field, "set", proposed, effect), live)

    assert decision.kind == kind
    assert (decision.reason is not None) == (kind == "conflict")
    name = "studio_id" if is_studio else field
    assert decision.fields == ({} if kind == "conflict" else {name: before or None})


@pytest.mark.parametrize(
    ("current", "stored", "kind"),
    [
        ("new", "old", "undo"),
        ("old", "old", "already"),
        ("other", "old", "conflict"),
        ("new", "other", "conflict"),
    ],
)
def test_undo_of_covers(current: str, stored: str, kind: str) -> None:
    """A cover is restored if it is stored, and if nobody has set another one."""
    set_cover = applied("cover", "set", cover("new"), FieldEffect("old", "new"))

    decision = decide_undo(set_cover, bare_scene(), StoredCovers(current, stored))

    assert decision.kind == kind
    assert decision.cover == ("old" if kind == "undo" else None)
    assert (decision.reason is not None) == (kind == "conflict")


@pytest.mark.parametrize(
    ("field", "proposed", "live", "kind"),
    [
        ("urls", "https://one", {"urls": ("https://one",)}, "undo"),
        ("urls", "https://one", {"urls": ("https://two",)}, "already"),
        (
            "stash_ids",
            BOX,
            {"stash_ids": (StashBoxId(endpoint="box", stash_id="1"),)},
            "undo",
        ),
        (
            "stash_ids",
            BOX,
            {"stash_ids": (StashBoxId(endpoint="box", stash_id="2"),)},
            "conflict",
        ),
        (
            "stash_ids",
            BOX,
            {"stash_ids": (StashBoxId(endpoint="other", stash_id="1"),)},
            "already",
        ),
    ],
)
def test_undo_of_items(
    field: str, proposed: StoredValue, live: dict[str, Any], kind: str
) -> None:
    """A URL or an id that was added is removed, and no other one."""
    added = applied(field, "add", proposed, ItemEffect("1"))

    decision = decide_undo(added, bare_scene(**live))

    assert decision.kind == kind
    assert decision.removed == (None if kind == "conflict" else added.proposed)
    assert (decision.reason is not None) == (kind == "conflict")


PROPOSED_MARKER = {"title": "Five", "tag": MEMBER, "seconds": 10.0, "end_seconds": None}


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        ({}, "undo"),
        ({"title": "Mine"}, "conflict"),
        ({"tags": HAS_FIVE}, "conflict"),
        ({"primary_tag": Ref(id=6)}, "conflict"),
        ({"seconds": 11.0}, "conflict"),
        ({"end_seconds": 0.0}, "conflict"),
        ({"id": 4}, "already"),
    ],
)
def test_undo_of_markers(edit: dict[str, Any], kind: str) -> None:
    """A marker is removed as it was created; another marker is not the one."""
    marker = msgspec.structs.replace(MARKER, **edit)
    effect = MarkerEffect(3, 5)

    decision = decide_undo(
        applied("markers", "add", PROPOSED_MARKER, effect),
        bare_scene(scene_markers=(marker,)),
    )

    assert decision.kind == kind
    assert decision.marker_id == (None if kind == "conflict" else 3)
    assert (decision.reason is not None) == (kind == "conflict")


@pytest.mark.parametrize(("tag_id", "kind"), [(5, "undo"), (6, "conflict")])
def test_undo_of_a_marker_of_an_earlier_version(tag_id: int, kind: str) -> None:
    """The tag that was proposed stands for the tag that nobody noted."""
    marker = msgspec.structs.replace(MARKER, primary_tag=Ref(id=tag_id))

    decision = decide_undo(
        applied("markers", "add", PROPOSED_MARKER, MarkerEffect(3)),
        bare_scene(scene_markers=(marker,)),
    )

    assert decision.kind == kind


@pytest.mark.parametrize(
    ("field", "effect", "expected"),
    [
        ("tags", MemberEffect(5, present_before=False), ("tag", 5)),
        ("performers", MemberEffect(5, present_before=False), ("performer", 5)),
        ("studio", FieldEffect(None, 5), ("studio", 5)),
        ("markers", MarkerEffect(3, 5), ("tag", 5)),
        ("tags", MemberEffect(None, present_before=False), None),
        ("markers", MarkerEffect(3), None),
        ("title", FieldEffect("old", "new"), None),
    ],
)
def test_what_an_effect_is_of(
    field: str, effect: Effect, expected: tuple[str, int] | None
) -> None:
    """A tag, performer or studio by its id, if the id was noted."""
    assert object_of(applied(field, "add", MEMBER, effect)) == expected


@pytest.mark.parametrize(("title", "kind"), [("Five", "undo"), ("Mine", "already")])
def test_undo_of_a_marker_whose_number_is_not_known(title: str, kind: str) -> None:
    """The marker that a killed run was about to create is known by what it is."""
    marker = msgspec.structs.replace(MARKER, title=title)
    proposed, effect = PROPOSED_MARKER, MarkerEffect(None, 5)

    decision = decide_undo(
        applied("markers", "add", proposed, effect, recorded=False),
        bare_scene(scene_markers=(marker,)),
    )

    assert decision.kind == kind
    assert decision.marker_id == (3 if kind == "undo" else None)


def created(stash: FakeStash) -> list[str]:
    return [wanted["input"]["name"] for wanted in stash.asked("CreateTag")]


def live_tags(stash: FakeStash, create_missing: bool = True) -> LiveTags:
    return LiveTags(stash, create_missing, *[lambda _: None] * 3)


def new_tag(name: str, id_: int | None = None, **more: Any) -> ApprovedChange:
    return change("tags", "add", None, {"id": id_, "name": name}, **more)


THEN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
AT = {"then": "2026-11-01T13:00:00+01:00", "later": "2026-11-02T12:00:00Z"}


@pytest.mark.parametrize(
    ("rows", "created_at", "found"),
    [
        pytest.param([(5, "Five", "later")], THEN, 5, id="the same name"),
        pytest.param([(5, "Other", "then")], THEN, 5, id="renamed"),
        pytest.param([(5, "Other", "later")], THEN, None, id="another"),
        pytest.param([(5, "Other", "")], THEN, 5, id="Stash does not say when"),
        pytest.param([(5, "Other", "later")], None, 5, id="not known when"),
        pytest.param(
            [(5, "Other", "later"), (7, "five", "then")], THEN, 7, id="new id"
        ),
        pytest.param(
            [(5, "Other", "later"), (7, "five", "then")], None, 7, id="name first"
        ),
        pytest.param([(5, "Other", "then"), (7, "Five", "then")], THEN, 5, id="both"),
        pytest.param([(7, "Seven|FIVE", "later")], THEN, 7, id="merged"),
        pytest.param(
            [(7, "Seven|Five", "later"), (8, "Five", "later")], THEN, 8, id="main name"
        ),
        pytest.param([], THEN, None, id="gone"),
    ],
)
@pytest.mark.parametrize("kind", ["tag", "performer", "studio"])
def test_what_was_proposed_is_found(
    kind: NamedKind,
    rows: list[tuple[int, str, str]],
    created_at: datetime | None,
    found: int | None,
) -> None:
    """An id counts for what Stash created then; else the name, or an alias."""
    stash = FakeStash()
    for id_, names, when in rows:
        name, *aliases = names.split("|")
        field = "alias_list" if kind == "performer" else "aliases"
        more = {field: tuple(aliases), "created_at": AT.get(when, "")}
        getattr(stash, f"add_{kind}")(name, id=id_, **more)

    assert KnownObjects(stash).find(kind, NamedValue(5, "Five"), created_at) == found


def test_missing_tag_is_created_once() -> None:
    """Two changes that need one tag share it, whatever their case."""
    stash = FakeStash()
    tags = live_tags(stash)

    outcomes = [
        decide_change(new_tag(name), bare_scene(), tags) for name in ("Fresh", "fresh")
    ]

    assert created(stash) == ["Fresh"]
    members = [o.member_id for o in outcomes if isinstance(o, OutgoingChange)]
    assert members == [*stash.tag_rows] * 2


def test_alias_and_merged_tag_are_found() -> None:
    """A tag that was merged away lives on as another one's alias."""
    stash = FakeStash()
    stash.add_tag("Outside", id=7, aliases=("Outdoor",))

    outcome = decide_change(new_tag("outdoor", 5), bare_scene(), live_tags(stash))

    assert isinstance(outcome, OutgoingChange)
    assert outcome.member_id == 7


def test_tag_made_by_another_run_meanwhile_is_taken() -> None:
    """That a tag already exists is no failure."""
    stash = FakeStash()
    stash.on("CreateTag", before=lambda: stash.add_tag("Fresh", id=8))

    outcome = decide_change(new_tag("Fresh"), bare_scene(), live_tags(stash))

    assert isinstance(outcome, OutgoingChange)
    assert outcome.member_id == 8


def test_tag_that_must_not_be_created_fails_its_change() -> None:
    """The error says what to do; no tag is made."""
    stash = FakeStash()

    with pytest.raises(ItemError, match="STASHHOG_ANALYSIS__CREATE_MISSING_TAGS"):
        decide_change(
            new_tag("Fresh"), bare_scene(), live_tags(stash, create_missing=False)
        )

    assert created(stash) == []


def test_no_tag_is_created_for_a_scene_that_is_gone() -> None:
    """Nothing needs the tag then."""
    stash = FakeStash()

    outcome = decide_change(new_tag("Fresh"), None, live_tags(stash))

    assert isinstance(outcome, ChangeResult)
    assert outcome.state == "skipped"
    assert created(stash) == []


def test_another_scene_that_has_the_id_is_left_alone() -> None:
    """Stash gives ids again after a restored backup: the change was for a lost scene.

    The same moment in another zone, and a moment that is not known, are the same scene.
    """
    then = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
    tags = live_tags(stash := FakeStash())
    new = new_tag("Fresh", scene_created_at=then)
    effect = MemberEffect(5, present_before=False)
    later = bare_scene(created_at="2026-11-01T13:00:00Z", tags=HAS_FIVE)

    for decided in (
        decide_change(new, later, tags),
        decide_sent(OutgoingChange(new, 5, effect), later),
    ):
        assert isinstance(decided, ChangeResult)
        assert (decided.state, decided.error) == ("skipped", SCENE_GONE)
    assert created(stash) == []
    for same in ("2026-11-01T13:00:00+01:00", ""):
        live = bare_scene(created_at=same)
        assert scene_of(new, live) is live


def test_own_work_is_known_again() -> None:
    """What a killed run did, but could not record, counts as applied by us."""
    intent = MemberEffect(5, present_before=False)
    tags = live_tags(FakeStash(tags={5: "Five"}))

    ours = decide_change(
        new_tag("Five", 5, intent=intent), bare_scene(tags=HAS_FIVE), tags
    )
    theirs = decide_change(new_tag("Five", 5), bare_scene(tags=HAS_FIVE), tags)

    assert isinstance(ours, FoundChange)
    assert ours.outgoing.applied() == ChangeResult(1, "applied", intent)
    assert isinstance(theirs, ChangeResult)
    assert theirs.state == "already"


@pytest.mark.parametrize(
    ("stored", "effect"),
    [
        ({"id": 5, "present_before": True}, MemberEffect(5, present_before=True)),
        ({"before": None, "after": 5}, FieldEffect(None, 5)),
        ({"before": "old", "after": "new"}, FieldEffect("old", "new")),
        ({"marker_id": 7, "tag_id": 5}, MarkerEffect(7, 5)),
        ({"marker_id": None, "tag_id": 5}, MarkerEffect(None, 5)),
        ({"item": "https://one"}, ItemEffect("https://one")),
    ],
)
def test_the_stored_form_of_an_effect(stored: dict[str, Any], effect: Effect) -> None:
    """The database keeps the attributes; an effect not known yet is marked."""
    applied = ChangeResult(1, "applied", effect)
    sent = ChangeResult(1, None, effect)

    assert applied.stored_effect == stored
    assert sent.stored_effect == {**stored, "intended": True}
    assert read_effect(stored) == effect
    assert read_effect({**stored, "intended": True}) == effect
    assert is_intended(sent.stored_effect)
    assert not is_intended(applied.stored_effect)


def test_an_effect_of_an_earlier_version() -> None:
    """Effects of markers had no tag, and those of members not what was there before."""
    assert read_effect({"marker_id": 7}) == MarkerEffect(7, None)
    assert read_effect({"id": 5}) == MemberEffect(5, present_before=False)


def test_a_change_without_an_effect_was_not_sent() -> None:
    """Nothing is stored of it, and no run was about to have an effect."""
    nothing = ChangeResult(1, None)

    assert nothing.stored_effect is None
    assert not is_intended(None)


@pytest.mark.parametrize(
    ("outgoing", "edit"),
    [
        (change("tags", "add", None, MEMBER), MemberEdit("add_tag", 5)),
        (
            change("performers", "remove", MEMBER, MEMBER),
            MemberEdit("remove_performer", 5),
        ),
        (change("studio", "set", None, MEMBER), MemberEdit("studio", 5)),
        (change("title", "set", "old", "new"), None),
    ],
    ids=lambda value: value.field if isinstance(value, ApprovedChange) else None,
)
def test_what_a_bulk_update_takes(
    outgoing: ApprovedChange, edit: MemberEdit | None
) -> None:
    """Members and studios whose ids are known; all else needs a request of its own."""
    effect = MemberEffect(5, present_before=False)

    assert OutgoingChange(outgoing, 5, effect).edit == edit
    assert OutgoingChange(outgoing, None, effect).edit is None


@pytest.mark.parametrize(
    ("outgoing", "place"),
    [
        (change("title", "set", "old", "new"), (1, "title", "")),
        (change("stash_ids", "add", None, BOX), (1, "stash_ids", "box")),
        (change("tags", "add", None, MEMBER), None),
    ],
    ids=lambda value: value.field if isinstance(value, ApprovedChange) else None,
)
def test_what_has_room_for_one_value(
    outgoing: ApprovedChange, place: tuple[int, str, str] | None
) -> None:
    """A field that is set, and the id at a stash-box; a set has room for all."""
    effect = MemberEffect(5, present_before=False)

    assert OutgoingChange(outgoing, None, effect).place == place
