"""Requests that change scenes in Stash, and how the mirror repeats the changes.

A sync may store newer values between a change and its repetition in the mirror, and may
read Stash before somebody changes the value back. So the next sync fetches every row
that is repeated here, whatever its time of change is. Scenes are locked before their
tags and markers, as in a sync; otherwise the two would wait for each other.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.manifest import forget_hashes
from stashhog_core.db.models import Marker, Scene, Tag
from stashhog_core.errors import BusyError, TransientError, UnreadableError
from stashhog_core.plans.covers import LiveCovers
from stashhog_core.plans.proposals import (
    TEXT_FIELDS,
    BoxIdValue,
    CoverValue,
    MarkerValue,
    TextValue,
)
from stashhog_core.plans.three_way import (
    MemberEdit,
    OutgoingChange,
    Slot,
)
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import StashTag

UNANSWERED_IN_A_ROW = 3
"""Number of requests in a row without a readable response after which a run ends.

This is an outage, although Stash can be read: each further request may take the whole
time limit.
"""


class OutageCounter:
    """Counts the requests in a row that got no readable response."""

    def __init__(self) -> None:
        self._unanswered: list[BaseException] = []

    def note(self, error: BaseException | None) -> None:
        """Note the outcome of a request; None: there was a readable response.

        Raises:
            TransientError, UnreadableError: The error, if it is one too many.
        """
        if isinstance(error, BusyError) or not isinstance(
            error, TransientError | UnreadableError
        ):
            self._unanswered.clear()
            return
        # One failed request may hinder several changes.
        if not any(error is earlier for earlier in self._unanswered):
            self._unanswered.append(error)
        if len(self._unanswered) >= UNANSWERED_IN_A_ROW:
            raise error


@dataclass(frozen=True)
class EditGroup:
    """Edits that one request makes in several scenes."""

    edits: frozenset[MemberEdit]
    scene_ids: tuple[int, ...]

    def ids(self, slot: Slot) -> list[int]:
        """Return the ids of one kind of edit, in order."""
        return sorted(edit.id for edit in self.edits if edit.slot == slot)

    @property
    def studio_id(self) -> int | None:
        """Id of the studio to set; None: the studio stays."""
        return next(iter(self.ids("studio")), None)


def group_edits(edits: Iterable[tuple[int, MemberEdit]]) -> list[EditGroup]:
    """Return the fewest groups: by scenes with the same edits, or by edit.

    Title cards give every scene its own edits; an AI server adds a few tags to many
    scenes. Which grouping needs fewer requests depends on the plan.

    Args:
        edits: (scene id, edit). A scene has at most one studio edit.
    """
    by_scene: dict[int, set[MemberEdit]] = defaultdict(set)
    by_value: dict[MemberEdit, set[int]] = defaultdict(set)
    for scene_id, edit in edits:
        by_scene[scene_id].add(edit)
        by_value[edit].add(scene_id)
    by_set: dict[frozenset[MemberEdit], list[int]] = defaultdict(list)
    for scene_id, its_edits in by_scene.items():
        by_set[frozenset(its_edits)].append(scene_id)
    if len(by_set) <= len(by_value):
        return [EditGroup(key, tuple(sorted(ids))) for key, ids in by_set.items()]
    return [
        EditGroup(frozenset([edit]), tuple(sorted(by_value[edit])))
        for edit in sorted(by_value)
    ]


@dataclass(frozen=True)
class BulkRequest:
    """Adds tags and performers to scenes, removes them, or sets a studio."""

    group: EditGroup
    changes: Sequence[OutgoingChange]

    def send(self, stash: StashClient) -> None:
        """Send the bulk update."""
        send_group(stash, self.group)

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Repeat the changes in the mirror."""
        mirror_group(session, self.group)


@dataclass(frozen=True)
class TextRequest:
    """Sets texts of one scene."""

    scene_id: int
    changes: Sequence[OutgoingChange]

    @property
    def _fields(self) -> dict[str, Any]:
        return {o.change.field: o.change.proposed.as_text for o in self.changes}

    def send(self, stash: StashClient) -> None:
        """Send the update."""
        stash.update_scene(self.scene_id, self._fields)

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Repeat the changes in the mirror."""
        mirror_texts(session, self.scene_id, self._fields)


@dataclass(frozen=True)
class MarkerRequest:
    """Creates one marker."""

    scene_id: int
    marker: MarkerValue
    tag_id: int
    changes: Sequence[OutgoingChange]

    def send(self, stash: StashClient) -> int:
        """Create the marker; return its id."""
        return stash.create_marker(
            scene_id=self.scene_id,
            title=self.marker.title,
            seconds=self.marker.seconds,
            primary_tag_id=self.tag_id,
            end_seconds=self.marker.end_seconds,
        )

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Add the marker to the mirror."""
        if created_id is not None:
            mirror_marker(session, created_id, self.scene_id, self.marker, self.tag_id)


@dataclass(frozen=True)
class UrlRequest:
    """Adds URLs to one scene."""

    scene_id: int
    changes: Sequence[OutgoingChange]

    @property
    def _urls(self) -> list[str]:
        return [outgoing.change.proposed.as_text for outgoing in self.changes]

    def send(self, stash: StashClient) -> None:
        """Send the update."""
        stash.change_urls(self.scene_id, "ADD", self._urls)

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Repeat the changes in the mirror."""
        for url in self._urls:
            mirror_item(session, self.scene_id, TextValue(url), is_there=True)


@dataclass(frozen=True)
class BoxIdRequest:
    """Gives one scene its id at one stash-box."""

    scene_id: int
    box_id: BoxIdValue
    changes: Sequence[OutgoingChange]

    def send(self, stash: StashClient) -> None:
        """Send the update."""
        stash.set_box_id(self.scene_id, self.box_id.endpoint, self.box_id.stash_id)

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Repeat the change in the mirror."""
        mirror_item(session, self.scene_id, self.box_id, is_there=True)


@dataclass(frozen=True)
class CoverRequest:
    """Gives one scene another cover."""

    scene_id: int
    cover: CoverValue
    covers: LiveCovers | None
    changes: Sequence[OutgoingChange]

    def send(self, stash: StashClient) -> None:
        """Send the update."""
        if self.covers is None:
            raise RuntimeError("covers are needed to send one")
        self.covers.set(self.scene_id, self.cover.sha256)

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Do nothing: the mirror has no covers."""


ChangeRequest = (
    BulkRequest | TextRequest | MarkerRequest | UrlRequest | BoxIdRequest | CoverRequest
)
"""One request to Stash, for one change or many."""


def requests_for(
    changes: Sequence[OutgoingChange], covers: LiveCovers | None = None
) -> list[ChangeRequest]:
    """Return the fewest requests that make these changes; `covers` sets covers."""
    # Two names of one tag are two changes and one edit.
    same: dict[tuple[int, MemberEdit], list[OutgoingChange]] = defaultdict(list)
    texts: dict[int, list[OutgoingChange]] = defaultdict(list)
    urls: dict[int, list[OutgoingChange]] = defaultdict(list)
    single: list[ChangeRequest] = []
    for outgoing in changes:
        scene_id, value = outgoing.change.scene_id, outgoing.change.proposed
        if outgoing.edit is not None:
            same[scene_id, outgoing.edit].append(outgoing)
        elif outgoing.change.field in TEXT_FIELDS:
            texts[scene_id].append(outgoing)
        elif outgoing.change.field == "urls":
            urls[scene_id].append(outgoing)
        elif isinstance(value, BoxIdValue):
            single.append(BoxIdRequest(scene_id, value, [outgoing]))
        elif isinstance(value, CoverValue):
            single.append(CoverRequest(scene_id, value, covers, [outgoing]))
        elif isinstance(value, MarkerValue) and outgoing.member_id is not None:
            single.append(
                MarkerRequest(scene_id, value, outgoing.member_id, [outgoing])
            )
        else:
            raise RuntimeError(f"no request makes the change {outgoing}")
    return [
        *(
            BulkRequest(
                group,
                [o for i in group.scene_ids for e in group.edits for o in same[i, e]],
            )
            for group in group_edits(same)
        ),
        *(TextRequest(scene_id, of_scene) for scene_id, of_scene in texts.items()),
        *(UrlRequest(scene_id, of_scene) for scene_id, of_scene in urls.items()),
        *single,
    ]


def parts_of(request: ChangeRequest) -> list[ChangeRequest]:
    """Return one request per value or field; none if the request has only one.

    Stash refuses the whole request for one value that it does not accept.
    """
    if isinstance(request, BulkRequest):
        parts = [
            [outgoing for outgoing in request.changes if outgoing.edit == edit]
            for edit in sorted(request.group.edits)
        ]
    else:
        parts = [[outgoing] for outgoing in request.changes]
    return [r for part in parts for r in requests_for(part)] if len(parts) > 1 else []


def send_group(stash: StashClient, group: EditGroup) -> None:
    """Send a bulk update."""
    stash.bulk_update_scenes(
        group.scene_ids,
        add_tag_ids=group.ids("add_tag"),
        remove_tag_ids=group.ids("remove_tag"),
        add_performer_ids=group.ids("add_performer"),
        remove_performer_ids=group.ids("remove_performer"),
        studio_id=group.studio_id,
    )


def mirror_tag(session: Session, tag: StashTag) -> None:
    """Add a tag that was created in Stash."""
    session.execute(
        insert(Tag).values(id=tag.id, name=tag.name).on_conflict_do_nothing()
    )
    forget_hashes(session, [tag.id], "tag")


def mirror_group(session: Session, group: EditGroup) -> None:
    """Repeat a bulk update. Rows that the mirror lacks are left to the next sync."""
    ids = list(group.scene_ids)
    forget_hashes(session, ids)
    for kind, added, removed in (
        ("tag", group.ids("add_tag"), group.ids("remove_tag")),
        ("performer", group.ids("add_performer"), group.ids("remove_performer")),
    ):
        # `kind` is one of the two words above, never data.
        if added:
            session.execute(
                text(
                    f"INSERT INTO scene_{kind} (scene_id, {kind}_id) "  # noqa: S608
                    f"SELECT scene.id, {kind}.id FROM scene CROSS JOIN {kind} "
                    f"WHERE scene.id = ANY(:scenes) AND {kind}.id = ANY(:members) "
                    "ON CONFLICT DO NOTHING"
                ),
                {"scenes": ids, "members": added},
            )
        if removed:
            session.execute(
                text(
                    f"DELETE FROM scene_{kind} "  # noqa: S608
                    f"WHERE scene_id = ANY(:scenes) AND {kind}_id = ANY(:members)"
                ),
                {"scenes": ids, "members": removed},
            )
    if group.studio_id is not None:
        session.execute(
            text(
                "UPDATE scene SET studio_id = studio.id FROM studio "
                "WHERE studio.id = :studio AND scene.id = ANY(:scenes)"
            ),
            {"scenes": ids, "studio": group.studio_id},
        )


def mirror_texts(session: Session, scene_id: int, fields: dict[str, Any]) -> None:
    """Repeat an update of the texts or the studio of a scene."""
    session.execute(update(Scene).where(Scene.id == scene_id).values(**fields))
    forget_hashes(session, [scene_id])


def mirror_item(
    session: Session, scene_id: int, item: TextValue | BoxIdValue, *, is_there: bool
) -> None:
    """Repeat that a URL, or an id at a stash-box, was added or removed."""
    scene = session.get(Scene, scene_id, with_for_update=True)
    if scene is not None:
        if isinstance(item, TextValue):
            others = [url for url in scene.urls if url != item.text]
            scene.urls = [*others, item.text] if is_there else others
        else:
            ids = [
                box for box in scene.stash_ids if box["endpoint"] != item.endpoint
            ] + ([asdict(item)] if is_there else [])
            # In the order of a sync.
            scene.stash_ids = sorted(ids, key=lambda box: tuple(box.values()))
        session.flush()
    forget_hashes(session, [scene_id])


def mirror_marker(
    session: Session,
    marker_id: int,
    scene_id: int,
    marker: MarkerValue,
    tag_id: int,
) -> None:
    """Add a marker that was created; the media of the marker is still to generate."""
    session.execute(update(Scene).where(Scene.id == scene_id).values(generated=False))
    forget_hashes(session, [scene_id])
    session.execute(
        text(
            "INSERT INTO marker (id, scene_id, title, seconds, end_seconds, "
            "primary_tag_id) SELECT :id, scene.id, :title, :seconds, :end_seconds, "
            "(SELECT id FROM tag WHERE id = :tag) FROM scene WHERE scene.id = :scene "
            "ON CONFLICT DO NOTHING"
        ),
        {
            "id": marker_id,
            "scene": scene_id,
            "title": marker.title,
            "seconds": marker.seconds,
            "end_seconds": marker.end_seconds,
            "tag": tag_id,
        },
    )


def unmirror_markers(session: Session, marker_ids: list[int]) -> None:
    """Remove markers that were deleted in Stash."""
    gone = Marker.id.in_(marker_ids)
    marked = session.scalars(select(Marker.scene_id).where(gone))
    forget_hashes(session, set(marked))
    session.execute(delete(Marker).where(gone))
