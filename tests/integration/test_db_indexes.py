"""What each run of the workflow asks the database, in a library of thousands."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from stashhog_core.db.generated import scenes_not_generated
from stashhog_core.db.jobs import open_jobs
from stashhog_core.db.kept_glance import kept_glance
from stashhog_core.db.session import Database
from stashhog_core.detection.job import unanalyzed_scene_ids
from stashhog_core.downloads.ledger import files_not_in_stash, unfinished_folders
from stashhog_core.plans.plans import attention_needed, changes_of_run
from stashhog_core.plans.records import unapplied_plan_ids
from tests.support.statements import statements

pytestmark = pytest.mark.slow

# Where rows of earlier tests have left gaps, new rows do not lie in their order, and
# PostgreSQL rightly reads a small table whole instead.
FILL = """
TRUNCATE scene, download_item, stash_job, analysis_plan CASCADE;
INSERT INTO scene (id, content, generated, video_analyzed)
    SELECT n, n, true, true FROM generate_series(1, 5000) n;
INSERT INTO scene_file (scene_id, file_id, position, path)
    SELECT n, n, 0, n FROM generate_series(1, 5000) n;
INSERT INTO download_item
    (source, entry_key, entry_name, relative_path, size_bytes, state, oshash)
    SELECT 'folder', n, n, n, n, 'in_stash', n FROM generate_series(1, 5000) n;
INSERT INTO stash_job (run_id, kind, stash_job_id, state)
    SELECT n, 'generate', n, 'finished' FROM generate_series(1, 5000) n;
INSERT INTO analysis_plan (name, state, run_id)
    SELECT n, 'applied', 'run ' || n FROM generate_series(1, 100) n;
INSERT INTO plan_change
    (plan_id, scene_id, field, action, value_key, proposed, confidence, detector, state)
    SELECT s / 50 + 1, s + 1, 'title', 'set', k, '"x"', 1, 'd', 'applied'
    FROM generate_series(0, 4999) s, generate_series(1, 4) k;
ANALYZE;
"""
LARGE = {"scene", "scene_file", "download_item", "stash_job", "plan_change"}


@pytest.fixture
def library(database: Database) -> Database:
    """Thousands of scenes, downloads, jobs and changes; all is done."""
    with database.connect() as connection:
        connection.execute(FILL)
    return database


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def read_whole(session: Session, sent: list[tuple[str, Any]]) -> list[str]:
    """Return the large tables of which a statement reads every row, or every entry.

    An index of few rows may be read whole.
    """
    partial = set(
        session.scalars(
            text(
                "SELECT indexrelid::regclass::text FROM pg_index "
                "WHERE indpred IS NOT NULL"
            )
        )
    )
    cursor = session.connection().connection.cursor()
    found = []
    for statement, values in sent:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
        row: Any = cursor.fetchone()
        for node in nodes(row[0][0]["Plan"]):
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE:
                found.append(f"{node['Relation Name']}: {statement}")
            elif (
                node["Node Type"].startswith(("Index", "Bitmap Index"))
                and "Index Cond" not in node
                and node["Index Name"] not in partial
                and node.get("Relation Name") in LARGE
            ):
                found.append(f"{node['Index Name']}: {statement}")
    return found


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(kept_glance, id="scenes to fetch"),
        pytest.param(unanalyzed_scene_ids, id="scenes to analyze"),
        pytest.param(unapplied_plan_ids, id="plans to apply"),
        pytest.param(scenes_not_generated, id="scenes to generate"),
        pytest.param(open_jobs, id="open jobs"),
        pytest.param(files_not_in_stash, id="files not in Stash"),
        pytest.param(unfinished_folders, id="unfinished folders"),
        pytest.param(lambda s: attention_needed(s, "run 7"), id="plans to decide"),
        pytest.param(lambda s: changes_of_run(s, "run 7", 500), id="changes of a run"),
    ],
)
def test_no_question_of_a_run_reads_a_whole_table(
    library: Database, ask: Callable[[Session], object]
) -> None:
    """A question is answered by an index, in at most two statements."""
    with library.transaction() as session:
        session.connection()
        with statements() as sent:
            ask(session)

        assert 1 <= len(sent) <= 2
        assert read_whole(session, sent) == []


def test_a_read_of_a_whole_table_is_noticed(library: Database) -> None:
    """The check itself finds a statement that no index answers."""
    with library.transaction() as session:
        for question in (
            "SELECT id FROM scene WHERE title = 'x'",
            "SELECT id FROM scene ORDER BY id",
        ):
            assert len(read_whole(session, [(question, None)])) == 1
