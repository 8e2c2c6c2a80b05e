"""What the other scenes of a studio prove, read from the mirror."""

from stashhog_core.db.models import Scene, SceneFile, Studio
from stashhog_core.db.session import Database
from stashhog_core.detection.release import read_habits


def test_habits_of_a_studio_are_those_of_its_own_scenes(database: Database) -> None:
    """Dates and codes of this studio count; those of another, or missing, do not."""
    files = [
        (1, 1, "2021-03-05", "ABC-001", "/data/One 03.05.2021.mp4"),
        (2, 1, "2021-04-06", "", "/data/Two 04.06.2021.mp4"),
        (3, 2, "2021-05-04", "XYZ-001", "/data/Three 04.05.2021.mp4"),
        (4, 1, None, "", "/data/Four 01.02.2021.mp4"),
    ]
    with database.transaction() as session:
        session.add_all([Studio(id=1, name="One"), Studio(id=2, name="Two")])
        session.flush()
        for number, studio, date, code, path in files:
            session.add(Scene(id=number, studio_id=studio, date=date, code=code))
            session.flush()
            session.add(
                SceneFile(scene_id=number, file_id=number, position=0, path=path)
            )
    with database.transaction() as session:
        habits = read_habits(session, 1)
        nothing = read_habits(session, 9)

    assert habits.orders == {"year last": "mdy"}
    assert habits.codes == ("ABC-001",)
    assert (nothing.orders, nothing.codes) == ({}, ())
