"""The scenes that a run completed, as a table in Prefect's UI."""

from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact

from stashhog_core.db.scenes import scene_titles
from stashhog_core.db.session import Database
from stashhog_core.markdown import scene_link, table
from tasks.prefect_api import display

SHOWN = 500


def show_impacted_scenes(
    database: Database, scene_ids: Sequence[str], link_base: str | None
) -> None:
    """Make a table of the first 500 scenes, each with its link to Stash."""
    if not scene_ids:
        return
    shown = [int(scene_id) for scene_id in scene_ids[:SHOWN]]
    with database.transaction() as session:
        titles = scene_titles(session, shown)
    rows = [
        {
            "id": scene_id,
            "scene": scene_link(
                titles.get(scene_id) or f"Scene {scene_id}", link_base, scene_id
            ),
        }
        for scene_id in shown
    ]
    with display("the scenes that have new media"):
        create_markdown_artifact(
            table(rows),
            key="impacted-scenes",
            description=f"{len(scene_ids)} scenes have new media"
            + (f"; the first {SHOWN} are shown" if len(scene_ids) > SHOWN else ""),
        )
