"""What the mirror knows of generated media."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.generated import (
    TRIES_IN_DOUBT,
    Failed,
    Unmakeable,
    mark_generated,
    media_basis,
    media_is_made_of,
    mirrored_phashes,
    newest_first,
    note_unmakeable,
    unmakeable_of,
)
from stashhog_core.db.models import Marker, Scene, SceneFile, SceneFingerprint
from stashhog_core.db.session import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
BOTH = frozenset({"cover", "preview"})


@pytest.fixture
def library(database: Database) -> Database:
    """Three scenes, the last the newest; the first has two files and one phash."""
    with database.transaction() as session:
        session.add_all(
            Scene(id=id_, created_at=START + timedelta(days=id_)) for id_ in (1, 2, 3)
        )
        session.flush()
        session.add_all(
            SceneFile(scene_id=scene_id, file_id=file_id, position=position, path="")
            for scene_id, file_id, position in ((1, 10, 0), (1, 11, 1), (2, 20, 0))
        )
        session.add_all(
            SceneFingerprint(scene_id=scene_id, file_id=file_id, kind=kind, value=value)
            for scene_id, file_id, kind, value in (
                (1, 10, "oshash", "one"),
                (1, 10, "phash", "b"),
                (2, 20, "oshash", "two"),
                (2, 20, "phash", "a"),
            )
        )
        session.add_all(
            Marker(id=id_, scene_id=scene_id, seconds=seconds)
            for id_, scene_id, seconds in ((100, 1, 1.5), (101, 1, 2.5), (200, 2, 9.0))
        )
    return database


def free_scenes(database: Database) -> list[int]:
    """Return the scenes that somebody else can change without waiting."""
    rows = select(Scene.id).order_by(Scene.id).with_for_update(skip_locked=True)
    with database.transaction() as session:
        return list(session.scalars(rows))


def test_newest_first_orders_only_the_scenes_given(library: Database) -> None:
    """Scenes that are not asked for stay out; unknown ones come last."""
    with library.transaction() as session:
        assert newest_first(session, [1, 99, 3]) == [3, 1, 99]


def test_media_is_made_of_the_primary_file_and_the_markers(library: Database) -> None:
    """Only of the scenes that are asked for, each with its own markers."""
    with library.transaction() as session:
        assert media_is_made_of(session, [1]) == {
            1: ("one", frozenset({(100, 1.5), (101, 2.5)}))
        }
        assert media_is_made_of(session, [3]) == {3: (None, frozenset())}


def test_scenes_are_held_while_their_media_is_judged(library: Database) -> None:
    """Who replaces a file or a marker meanwhile waits, also if nothing is marked."""
    with library.transaction() as session:
        media_is_made_of(session, [1])
        assert mark_generated(session, [2], basis={2: 0}) == []

        assert free_scenes(library) == [3]


def test_phashes_are_those_of_each_file(library: Database) -> None:
    """A scene with a second file that lacks one is lacking, whatever the first has."""
    with library.transaction() as session:
        assert mirrored_phashes(session, [1, 2, 3], only_lacking=False) == {
            1: ["b"],
            2: ["a"],
        }
        assert mirrored_phashes(session, [1, 2], only_lacking=True) == {1: ["b"]}
        assert mirrored_phashes(session, [2], only_lacking=False) == {2: ["a"]}
        session.add(SceneFingerprint(scene_id=1, file_id=11, kind="phash", value="a"))
        session.flush()
        assert mirrored_phashes(session, [1], only_lacking=False) == {1: ["a", "b"]}
        assert mirrored_phashes(session, [1], only_lacking=True) == {}


def failed(session: Session, scene_id: int, *kinds: str, is_doubtful: bool) -> Failed:
    """Return that Stash was asked for these kinds of media, and made none of them."""
    found = Unmakeable(frozenset(kinds), kinds, "no frame")
    return Failed(media_basis(session, [scene_id])[scene_id], found, is_doubtful)


def test_media_in_doubt_is_given_up_after_some_tries(library: Database) -> None:
    """Each failure counts, and media that is not in doubt is given up at once."""
    with library.transaction() as session:
        doubtful = failed(session, 1, "cover", is_doubtful=True)
        certain = failed(session, 2, "cover", is_doubtful=False)
        tries = [
            note_unmakeable(session, "v1", [doubtful]) for _ in range(TRIES_IN_DOUBT)
        ]
        at_once = note_unmakeable(
            session, "v1", [certain, failed(session, 3, "cover", is_doubtful=True)]
        )

        assert tries == [set()] * (TRIES_IN_DOUBT - 1) + [{doubtful.content}]
        assert at_once == {certain.content}
        assert unmakeable_of(session, [1, 2, 3], "v1").keys() == {1, 2}
        assert note_unmakeable(session, "v1", []) == set()


def test_what_was_given_up_before_still_holds(library: Database) -> None:
    """Of kinds that were not asked for this time, until Stash has another version."""
    with library.transaction() as session:
        for kind in ("cover", "preview"):
            note_unmakeable(
                session, "v1", [failed(session, 1, kind, is_doubtful=False)]
            )
        assert unmakeable_of(session, [1], "v1") == {
            1: Unmakeable(BOTH, ("cover", "preview"), "no frame")
        }
        assert unmakeable_of(session, [1], "v2") == {}

        # Asked for both, it makes the cover after all.
        one = Unmakeable(BOTH, ("preview",), "no frame")
        note_unmakeable(
            session, "v1", [Failed(media_basis(session, [1])[1], one, False)]
        )
        assert unmakeable_of(session, [1], "v1") == {1: one}

        note_unmakeable(session, "v2", [failed(session, 1, "cover", is_doubtful=False)])
        assert unmakeable_of(session, [1], "v1") == {}
        assert unmakeable_of(session, [1], "v2") == {
            1: Unmakeable(frozenset({"cover"}), ("cover",), "no frame")
        }
