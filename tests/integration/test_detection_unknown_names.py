"""Names of unknown people: listed with counts, on real PostgreSQL."""

import pytest

from stashhog_core.db.models import Performer, Scene, SceneFile
from stashhog_core.db.session import Database
from stashhog_core.detection.known_names import load_name_finder
from stashhog_core.detection.name_finder import NameFinder
from stashhog_core.detection.unknown_names import names_in, unknown_names
from tests.support.plans import add_scenes

PATHS = [
    "/data/Golden Hour - Mia Novak - Walk.mp4",
    "/data/mia/Mia.Novak and Jade Kush.mkv",
    "/data/[Golden Hour] Mía Novak.mp4",
    "/data/Ana Lee - Once Only.mp4",
]


def test_unknown_people_are_counted(database: Database) -> None:
    """In two scenes at least, whatever the spelling; known names are no news."""
    add_scenes(database)
    with database.transaction() as session:
        for number, path in enumerate(PATHS, 100):
            session.add(Scene(id=number))
            session.flush()
            session.add(
                SceneFile(scene_id=number, file_id=number, position=0, path=path)
            )
    with database.transaction() as session:
        found = unknown_names(session, load_name_finder(session))
        one = unknown_names(session, load_name_finder(session), least_scenes=1)

    assert [(n.name.casefold(), n.scenes, n.examples) for n in found] == [
        ("mia novak", 3, (100, 101, 102))
    ]
    assert {name.name for name in one} >= {"Ana Lee"}


@pytest.mark.parametrize(
    "text", ["a walk in the park", "HD VIDEO", "Part Two 3", "Big Summer", "x", ""]
)
def test_titles_are_no_names(text: str) -> None:
    """Small words, shouted words, numbers and everyday words are no names."""
    assert names_in(text, NameFinder([])) == []


def test_disambiguation_distinguishes_two_people(database: Database) -> None:
    """A name alone means either; with its disambiguation it means one."""
    with database.transaction() as session:
        session.add_all(
            [
                Performer(id=1, name="Jade Kush"),
                Performer(id=2, name="Jade Kush", disambiguation="II"),
            ]
        )
        session.flush()
        finder = load_name_finder(session)

    assert finder.find("Jade Kush - Walk") == []
    assert [m.known.id for m in finder.find("Jade Kush (II) - Walk")] == [2]
