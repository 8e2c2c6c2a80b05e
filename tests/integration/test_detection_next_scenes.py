"""The scenes that the scheduled analysis chooses, on real PostgreSQL."""

from datetime import UTC, datetime, timedelta

from stashhog_core.db.models import JobReport, Scene
from stashhog_core.db.session import Database
from stashhog_core.detection.job import next_scenes

NOW = datetime.now(UTC)


def chosen(database: Database, size: int) -> list[int]:
    with database.transaction() as session:
        return next_scenes(session, size, failed_since=NOW - timedelta(days=1))


def failed(database: Database, run_id: str, when: datetime, *scene_ids: int) -> None:
    errors = [{"item": f"scene {id_}", "reason": "unreadable"} for id_ in scene_ids]
    with database.transaction() as session:
        session.add(
            JobReport(
                run_id=run_id,
                job="auto_video_analysis",
                status="completed_with_errors",
                started_at=when,
                finished_at=when,
                report={"errors": errors},
            )
        )


def test_the_newest_unanalyzed_scenes_come_first(database: Database) -> None:
    """Scenes that were video-analyzed, or are missing in Stash, are left out."""
    with database.transaction() as session:
        for id_ in range(1, 6):
            session.add(Scene(id=id_, created_at=NOW + timedelta(seconds=id_)))
        session.add(Scene(id=6, video_analyzed=True))
        session.add(Scene(id=7, missing_since=NOW))

    assert chosen(database, 3) == [5, 4, 3]
    assert chosen(database, 50) == [5, 4, 3, 2, 1]


def test_scenes_that_failed_lately_keep_nobody_waiting(database: Database) -> None:
    """They are tried again after all others, and like others a day later."""
    with database.transaction() as session:
        for id_ in range(1, 5):
            session.add(Scene(id=id_, created_at=NOW + timedelta(seconds=id_)))
    failed(database, "lately", NOW, 4, 3)
    failed(database, "long-ago", NOW - timedelta(days=2), 2)

    assert chosen(database, 4) == [2, 1, 4, 3]
