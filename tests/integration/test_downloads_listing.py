"""The ledger as people read it, and what they ask of it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from stashhog.cli.downloads import app
from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import DownloadItem
from stashhog_core.db.session import Database
from stashhog_core.downloads.ledger import LOCK, ImportRecord, known_files
from stashhog_core.downloads.listing import forget, ledger_page, retry, state_counts
from stashhog_core.errors import JobError, TransientError
from stashhog_core.settings import get_settings

LATER = datetime.now(UTC) + timedelta(hours=3)


def add(database: Database, *rows: DownloadItem) -> list[int]:
    """Store rows; return their ids."""
    with database.transaction() as session:
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


def item(name: str, state: str, **more: object) -> DownloadItem:
    return DownloadItem(
        source="folder",
        entry_key=name,
        entry_name=name,
        relative_path=f"{name}.mp4",
        size_bytes=5,
        state=state,
        **more,
    )


def states(database: Database) -> dict[str, str]:
    with database.transaction() as session:
        query = select(DownloadItem.entry_name, DownloadItem.state)
        return {row[0]: row[1] for row in session.execute(query)}


def test_each_row_is_on_one_page(database: Database) -> None:
    """Newest first, also when rows come and go while somebody reads."""
    ids = add(database, *(item(f"d{number}", "seen") for number in range(7)))
    shown: list[int] = []
    after: str | None = None
    while True:
        with database.transaction() as session:
            page = ledger_page(session, after=after, size=3)
        shown += [row.id for row in page.rows]
        if page.after is None:
            break
        after = page.after
        add(database, item(f"new {len(shown)}", "found"))

    assert shown == sorted(ids, reverse=True)


def test_rows_are_found_by_state_and_words(database: Database) -> None:
    """A state, and words of the name, the place or the reason, as they are written."""
    add(
        database,
        item("A_1", "failed", reason="100 % full"),
        item("A-1", "blocked", reason="refused"),
        item("B", "seen"),
    )

    def found(states: tuple[str, ...] = (), text: str = "") -> list[str]:
        with database.transaction() as session:
            return [row.entry_name for row in ledger_page(session, states, text).rows]

    assert found(("failed", "blocked")) == ["A-1", "A_1"]
    assert found(text="a_1") == ["A_1"]
    assert found(text="0 %") == ["A_1"]
    assert found(("seen",), "refused") == []
    with database.transaction() as session:
        assert state_counts(session) == {"failed": 1, "blocked": 1, "seen": 1}


def test_a_retry_is_due_at_once(database: Database) -> None:
    """It counts as never tried; what is in the library is looked up in Stash again."""
    ids = add(
        database,
        item("failed", "failed", tries=3, next_try_at=LATER),
        item("blocked", "blocked", tries=9),
        item("unreadable", "blocked", method="link"),
        item("seen", "seen"),
    )

    assert retry(database, ids) == 3

    assert states(database) == {
        "failed": "failed",
        "blocked": "failed",
        "unreadable": "scanned",
        "seen": "seen",
    }
    with database.transaction() as session:
        known = known_files(session, "folder", ["failed", "blocked"])
    records: list[ImportRecord] = [r for k in known.values() for r in k.values()]
    assert [(r.tries, r.waits(datetime.now(UTC))) for r in records] == [(0, False)] * 2


def test_forgotten_rows_are_gone_and_others_stay(database: Database) -> None:
    """Also if one of them is gone already."""
    first, second, third = add(database, *(item(n, "blocked") for n in "abc"))

    assert forget(database, [first, third]) == 2
    assert forget(database, [first]) == 0
    assert list(states(database)) == ["b"]
    assert second


@pytest.mark.parametrize("act", [retry, forget])
def test_a_run_is_not_disturbed(database: Database, act: object) -> None:
    """While a run writes into the ledger, nothing changes, and a sentence says so."""
    ids = add(database, item("a", "failed"))

    assert callable(act)
    with (
        job_lock(database, LOCK),
        pytest.raises(TransientError, match="process_downloads"),
    ):
        act(database, ids)

    assert states(database) == {"a": "failed"}


def test_a_place_of_no_list_is_refused(database: Database) -> None:
    """In one sentence."""
    with database.transaction() as session, pytest.raises(JobError, match="open the"):
        ledger_page(session, after="nonsense")


def test_the_terminal_lists_retries_and_forgets(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same functions as the page; a wrong id changes nothing."""
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    get_settings.cache_clear()
    first, second = add(database, item("a", "blocked", reason="[x]"), item("b", "seen"))
    terminal = CliRunner()

    listed = terminal.invoke(app, ["list", "--state", "blocked"])
    tried = terminal.invoke(app, ["retry", str(first), str(second), "999"])
    forgotten = terminal.invoke(app, ["forget", str(second)])
    refused = terminal.invoke(app, ["retry", "0"])

    assert "[x]" in listed.stdout
    assert "1 file\n" in listed.stdout
    assert "tries 1 file again" in tried.stdout
    assert "forgotten 1 file" in forgotten.stdout
    assert refused.exit_code == 2
    assert states(database) == {"a": "failed"}
