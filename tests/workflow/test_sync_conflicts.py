"""Who wins a field that was edited on both sides, by setting."""

import pytest
from sqlalchemy import select

from flows.jobs import sync
from stashhog_core.db.models import Scene
from stashhog_core.db.session import Database
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.local_edits import SceneEdit, edit_scene, list_edits
from tests.support.services import Services
from tests.support.stand_in import add_scenes, asking

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("strategy", "title", "conflicts"),
    [(None, "mine", 1), ("local_wins", "mine", 0), ("remote_wins", "theirs", 0)],
)
def test_strategy_is_the_one_that_is_set(
    services: Services,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str | None,
    title: str,
    conflicts: int,
) -> None:
    """Without any a person is asked: the value here stays, listed as a conflict."""
    if strategy:
        monkeypatch.setenv("STASHHOG_SYNC__CONFLICTS", strategy)
        get_settings.cache_clear()
    with asking(services.stash.url) as ask:
        add_scenes(ask, 1)
    sync()
    with database.transaction() as session:
        scene = session.scalars(select(Scene)).one()
        edit_scene(session, scene.id, SceneEdit(title="mine"))
    with StashClient(get_settings().stash) as stash:
        stash.update_scene(scene.id, {"title": "theirs"})
    sync()

    with database.transaction() as session:
        assert session.scalars(select(Scene.title)).all() == [title]
        assert len(list_edits(session, conflicts_only=True)) == conflicts
